//! Compacting one partition: when it is worth it, and in which order the writer, the cleaner and the
//! disk take part. How it is done is the segment log's.

use std::time::Duration;

use plimsoll_record_batch::BatchHeader;
use plimsoll_segment_log::{
    CompactionConfig, CompactionError, CompactionReport, InstallError, Minimum, ReadError,
};
use plimsoll_types::{Offset, Timestamp};

use crate::Partition;
use crate::maintain::MaintainError;

/// Memory for the keys of one compaction; a log with more keys is cleaned in several.
const MAP_BYTES: usize = 32 << 20;

/// Why a compaction did not get through. The log is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Cleaning failed.
    #[error(transparent)]
    Clean(#[from] CompactionError),
    /// What was cleaned could not be swapped in.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The log could not be looked at.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Files could not be changed.
    #[error(transparent)]
    Upkeep(#[from] MaintainError),
}

impl Partition {
    /// Compacts the log if its topic asks for it and it is worth it; `None` if not. Blocks on the
    /// disk for as long as reading and writing what is compacted takes; appends and reads go on.
    ///
    /// # Errors
    /// See [`CompactError`].
    pub fn compact(&self, wall: Timestamp) -> Result<Option<CompactionReport>, CompactError> {
        let shared = self.shared();
        let config = shared.config.load_full();
        if !config.cleanup.compact || shared.offline().is_some() {
            return Ok(None);
        }
        let overdue = match config.max_compaction_lag {
            Some(lag) => self.seal_what_is_overdue(lag, wall)?,
            None => false,
        };
        let wanted = CompactionConfig {
            min_dirty_ratio: if overdue { 0.0 } else { config.min_dirty_ratio },
            min_lag: config.min_compaction_lag,
            delete_retention: config.tombstone_age,
            map_bytes: MAP_BYTES,
        };
        let below = shared.watermarks.high_watermark();
        let plan = self.with_writer(|writer| {
            let log = writer.log.as_ref()?;
            log.compactor(&wanted, wall, below)
        });
        let Some(plan) = plan else { return Ok(None) };
        let compacted = plan.run()?;
        let report = compacted.report();
        let upkeep = self.with_writer(|writer| match &mut writer.log {
            Some(log) => log.install(compacted).map_err(CompactError::from),
            None => Err(MaintainError::Closed.into()),
        })?;
        self.carry_out(Some(upkeep))?;
        Ok(Some(report))
    }

    /// `max.compaction.lag.ms`: whether something was not compacted for longer than `lag`. If it
    /// is in the segment that is written, that one is sealed, as only sealed ones are compacted.
    fn seal_what_is_overdue(&self, lag: Duration, wall: Timestamp) -> Result<bool, CompactError> {
        let reader = &self.reader();
        let cleaned_to = self.with_writer(|writer| writer.log.as_ref().map(|l| l.cleaned_to()));
        let dirty_from = cleaned_to.unwrap_or(Offset::ZERO).max(reader.log_start());
        if !self.is_older(dirty_from, lag, wall)? {
            return Ok(false);
        }
        let segments = reader.segments();
        let Some(tail) = segments.last().filter(|last| !last.sealed) else {
            return Ok(true);
        };
        if self.is_older(tail.base.max(dirty_from), lag, wall)? {
            let high_watermark = self.shared().watermarks.high_watermark();
            let upkeep = self.with_writer(|writer| {
                let log = writer.log.as_mut()?;
                log.roll();
                Some(log.checkpoint(high_watermark))
            });
            self.carry_out(upkeep)?;
        }
        Ok(true)
    }

    /// Whether the batch at `offset` was written longer than `age` ago, by its timestamp.
    fn is_older(&self, offset: Offset, age: Duration, wall: Timestamp) -> Result<bool, ReadError> {
        let reader = &self.reader();
        if offset >= reader.log_end() {
            return Ok(false);
        }
        let found = reader.read(offset, reader.log_end(), 1, Minimum::OneBatch)?;
        let header = found
            .chunks
            .first()
            .and_then(|batch| BatchHeader::decode(batch).ok());
        Ok(header.is_some_and(|header| wall.since(header.max_timestamp) > age))
    }
}
