//! Finding offsets by time.
//!
//! By the batches' greatest timestamps and the index down to a batch, then by its records. Bodies
//! are decoded within the configured limits. Not here: what time it is.

use std::sync::Arc;

use plimsoll_record_batch::TimestampType;
use plimsoll_types::{LeaderEpoch, Offset, Timestamp};

use crate::cursor::Cursor;
use crate::damage::{Damage, DamageKind};
use crate::list::SegmentList;
use crate::read::{LogReader, ReadError, Stop};
use crate::segment::Segment;

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The leader epoch of its batch.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl LogReader {
    /// The first record below `below` with a timestamp at or after `timestamp`.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn offset_for_timestamp(
        &self,
        timestamp: Timestamp,
        below: Offset,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let from = self.log_start();
        self.attempt(from.min(self.log_end()), |list| {
            self.first_at(list, timestamp, below)
        })
    }

    /// The record below `below` with the greatest timestamp, the first of several; `None` in an
    /// empty log.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn max_timestamp(&self, below: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let from = self.log_start();
        self.attempt(from.min(self.log_end()), |list| {
            let Some(greatest) = self.greatest(list, below)? else {
                return Ok(None);
            };
            self.first_at(list, greatest, below)
        })
    }

    fn first_at(
        &self,
        list: &SegmentList,
        timestamp: Timestamp,
        below: Offset,
    ) -> Result<Option<TimedOffset>, Stop> {
        let log_start = self.log_start();
        for segment in list.all() {
            if segment.base >= below {
                break;
            }
            if segment.max_timestamp() < timestamp || segment.end() <= log_start {
                continue;
            }
            let mut cursor = self.cursor(segment)?;
            let mut found = cursor.seek_timestamp(timestamp)?;
            while found {
                let record = self.record_at(&mut cursor, timestamp, log_start, segment)?;
                match record {
                    Some(record) if record.offset >= below => return Ok(None),
                    Some(record) => return Ok(Some(record)),
                    // Its header promised more than its records below the log start keep.
                    None => found = next_at(&mut cursor, timestamp)?,
                }
            }
        }
        Ok(None)
    }

    /// The first record at or after `timestamp` in the batch at the cursor.
    fn record_at(
        &self,
        cursor: &mut Cursor,
        timestamp: Timestamp,
        log_start: Offset,
        segment: &Arc<Segment>,
    ) -> Result<Option<TimedOffset>, Stop> {
        let position = cursor.position();
        let Some(batch) = cursor.whole()? else {
            return Ok(None);
        };
        let header = *batch.header();
        let timed = |offset, timestamp| TimedOffset {
            offset,
            timestamp,
            leader_epoch: header.leader_epoch,
        };
        if header.records == 0 {
            return Ok(None);
        }
        if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            let offset = header.base.max(log_start);
            return Ok(Some(timed(offset, header.max_timestamp)));
        }
        let unreadable = || Damage {
            segment: segment.base,
            position,
            from: header.base,
            until: header.end(),
            kind: DamageKind::Batch,
        };
        let records = batch
            .records(&self.config().decode)
            .map_err(|_| unreadable())?;
        for record in records.iter() {
            let record = record.map_err(|_| unreadable())?;
            if record.timestamp >= timestamp && record.offset >= log_start {
                return Ok(Some(timed(record.offset, record.timestamp)));
            }
        }
        Ok(None)
    }

    /// The greatest timestamp of the batches that lie below `below`.
    fn greatest(&self, list: &SegmentList, below: Offset) -> Result<Option<Timestamp>, Stop> {
        let log_start = self.log_start();
        let mut greatest = None;
        for segment in list.all() {
            if segment.base >= below {
                break;
            }
            if segment.end() <= log_start || segment.bytes() == 0 {
                continue;
            }
            let whole = segment.end() <= below && segment.base >= log_start;
            let here = if whole {
                Some(segment.max_timestamp())
            } else {
                self.cursor(segment)?.max_between(log_start, below)?
            };
            greatest = greatest.max(here);
        }
        Ok(greatest)
    }
}

/// Goes behind the batch at the cursor, to the next one at or after `timestamp`.
fn next_at(cursor: &mut Cursor, timestamp: Timestamp) -> Result<bool, Damage> {
    if let Some(batch) = cursor.batch()? {
        cursor.pass(&batch);
    }
    while let Some(batch) = cursor.batch()? {
        if batch.max_timestamp >= timestamp {
            return Ok(true);
        }
        cursor.pass(&batch);
    }
    Ok(false)
}
