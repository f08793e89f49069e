//! A place in one segment, moving from batch to batch through verified bytes.
//!
//! Everything that reads batches of a mapped segment goes through here, so nothing skips
//! verification. Not here: which segment, and how far.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchHeader};
use plimsoll_types::{Offset, Timestamp};

use crate::damage::{Damage, DamageKind};
use crate::epochs::EpochVector;
use crate::index::Entry;
use crate::read::{Limits, header};
use crate::segment::{Resident, Segment};
use crate::verify::{Fault, Verifier};

/// A place in one segment.
#[derive(Debug)]
pub(crate) struct Cursor {
    segment: Arc<Segment>,
    resident: Arc<Resident>,
    epochs: Arc<EpochVector>,
    /// Published bytes when it was made.
    bytes: u64,
    position: u64,
    /// The interval that the position is in.
    interval: usize,
    /// Where that interval ends.
    interval_end: u64,
    /// What of it may be believed; met when the interval was entered.
    fault: Option<Fault>,
}

impl Cursor {
    /// Nowhere yet: to be sent somewhere by a seek or [`Cursor::rewind`].
    pub(crate) fn new(
        segment: Arc<Segment>,
        resident: Arc<Resident>,
        epochs: Arc<EpochVector>,
    ) -> Self {
        // Bytes first: the index then has an entry for every interval below them.
        let bytes = segment.bytes();
        Self {
            segment,
            resident,
            epochs,
            bytes,
            position: 0,
            interval: 0,
            interval_end: 0,
            fault: None,
        }
    }

    /// Goes to the first batch.
    pub(crate) fn rewind(&mut self) {
        self.enter(0);
    }

    /// Where it is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes to the front of interval `number` and verifies it.
    fn enter(&mut self, number: usize) {
        let index = &self.resident.index;
        let start = index
            .start(number)
            .map_or(self.bytes, |start| u64::from(start.position));
        let end = index
            .entry(number)
            .map_or(self.bytes, |next| u64::from(next.position));
        self.interval = number;
        self.position = start.min(self.bytes);
        self.interval_end = end.min(self.bytes);
        self.fault = self.verify().err();
    }

    fn verify(&self) -> Result<(), Fault> {
        let range = self.position..self.interval_end;
        if range.is_empty() || self.position >= self.segment.trusted_from() {
            return Ok(());
        }
        let Some(map) = &self.resident.map else {
            return Err(Fault {
                position: self.position,
                from: self.segment.base,
                kind: DamageKind::Short,
            });
        };
        let verifier = Verifier {
            base: self.segment.base,
            map,
            index: &self.resident.index,
            epochs: &self.epochs,
            verified: &self.resident.verified,
        };
        verifier.verify(self.interval, range)
    }

    /// Goes to the batch that holds `offset`, or the first one after it. `false` if there is none.
    pub(crate) fn seek(&mut self, offset: Offset) -> Result<bool, Damage> {
        let relative = offset.since(self.segment.base);
        let low = |entry: &Entry| u64::from(entry.relative) <= relative;
        self.enter(self.resident.index.last_where(low));
        while let Some(batch) = self.batch()? {
            if batch.end() > offset {
                return Ok(true);
            }
            self.pass(&batch);
        }
        Ok(false)
    }

    /// Goes to the first batch with a timestamp at or after `timestamp`. `false` if there is none.
    pub(crate) fn seek_timestamp(&mut self, timestamp: Timestamp) -> Result<bool, Damage> {
        let low = |entry: &Entry| entry.max_before < timestamp;
        self.enter(self.resident.index.last_where(low));
        while let Some(batch) = self.batch()? {
            if batch.max_timestamp >= timestamp {
                return Ok(true);
            }
            self.pass(&batch);
        }
        Ok(false)
    }

