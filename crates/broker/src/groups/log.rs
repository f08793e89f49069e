//! The offsets topic's partitions: writes become batches, and batches become groups again.

use plimsoll_group_coordinator::{Coordinator, GroupConfig, WriteError, WriteId};
use plimsoll_partition::{Partition, ReadError};
use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchError, BatchHeader, Batches, Compression, DecodeLimits, RecordToWrite,
};
use plimsoll_segment_log::{Minimum, ToAppend};
use plimsoll_types::{Offset, Timestamp};
use std::collections::VecDeque;

use super::log_format::{self, FormatError};
use super::shard::Write;

/// Writes share a batch up to this size: one checksum, one record of the index, one sync.
const BATCH_BYTES: usize = 256 << 10;
/// The largest single write. A group of a thousand members with metadata of 8 KiB each.
pub(super) const MAX_WRITE_BYTES: usize = 8 << 20;
/// How much is read at a time while loading.
const READ_BYTES: usize = 1 << 20;
/// Charged for the lengths in a record, beside key and value.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Some writes, and the batch that holds their records.
pub(super) struct Bundle {
    pub(super) writes: Vec<WriteId>,
    pub(super) batch: Result<ToAppend, WriteError>,
}

/// Makes as few batches of the writes as their sizes allow, in their order. A write is never split.
pub(super) fn bundle(writes: VecDeque<Write>, now: Timestamp) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    let mut open = Open::new();
    for (write, records) in writes {
        let encoded: Vec<_> = records.iter().map(log_format::encode).collect();
        let size = |(key, value): &(bytes::Bytes, Option<bytes::Bytes>)| {
            key.len() + value.as_ref().map_or(0, bytes::Bytes::len) + RECORD_OVERHEAD_BYTES
        };
        let bytes: usize = encoded.iter().map(size).sum();
        if bytes > MAX_WRITE_BYTES {
            open.close_into(&mut bundles);
            bundles.push(Bundle {
                writes: vec![write],
                batch: Err(WriteError::TooLarge),
            });
            continue;
        }
        if open.bytes + bytes > BATCH_BYTES {
            open.close_into(&mut bundles);
        }
        open.writes.push(write);
        open.bytes += bytes;
        for (key, value) in &encoded {
            let record = RecordToWrite {
                timestamp: now,
                key: Some(key),
                value: value.as_deref(),
                headers: &[],
            };
            open.fits &= open.builder.push(&record).is_ok();
        }
    }
    open.close_into(&mut bundles);
    bundles
}

/// A batch that is being filled.
struct Open {
    builder: BatchBuilder,
    writes: Vec<WriteId>,
    bytes: usize,
    fits: bool,
}

impl Open {
    fn new() -> Self {
        let builder = BatchBuilder::new(Compression::None);
        Self {
            builder,
            writes: Vec::new(),
            bytes: 0,
            fits: true,
        }
    }

    fn close_into(&mut self, bundles: &mut Vec<Bundle>) {
        let Self {
            builder,
            writes,
            fits,
            ..
        } = std::mem::replace(self, Self::new());
        if writes.is_empty() {
            return;
        }
        let built = builder.build(Offset::ZERO).ok().filter(|_| fits);
        let batch = built.and_then(|bytes| {
            let header = BatchHeader::decode(&bytes).ok()?;
            Some(ToAppend { header, bytes })
        });
        bundles.push(Bundle {
            writes,
            batch: batch.ok_or(WriteError::TooLarge),
        });
    }
}

/// Why a partition of the offsets topic cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a batch cannot be read")]
    Batch(#[from] BatchError),
    #[error("the record at {offset} cannot be read")]
    Record { offset: Offset, source: FormatError },
}

/// Reads a partition from its start to its high watermark into a coordinator. Blocks on the disk.
pub(super) fn load(
    partition: &Partition,
    config: GroupConfig,
    limits: &DecodeLimits,
) -> Result<Coordinator, LoadError> {
    let mut coordinator = Coordinator::new(config);
    let mut next = partition.watermarks().log_start();
    loop {
        let read = match partition.read(next, READ_BYTES, Minimum::OneBatch) {
            // Retention or compaction moved the start while we read: go on from there.
            Err(ReadError::OutOfRange { log_start, .. }) if log_start > next => {
                next = log_start;
                continue;
            }
            read => read?,
        };
        if read.slices.next <= next {
            return Ok(coordinator);
        }
        for chunk in &read.slices.chunks {
            for batch in Batches::new(chunk) {
                load_batch(&mut coordinator, &batch?, limits)?;
            }
        }
        next = read.slices.next;
    }
}

fn load_batch(
    coordinator: &mut Coordinator,
    batch: &Batch<'_>,
    limits: &DecodeLimits,
) -> Result<(), LoadError> {
    if batch.header().attributes.is_control() {
        return Ok(());
    }
    let records = batch.records(limits)?;
    for record in records.iter() {
        let record = record?;
        let decoded =
            log_format::decode(record.key, record.value).map_err(|source| LoadError::Record {
                offset: record.offset,
                source,
            })?;
        if let Some(decoded) = decoded {
            coordinator.load(decoded);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
