//! Deciding where a segment's index gets an entry.
//!
//! One way for the writer, recovery, rebuilding and compaction, so that an index is a function of
//! the batches (and of where earlier uptimes ended). Not here: storing entries.

use plimsoll_record_batch::STAMP_BYTES;
use plimsoll_types::{Offset, Timestamp};

use crate::index::Entry;
use crate::scan::Walked;

/// The state between two batches of one segment.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    base: Offset,
    interval_bytes: u64,
    /// Where the current interval begins.
    interval_at: u64,
    max_timestamp: Timestamp,
    stamps: crc32fast::Hasher,
    /// The next batch begins an interval whatever its position.
    forced: bool,
    /// The current interval holds bytes that must not pass as verified.
    spoilt: bool,
}

impl IndexBuilder {
    /// At the front of a segment.
    pub(crate) fn new(base: Offset, interval_bytes: u32) -> Self {
        Self {
            base,
            interval_bytes: u64::from(interval_bytes.max(1)),
            interval_at: 0,
            max_timestamp: Timestamp::NONE,
            stamps: crc32fast::Hasher::new(),
            forced: false,
            spoilt: false,
        }
    }

    /// At entry `last`, or at the front.
    pub(crate) fn after(base: Offset, interval_bytes: u32, last: Option<Entry>) -> Self {
        let mut builder = Self::new(base, interval_bytes);
        if let Some(last) = last {
            builder.interval_at = u64::from(last.position);
            builder.max_timestamp = last.max_before;
        }
        builder
    }

    /// Where the interval that is being built begins.
    pub(crate) fn interval_at(&self) -> u64 {
        self.interval_at
    }

    /// The greatest timestamp so far.
    pub(crate) fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// Takes the next batch; returns the entry that it begins an interval with, if it does.
    pub(crate) fn batch(
        &mut self,
        base: Offset,
        position: u64,
        stamp: &[u8; STAMP_BYTES],
        max_timestamp: Timestamp,
    ) -> Option<Entry> {
        let due = self.forced || position - self.interval_at >= self.interval_bytes;
        let entry = if due { self.cut(base, position) } else { None };
        self.stamps.update(stamp);
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        entry
    }

    /// [`IndexBuilder::batch`] for one met on a walk.
    pub(crate) fn walked(&mut self, batch: &Walked) -> Option<Entry> {
        let header = &batch.header;
        self.batch(
            header.base,
            batch.position,
            &batch.stamp,
            header.max_timestamp,
        )
    }

    /// Begins an interval at the next batch, so that what is before it can be verified once.
    pub(crate) fn force(&mut self) {
        self.forced = true;
    }

    /// Makes the current interval fail verification, and the next batch begin another.
    pub(crate) fn spoil(&mut self) {
        self.spoilt = true;
        self.forced = true;
    }

    /// The entry for the segment's end at `end`; `None` if the last entry is there already.
    pub(crate) fn end(&mut self, end: Offset, position: u64) -> Option<Entry> {
        self.cut(end, position)
    }

    fn cut(&mut self, base: Offset, position: u64) -> Option<Entry> {
        self.forced = false;
        if position == self.interval_at {
            return None;
        }
        let stamps = std::mem::take(&mut self.stamps).finalize();
        let entry = Entry {
            relative: u32::try_from(base.since(self.base)).ok()?,
            position: u32::try_from(position).ok()?,
            max_before: self.max_timestamp,
            stamps: if self.spoilt { !stamps } else { stamps },
        };
        self.spoilt = false;
        self.interval_at = position;
        Some(entry)
    }
}
