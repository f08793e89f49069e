//! Looking at a replica: its epochs and ends, its digest, and whether its bytes still hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_record_batch::{Batch, BatchHeader};
use plimsoll_segment_log::{Damage, DamageKind, EpochVector, Minimum, ReadError as LogReadError};
use plimsoll_types::{LeaderEpoch, Offset};

use crate::Partition;

/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// What a replica says of its log when the next leader is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogInfo {
    /// The latest leader epoch in it.
    pub last_epoch: Option<LeaderEpoch>,
    /// Its oldest readable offset.
    pub log_start: Offset,
    /// Its end.
    pub log_end: Offset,
    /// End of its synced prefix.
    pub durable_end: Offset,
    /// What it knows to be committed.
    pub high_watermark: Offset,
    /// It is online, and nothing of it is known to be damaged.
    pub trusted: bool,
}

/// A checksum over a range of a log, to compare with the same range of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-64/NVME of all bytes of the range, one batch after another.
    pub digest: u64,
    /// How many batches.
    pub batches: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a step of scrubbing looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read and checked.
    pub bytes: u64,
    /// The round is over; the next step begins at the front.
    pub wrapped: bool,
    /// What does not hold any more.
    pub damage: Vec<Damage>,
}

impl Partition {
    /// The leader epochs of its log.
    #[must_use]
    pub fn epochs(&self) -> Arc<EpochVector> {
        self.shared().parts.load().reader.epochs()
    }

    /// What there is to know of its log.
    #[must_use]
    pub fn log_info(&self) -> LogInfo {
        let shared = self.shared();
        let parts = shared.parts.load();
        let marks = shared.watermarks.snapshot();
        LogInfo {
            last_epoch: parts.reader.epochs().latest(),
            log_start: marks.log_start,
            log_end: marks.log_end,
            durable_end: marks.durable_end,
            high_watermark: marks.high_watermark,
            trusted: shared.offline().is_none() && parts.reader.damage().is_empty(),
        }
    }

    /// The digest of the batches from `from` to `to`, which must both be where a batch begins or
    /// the log ends; `None` if they are not, or not all of it is here. Reads all of it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn digest(&self, from: Offset, to: Offset) -> Result<Option<Digest>, LogReadError> {
        let reader = self.reader();
        let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let (mut at, mut batches, mut bytes) = (from, 0, 0);
        while at < to {
            let slices = match reader.read(at, to, READ_BYTES, Minimum::OneBatch) {
                Ok(slices) => slices,
                Err(LogReadError::BelowStart { .. } | LogReadError::AboveEnd { .. }) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            for chunk in &slices.chunks {
                let Some(found) = count(chunk, at) else {
                    return Ok(None);
                };
                crc.update(chunk);
                batches += found;
                bytes += chunk.len() as u64;
                at = last_end(chunk).unwrap_or(at);
            }
            if slices.chunks.is_empty() {
                return Ok(None);
            }
        }
        Ok((at == to).then(|| Digest {
            digest: crc.finalize(),
            batches,
            bytes,
        }))
    }

    /// Reads and checks up to `budget` bytes (one batch at least) of what is committed, going on
    /// where the last call ended. For a clock, so that damage is found while other replicas have
    /// what is lost. What is found is not served from then on.
    pub fn scrub(&self, budget: usize) -> Scrubbed {
        let shared = self.shared();
        let reader = self.reader();
        let mut scrubbed = Scrubbed::default();
        let end = shared.watermarks.high_watermark().min(reader.log_end());
        let begun = Offset::new(shared.scrubbed_to.load(Ordering::Relaxed));
        let mut at = begun.max(reader.log_start());
        if at < end {
            match reader.read(at, end, budget, Minimum::OneBatch) {
                Ok(slices) if slices.next > at => {
                    let epochs = reader.epochs();
                    // The log may start inside of a batch.
                    let mut expected = (at > reader.log_start()).then_some(at);
                    for chunk in &slices.chunks {
                        scrubbed.bytes += chunk.len() as u64;
                        if let Some(damage) = check(chunk, &epochs, &mut expected, slices.next) {
                            reader.report(damage);
                            scrubbed.damage.push(damage);
                            break;
                        }
                    }
                    at = slices.next;
                }
                // There is something, and it does not begin here.
                Ok(slices) if slices.chunks.is_empty() && slices.next < end => {
                    let damage = Damage {
                        segment: at,
                        position: 0,
                        from: at,
                        until: end,
                        kind: DamageKind::Stamp,
                    };
                    reader.report(damage);
                    scrubbed.damage.push(damage);
                    at = end;
                }
                Err(LogReadError::Damaged(damage)) => {
                    scrubbed.damage.push(damage);
                    at = damage.until.max(at + 1);
                }
                Ok(_) | Err(_) => at = end,
            }
        }
        scrubbed.wrapped = at >= end;
        let next = if scrubbed.wrapped { Offset::ZERO } else { at };
        shared.scrubbed_to.store(next.get(), Ordering::Relaxed);
        scrubbed
    }
}

/// Batches in `chunk`, if they follow each other from `at` on.
fn count(chunk: &[u8], at: Offset) -> Option<u64> {
    let (mut rest, mut expected, mut batches) = (chunk, at, 0);
    while !rest.is_empty() {
        let header = BatchHeader::decode(rest).ok()?;
        if header.base != expected {
            return None;
        }
        rest = rest.get(header.batch_bytes as usize..)?;
        expected = header.end();
        batches += 1;
    }
    Some(batches)
}

fn last_end(chunk: &[u8]) -> Option<Offset> {
    let (mut rest, mut end) = (chunk, None);
    while !rest.is_empty() {
        let header = BatchHeader::decode(rest).ok()?;
        end = Some(header.end());
        rest = rest.get(header.batch_bytes as usize..)?;
    }
    end
}

/// The first batch of `chunk` whose checksum does not hold, or whose offset or epoch, which the
/// checksum leaves out, cannot be what was written. What lies behind it up to `until` is in doubt.
fn check(
    chunk: &[u8],
    epochs: &EpochVector,
    expected: &mut Option<Offset>,
    until: Offset,
) -> Option<Damage> {
    let mut rest = chunk;
    let mut position = 0;
    while !rest.is_empty() {
        let batch = Batch::parse(rest).ok();
        let header = batch.as_ref().map(|batch| *batch.header());
        let kind = match header {
            None => Some(DamageKind::Batch),
            Some(header) => {
                let follows = expected.is_none_or(|expected| header.base == expected);
                let in_term = header.leader_epoch == epochs.epoch_at(header.base);
                (!follows || !in_term).then_some(DamageKind::Stamp)
            }
        };
        if let Some(kind) = kind {
            let from = expected.or(header.map(|header| header.base));
            let from = from.unwrap_or(Offset::ZERO).min(until);
            return Some(Damage {
                segment: from,
                position,
                from,
                until: until.max(from + 1),
                kind,
            });
        }
        let length = batch.map_or(rest.len(), |batch| batch.bytes().len());
        *expected = header.map(|header| header.end());
        position += length as u64;
        rest = rest.get(length..)?;
    }
    None
}
