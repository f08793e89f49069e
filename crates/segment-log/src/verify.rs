//! Verifying what was on the disk before it is served for the first time.
//!
//! Bytes appended of late were verified on their way in, and are served as they are from the segment
//! that is written on, as long as it stays open. All others are verified interval by interval when a
//! read first meets them, and again after the segment was closed in between. What is read from the
//! file once more and handed out has its checksums taken again (see `cursor`).
//!
//! A batch's own checksum leaves out its base offset, length, leader epoch and magic. The index
//! has a checksum of the first three; where it has none yet (the tail of the last uptime), the
//! batches must continue each other without a gap and carry the epochs of the epoch vector.

use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_record_batch::{Batch, BatchHeader, STAMP_BYTES};
use plimsoll_types::Offset;

use crate::damage::DamageKind;
use crate::epochs::EpochVector;
use crate::index::Index;

/// Where verification met something that it cannot believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is before it in the interval is fine.
    pub(crate) position: u64,
    /// The first offset that cannot be read.
    pub(crate) from: Offset,
    pub(crate) kind: DamageKind,
}

/// Which intervals were verified, one bit each.
#[derive(Debug)]
pub(crate) struct Verified(Box<[AtomicU64]>);

impl Verified {
    /// None of `intervals` yet.
    pub(crate) fn new(intervals: usize) -> Self {
        Self(
            (0..intervals.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    /// The same with room for `intervals`.
    pub(crate) fn with(&self, intervals: usize) -> Self {
        let more = Self::new(intervals);
        for (new, old) in more.0.iter().zip(&self.0) {
            // Relaxed: as in `has`; a bit that is set meanwhile is set again another time.
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        more
    }

    pub(crate) fn has(&self, interval: usize) -> bool {
        let word = self.0.get(interval / 64);
        // Relaxed: the bit says something about bytes that do not change.
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (interval % 64)) != 0)
    }

    fn set(&self, interval: usize) {
        if let Some(word) = self.0.get(interval / 64) {
            word.fetch_or(1 << (interval % 64), Ordering::Relaxed);
        }
    }
}

/// What is needed to verify a segment's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verifier<'a> {
    pub(crate) base: Offset,
    pub(crate) index: &'a Index,
    pub(crate) epochs: &'a EpochVector,
    pub(crate) verified: &'a Verified,
}

impl Verifier<'_> {
    /// Verifies interval `number`, which is `bytes` and begins at `position`.
    pub(crate) fn verify(&self, number: usize, position: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.walk(number, position, bytes)?;
        self.verified.set(number);
        Ok(())
    }

    fn walk(&self, number: usize, position: u64, bytes: &[u8]) -> Result<(), Fault> {
        let relative = self.index.start(number).map_or(0, |start| start.relative);
        let mut known = Fault {
            position,
            from: self.base + u64::from(relative),
            kind: DamageKind::Stamp,
        };
        let mut rest = bytes;
        let closing = self.index.entry(number);
        let (mut stamps, mut expected, mut strict) = (crc32fast::Hasher::new(), known.from, true);
        while !rest.is_empty() {
            let Ok(batch) = Batch::parse(rest) else {
                known.kind = DamageKind::Batch;
                return Err(known);
            };
            let header = batch.header();
            let (whole, behind) = rest.split_at(batch.bytes().len());
            rest = behind;
            strict &= self.continues(header, expected);
            // Compaction leaves gaps; only the checksum of all stamps tells them from damage.
            if !strict && (closing.is_none() || header.base < expected) {
                return Err(known);
            }
            stamps.update(whole.get(..STAMP_BYTES).unwrap_or_default());
            expected = header.end();
            if strict {
                known.position += whole.len() as u64;
                known.from = expected;
            }
        }
        match closing {
            Some(entry) if entry.stamps != stamps.finalize() => Err(known),
            _ => Ok(()),
        }
    }

    /// Whether a batch can be believed by itself: no gap before it, and the epoch that the vector
    /// has for it.
    fn continues(&self, header: &BatchHeader, expected: Offset) -> bool {
        header.base == expected && header.leader_epoch == self.epochs.epoch_at(header.base)
    }
}
