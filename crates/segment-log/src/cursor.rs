//! A place in one segment, moving from batch to batch through verified bytes.
//!
//! Everything that reads batches of a segment goes through here, so nothing skips verification.
//! What was appended in this uptime to the segment that is written on comes from its map; all else
//! is read from the file into a window, so that a disk that fails, or a file that somebody cut, is
//! damage and not the end of the process. Not here: which segment, and how far.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchHeader, HEADER_BYTES};
use plimsoll_types::{Offset, Timestamp};

use crate::damage::{Damage, DamageKind};
use crate::disk::read_full_at;
use crate::epochs::EpochVector;
use crate::index::Entry;
use crate::map::SegmentMap;
use crate::read::{Limits, header};
use crate::segment::{Resident, Segment};
use crate::verify::{Fault, Verifier};

/// Read from a file at once, if nobody says how much is wanted.
const AHEAD_BYTES: u64 = 32 << 10;
/// Read from a file at once at most, unless one interval is longer.
const MAX_AHEAD_BYTES: u64 = 1 << 20;

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
    /// What was last read from the file, and where it begins.
    window: Bytes,
    window_at: u64,
    /// Of the window, the bytes that were verified as they lie there.
    checked: Range<u64>,
    ahead: u64,
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
            window: Bytes::new(),
            window_at: 0,
            checked: 0..0,
            ahead: AHEAD_BYTES,
        }
    }

    /// About so many bytes will be wanted from the next place on.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.ahead = bytes.clamp(AHEAD_BYTES, MAX_AHEAD_BYTES);
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

    fn verify(&mut self) -> Result<(), Fault> {
        let range = self.position..self.interval_end;
        if range.is_empty() || self.position >= self.resident.trusted_from {
            return Ok(());
        }
        if self.resident.verified.has(self.interval) {
            return Ok(());
        }
        self.verify_now(range)
    }

    /// Verifies `range`, the interval that the position is in, as it lies on the disk now.
    fn verify_now(&mut self, range: Range<u64>) -> Result<(), Fault> {
        let bytes = self.load(range.clone()).map_err(|kind| Fault {
            position: range.start,
            from: self.segment.base,
            kind,
        })?;
        let verifier = Verifier {
            base: self.segment.base,
            index: &self.resident.index,
            epochs: &self.epochs,
            verified: &self.resident.verified,
        };
        verifier.verify(self.interval, range.start, &bytes)?;
        if self.checked.end == range.start {
            self.checked.end = range.end;
        } else {
            self.checked = range;
        }
        Ok(())
    }

    /// The map, if what is at `position` may be read through it.
    fn map(&self, position: u64) -> Option<&Arc<SegmentMap>> {
        let map = self.resident.map.as_ref();
        map.filter(|_| position >= self.resident.trusted_from)
    }

    /// The bytes in `range` from the file; what they cannot be, if they are not all there.
    fn load(&mut self, range: Range<u64>) -> Result<Bytes, DamageKind> {
        if let Some(bytes) = self.in_window(&range) {
            return Ok(bytes);
        }
        let file = self.resident.file.as_ref().ok_or(DamageKind::Short)?;
        let end = range.end.max(range.start + self.ahead).min(self.bytes);
        let wanted = usize::try_from(end.saturating_sub(range.start));
        let mut buffer = vec![0; wanted.map_err(|_| DamageKind::Short)?];
        let read = read_full_at(file, &mut buffer, range.start);
        buffer.truncate(read.map_err(|_| DamageKind::Unreadable)?);
        self.window = buffer.into();
        self.window_at = range.start;
        self.checked = 0..0;
        self.in_window(&range).ok_or(DamageKind::Short)
    }

    fn in_window(&self, range: &Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start.checked_sub(self.window_at)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(self.window_at)?).ok()?;
        (start <= end && end <= self.window.len()).then(|| self.window.slice(start..end))
    }

    /// What is at the position, which no batch can be.
    fn fault(&self, position: u64, kind: DamageKind) -> Damage {
        self.damage(Fault {
            position,
            from: self.segment.base,
            kind,
        })
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
        let (position, bytes) = (self.position, self.bytes);
        let found = match self.map(position) {
            Some(map) => map.get(position..bytes).and_then(header),
            None => {
                let front = position..bytes.min(position + HEADER_BYTES as u64);
                let front = self.load(front);
                header(&front.map_err(|kind| self.fault(position, kind))?)
            }
        };
        // Else not the disk's bytes: those below the frontier were whole batches.
        found
            .map(Some)
            .ok_or_else(|| self.fault(position, DamageKind::Short))
    }

    /// The batch at the position with its body, verified as it lies on the disk now: who asks for it
    /// may make another batch of it, with a checksum of its own.
    pub(crate) fn whole(&mut self) -> Result<Option<Batch<'_>>, Damage> {
        if self.batch()?.is_none() {
            return Ok(None);
        }
        if self.map(self.position).is_none() && !self.checked.contains(&self.position) {
            let start = self.resident.index.start(self.interval);
            let start = start.map_or(0, |start| u64::from(start.position));
            self.fault = self.verify_now(start..self.interval_end).err();
        }
        // Once more: it may have been read anew.
        let Some(header) = self.batch()? else {
            return Ok(None);
        };
        let position = self.position;
        let end = self.bytes.min(position + u64::from(header.batch_bytes));
        if self.map(position).is_none() {
            let loaded = self.load(position..end).map(drop);
            loaded.map_err(|kind| self.fault(position, kind))?;
        }
        let bytes = match self.map(position) {
            Some(map) => map.get(position..end),
            None => usize::try_from(position - self.window_at)
                .ok()
                .and_then(|start| self.window.get(start..)),
        };
        let batch = bytes.and_then(|bytes| Batch::parse_without_checksum(bytes).ok());
        batch
            .map(Some)
            .ok_or_else(|| self.fault(position, DamageKind::Short))
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

    /// The bytes from `start` to `end`, all passed; `None` if there are none. Only the front of them,
    /// and where that ends, if the rest is not any more what it was when it was verified.
    pub(crate) fn share(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<(Option<Bytes>, Option<Offset>), Damage> {
        if start == end {
            return Ok((None, None));
        }
        if let Some(map) = self.map(start) {
            let shared = map.share(start..end);
            let shared = shared.ok_or_else(|| self.fault(start, DamageKind::Short))?;
            return Ok((Some(shared), None));
        }
        self.ahead = end - start;
        let loaded = self.load(start..end);
        let bytes = loaded.map_err(|kind| self.fault(start, kind))?;
        if self.checked.start <= start && end <= self.checked.end {
            return Ok((Some(bytes), None));
        }
        // Verified before, and read once more since.
        let Err(mut fault) = self.check_again(start, &bytes) else {
            return Ok((Some(bytes), None));
        };
        if fault.position > start
            && let Ok(front) = usize::try_from(fault.position - start)
        {
            // The next read meets the rest.
            return Ok((Some(bytes.slice(..front)), Some(fault.from)));
        }
        let index = &self.resident.index;
        let before = |entry: &Entry| u64::from(entry.position) <= fault.position;
        self.interval = index.last_where(before);
        let first = index.start(self.interval).map_or(0, |at| at.relative);
        fault.from = fault.from.max(self.segment.base + u64::from(first));
        Err(self.damage(fault))
    }

    /// That `bytes`, which begin at `position`, still are whole batches one after another.
    fn check_again(&self, position: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut known = Fault {
            position,
            from: self.segment.base,
            kind: DamageKind::Batch,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let batch = Batch::parse(rest).map_err(|_| known)?;
            let header = batch.header();
            // Compaction leaves gaps.
            if header.base < known.from || header.end() > self.segment.end() {
                known.kind = DamageKind::Stamp;
                return Err(known);
            }
            known.from = header.end();
            known.position += u64::from(header.batch_bytes);
            rest = rest.split_at(batch.bytes().len()).1;
        }
        Ok(())
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