    /// The greatest timestamp of the batches from the one that holds `from` on, as far as they end
    /// at or before `below`.
    pub(crate) fn max_between(
        &mut self,
        from: Offset,
        below: Offset,
    ) -> Result<Option<Timestamp>, Damage> {
        let mut greatest = None;
        if from <= self.segment.base {
            // What lies before an interval, its entry knows.
            let relative = below.since(self.segment.base);
            let low = |entry: &Entry| u64::from(entry.relative) <= relative;
            let number = self.resident.index.last_where(low);
            self.enter(number);
            let start = self.resident.index.start(number).filter(|_| number > 0);
            greatest = start.map(|start| start.max_before);
        } else if !self.seek(from)? {
            return Ok(None);
        }
        while let Some(batch) = self.batch()?.filter(|batch| batch.end() <= below) {
            greatest = greatest.max(Some(batch.max_timestamp));
            self.pass(&batch);
        }
        Ok(greatest)
    }

    /// The batch at the position; `None` at the published end.
    pub(crate) fn batch(&mut self) -> Result<Option<BatchHeader>, Damage> {
        while self.position >= self.interval_end {
            if self.interval_end >= self.bytes {
                return Ok(None);
            }
            self.enter(self.interval + 1);
        }
        if let Some(fault) = self.fault
            && self.position >= fault.position
        {
            return Err(self.damage(fault));
        }
        let map = self.resident.map.as_ref();
        let found = map.and_then(|map| header(map.get(self.position..self.bytes)?));
        match found {
            Some(header) => Ok(Some(header)),
            // Not the disk's bytes then: those below the frontier were whole batches.
            None => Err(self.damage(Fault {
                position: self.position,
                from: self.segment.base,
                kind: DamageKind::Short,
            })),
        }
    }

    /// The batch at the position with its body.
    pub(crate) fn whole(&mut self) -> Result<Option<Batch<'_>>, Damage> {
        if self.batch()?.is_none() {
            return Ok(None);
        }
        let (position, bytes) = (self.position, self.bytes);
        let map = self.resident.map.as_ref();
        let batch = map
            .and_then(|map| map.get(position..bytes))
            .and_then(|bytes| Batch::parse_without_checksum(bytes).ok());
        batch.map(Some).ok_or_else(|| {
            self.damage(Fault {
                position,
                from: self.segment.base,
                kind: DamageKind::Short,
            })
        })
    }

    /// Goes behind `batch`, which is the one at the position.
    pub(crate) fn pass(&mut self, batch: &BatchHeader) {
        self.position += u64::from(batch.batch_bytes);
    }

    /// Passes whole intervals that fit into `limits`, counted from `start`, without looking at
    /// their batches. `end` and `next` move with it.
    pub(crate) fn skip_whole(
        &mut self,
        start: u64,
        limits: &Limits,
        end: &mut u64,
        next: &mut Offset,
    ) {
        while self.fault.is_none()
            && let Some(entry) = self.resident.index.entry(self.interval)
        {
            let (after, offset) = (
                u64::from(entry.position),
                self.segment.base + u64::from(entry.relative),
            );
            let fits = after <= self.bytes && after.saturating_sub(start) <= limits.max_bytes;
            if !fits || offset > limits.below || after <= self.position {
                break;
            }
            *end = after;
            *next = (*next).max(offset);
            if after >= self.bytes {
                self.position = after;
                break;
            }
            self.enter(self.interval + 1);
        }
    }

    /// The bytes from `start` to `end`, all passed; `None` if there are none.
    pub(crate) fn share(&self, start: u64, end: u64) -> Result<Option<Bytes>, Damage> {
        if start == end {
            return Ok(None);
        }
        let shared = self
            .resident
            .map
            .as_ref()
            .and_then(|map| map.share(start..end));
        shared.map(Some).ok_or_else(|| {
            self.damage(Fault {
                position: start,
                from: self.segment.base,
                kind: DamageKind::Short,
            })
        })
    }

    /// `fault` as outsiders see it: unreadable until the next interval.
    fn damage(&self, fault: Fault) -> Damage {
        let after = self.resident.index.entry(self.interval);
        let until = after.map_or(self.segment.end(), |entry| {
            self.segment.base + u64::from(entry.relative)
        });
        Damage {
            segment: self.segment.base,
            position: fault.position,
            from: fault.from.min(until),
            until,
            kind: fault.kind,
        }
    }
}
