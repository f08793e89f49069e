//! The file that compaction writes: whole batches, no gaps, read back before it counts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_record_batch::{
    Attributes, BatchBuilder, BatchHeader, Compression, HEADER_BYTES, STAMP_BYTES,
};
use plimsoll_types::{LeaderEpoch, Offset, Timestamp};

use super::{Compaction, CompactionError};
use crate::disk::{DiskFile, OpenFile, write_all_at};
use crate::index::Growing;
use crate::index_builder::IndexBuilder;
use crate::layout::{Name, TEMPORARY};
use crate::log::Shared;
use crate::scan::{Found, Look, Scan};
use crate::segment::{Extent, Segment, Stage};
use crate::segment_file::SegmentFile;

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Whether a batch only keeps the place of batches that are gone.
pub(super) fn is_filler(header: &BatchHeader) -> bool {
    header.records == 0 && header.producer.is_none() && header.max_timestamp == Timestamp::NONE
}

/// Offsets of which nothing is left. A batch without records keeps their place, so that a log has
/// no gaps: one in a copy of it is damage then.
struct Gap {
    base: Offset,
    end: Offset,
    epoch: Option<LeaderEpoch>,
}

impl Gap {
    /// Takes in what `header` covers, if it follows in the same epoch and a batch can reach so far.
    fn widen(&mut self, header: &BatchHeader) -> bool {
        let near = header.end().since(self.base) <= u64::from(i32::MAX.unsigned_abs());
        let joins = self.end == header.base && self.epoch == header.leader_epoch && near;
        if joins {
            self.end = header.end();
        }
        joins
    }

    fn filler(&self) -> BatchHeader {
        let offsets = self.end.since(self.base);
        BatchHeader {
            base: self.base,
            batch_bytes: 0,
            leader_epoch: self.epoch,
            crc: 0,
            attributes: Attributes::new(Compression::None),
            last_offset_delta: u32::try_from(offsets.saturating_sub(1)).unwrap_or(0),
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer: None,
            records: 0,
        }
    }
}

/// A cleaned segment being written.
pub(super) struct Output {
    pub(super) base: Offset,
    file: SegmentFile,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    written: u64,
    allocated: u64,
    builder: IndexBuilder,
    growing: Growing,
    batches: u64,
    /// What was left out last.
    gap: Option<Gap>,
}

impl Output {
    pub(super) fn create(compaction: &Compaction, base: Offset) -> io::Result<Self> {
        let log = &compaction.log;
        let path = temporary(log, base);
        let file = SegmentFile::create(log.disk(), &path, OpenFile::Replace)?;
        // No note: what it is made of is below the recovery point.
        file.begin()?;
        let interval = log.config.load().index_interval_bytes;
        Ok(Self {
            base,
            file,
            buffer: Vec::new(),
            written: 0,
            allocated: 0,
            builder: IndexBuilder::new(base, interval),
            growing: Growing::new(),
            batches: 0,
            gap: None,
        })
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        let filler = self.gap.as_ref().map_or(0, |_| HEADER_BYTES as u64);
        self.written + self.buffer.len() as u64 + filler
    }

    /// Makes sure of room for `more` bytes.
    pub(super) fn reserve(&mut self, more: u64) -> io::Result<()> {
        let to = self.bytes() + more;
        if to > self.allocated {
            self.file.allocate(self.allocated, to)?;
            self.allocated = to;
        }
        Ok(())
    }

    /// Nothing is left of what `header` covers; whether that joins what was left out before.
    pub(super) fn leave_out(&mut self, header: &BatchHeader) -> Result<bool, CompactionError> {
        if self.gap.as_mut().is_some_and(|gap| gap.widen(header)) {
            return Ok(true);
        }
        self.fill()?;
        self.gap = Some(Gap {
            base: header.base,
            end: header.end(),
            epoch: header.leader_epoch,
        });
        Ok(false)
    }

    /// Writes the batch that keeps the place of what was left out.
    fn fill(&mut self) -> Result<(), CompactionError> {
        let Some(gap) = self.gap.take() else {
            return Ok(());
        };
        let (base, header) = (gap.base, gap.filler());
        let built = BatchBuilder::survivors_of(&header).build(base);
        let bytes = built.map_err(|source| CompactionError::Build { base, source })?;
        self.put(&bytes, &header)
    }

    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        header: &BatchHeader,
    ) -> Result<(), CompactionError> {
        self.fill()?;
        self.put(bytes, header)
    }

    fn put(&mut self, bytes: &[u8], header: &BatchHeader) -> Result<(), CompactionError> {
        let position = self.bytes();
        if let Some(stamp) = bytes.first_chunk::<STAMP_BYTES>() {
            let timestamp = header.max_timestamp;
            let entry = self.builder.batch(header.base, position, stamp, timestamp);
            entry.into_iter().for_each(|entry| self.growing.push(entry));
        }
        self.buffer.extend_from_slice(bytes);
        self.batches += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush().map_err(io_error(self.base))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(&self.file, &self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable, reads it back, and makes it a segment that ends at `end`.
    pub(super) fn finish(
        mut self,
        log: &Shared,
        end: Offset,
    ) -> Result<Arc<Segment>, CompactionError> {
        self.fill()?;
        let made = self
            .flush()
            .and_then(|()| self.file.set_bytes(self.written));
        made.and_then(|()| self.file.sync())
            .map_err(io_error(self.base))?;
        self.read_back(end)?;
        let name = Name::Cleaned {
            base: self.base,
            end,
        };
        // No file can have that name: a plan waits until the last compaction's has its own.
        (log.disk()
            .rename(&temporary(log, self.base), &name.path(&log.dir)))
        .map_err(io_error(self.base))?;
        let extent = Extent {
            base: self.base,
            end,
            bytes: self.written,
            max_timestamp: self.builder.max_timestamp(),
        };
        let segment = Segment::unsealed(extent, self.growing, 0);
        segment.set_stage(Stage::Cleaned);
        segment.seal(end, &mut self.builder);
        segment.keep_length();
        Ok(Arc::new(segment))
    }

    fn read_back(&self, end: Offset) -> Result<(), CompactionError> {
        let unverified = CompactionError::Unverified { base: self.base };
        let scan = Scan::new(&self.file, Look::Checksums, 0, self.written);
        let mut scan = scan.map_err(io_error(self.base))?;
        let (mut batches, mut expected) = (0, self.base);
        loop {
            match scan.next().map_err(io_error(self.base))? {
                Found::Batch(batch) if batch.header.base >= expected => {
                    batches += 1;
                    expected = batch.header.end();
                }
                Found::End if scan.position() == self.written => break,
                Found::Batch(_) | Found::End | Found::Bad(_) => return Err(unverified),
            }
        }
        if batches != self.batches || expected > end {
            return Err(unverified);
        }
        Ok(())
    }
}

/// The name of an output before its end is known.
pub(super) fn temporary(log: &Shared, base: Offset) -> PathBuf {
    log.dir
        .join(format!("{:020}.cleaning{TEMPORARY}", base.get()))
}

pub(super) fn io_error(base: Offset) -> impl Fn(io::Error) -> CompactionError {
    move |source| CompactionError::Io { base, source }
}
