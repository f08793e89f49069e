//! Letting go of the log's front: retention and DeleteRecords.
//!
//! Segments leave the log at once, for readers; their files go when the [`Upkeep`] has made a
//! checkpoint durable that does not need them. Slices of them stay readable as long as they are
//! held. Not here: how long to keep what.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::{Offset, Timestamp};

use super::LogWriter;
use crate::config::Retention;
use crate::damage::Poisoned;
use crate::epochs::EpochVector;
use crate::segment::Segment;
use crate::upkeep::{FileChange, Upkeep};

/// Why the front stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrimError {
    /// The log takes no changes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The offset is above the log end.
    #[error("the log ends at {log_end}, it cannot start at {to}")]
    AboveEnd {
        /// What was asked for.
        to: Offset,
        /// The log end.
        log_end: Offset,
    },
}

impl LogWriter {
    /// Drops segments from the front that `retention` no longer wants, none with anything at or
    /// above `below` (the high watermark). The last one goes only by age, and is rolled for it.
    /// `None` if nothing went.
    ///
    /// # Errors
    /// When the log is poisoned.
    pub fn retain(
        &mut self,
        retention: &Retention,
        now: Timestamp,
        below: Offset,
    ) -> Result<Option<Upkeep>, TrimError> {
        self.log.poison.check()?;
        let start = self.wanted_start(retention, now, below);
        if start <= self.log_start() {
            return Ok(None);
        }
        self.start_at(start).map(Some)
    }

    /// Where the log would start.
    fn wanted_start(&self, retention: &Retention, now: Timestamp, below: Offset) -> Offset {
        let list = self.log.segments.load();
        let mut left = list.bytes();
        let mut start = self.log_start();
        for segment in list
            .all()
            .iter()
            .take_while(|segment| segment.end() <= below)
        {
            left -= segment.bytes();
            // A timestamp in the future is not older than anything.
            let written = segment.max_timestamp();
            let known = written != Timestamp::NONE;
            let expired = known && retention.age.is_some_and(|age| now.since(written) > age);
            let over = |limit| segment.is_sealed() && left >= limit;
            if expired || retention.bytes.is_some_and(over) {
                start = start.max(segment.end());
            } else if known || retention.age.is_none() {
                break;
            }
            // One without a timestamp, empty or lost, goes with the next that does.
        }
        start
    }

    /// Makes the log start at `offset` (DeleteRecords), which may be inside a batch. Readers see
    /// it at once; it is durable, and may be promised, when the [`Upkeep`] has run. At or below
    /// the current start: nothing changes, and the upkeep makes the start there is durable.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub fn delete_before(&mut self, offset: Offset) -> Result<Upkeep, TrimError> {
        self.log.poison.check()?;
        let log_end = self.log_end();
        if offset > log_end {
            return Err(TrimError::AboveEnd {
                to: offset,
                log_end,
            });
        }
        self.start_at(offset)
    }

    fn start_at(&mut self, start: Offset) -> Result<Upkeep, TrimError> {
        if start == self.log_end() {
            self.roll();
        }
        let list = self.log.segments.load_full();
        let goes = |segment: &Arc<Segment>| segment.is_sealed() && segment.end() <= start;
        let (gone, kept): (Vec<_>, Vec<_>) = list.all().iter().cloned().partition(goes);
        // The start first: who finds the old list then still learns that he is below it.
        self.log.log_start.fetch_max(start.get(), Ordering::AcqRel);
        if !gone.is_empty() {
            self.set_segments(kept);
        }
        let mut epochs = EpochVector::clone(&self.log.epochs.load());
        epochs.start_at(self.log_start());
        if epochs != **self.log.epochs.load() {
            self.log.epochs.store(Arc::new(epochs));
            self.epochs_in_file = None;
        }
        gone.iter().for_each(|segment| segment.retire());
        self.cleaned_to = self.cleaned_to.max(self.log_start());
        Ok(self.stage(gone.into_iter().map(FileChange::Remove).collect()))
    }
}
