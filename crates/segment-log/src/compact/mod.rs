//! Compaction: keeping the latest record of each key.
//!
//! Three steps. *Plan* (on the writer's turn, no I/O) picks sealed segments. *Run* (anywhere)
//! writes cleaned copies beside them, merging small neighbours, and reads them back. *Install* (the
//! writer's turn again) swaps them in; the [`Upkeep`](crate::Upkeep) it returns moves the files.
//! Readers keep what they hold, and offsets never change.
//!
//! What stays: the latest record of each key, and every record without one; a tombstone until its
//! batch's delete horizon, which is set when it is first cleaned (Kafka's attribute bit 6); control
//! batches as they are; a producer's last batch, emptied if need be, so that its sequence numbers
//! survive. The map of keys is bounded: what does not fit is for the next round.

mod clean;
mod install;
mod keys;
mod output;
mod plan;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_record_batch::BatchError;
use plimsoll_types::{Offset, ProducerId, Timestamp};

pub use install::InstallError;

use crate::damage::Damage;
use crate::log::Shared;
use crate::read::ReadError;
use crate::segment::Segment;

/// When compaction is worth it, and what it may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionConfig {
    /// Least part of the cleanable bytes that was not cleaned before, 0 to 1.
    pub min_dirty_ratio: f64,
    /// A segment is left alone until its greatest timestamp is this old.
    pub min_lag: Duration,
    /// How long a tombstone stays after it was first cleaned.
    pub delete_retention: Duration,
    /// Memory for the map of keys. One batch of records fits whatever this is.
    pub map_bytes: usize,
}

/// Compaction of one log, planned.
#[derive(Debug)]
#[must_use = "planned, not done"]
pub struct Compaction {
    log: Arc<Shared>,
    turn: Turn,
    config: CompactionConfig,
    now: Timestamp,
    /// Sealed segments from the front, those to be cleaned last.
    segments: Vec<Arc<Segment>>,
    /// What is before it was cleaned before.
    dirty_from: Offset,
    /// Last offset of each producer's last batch.
    producers: HashMap<ProducerId, Offset>,
    segment_bytes: u64,
}

/// Cleaned segments, durable beside those they are made of.
#[derive(Debug)]
#[must_use = "cleaned, not installed"]
pub struct Compacted {
    /// Held until it is installed or dropped.
    _turn: Turn,
    groups: Vec<Group>,
    cleaned_to: Offset,
    report: CompactionReport,
}

/// The log's one compaction: two at once would write to the same names.
#[derive(Debug)]
struct Turn(Arc<Shared>);

impl Turn {
    /// The turn, unless somebody has it.
    fn take(log: &Arc<Shared>) -> Option<Self> {
        let taken = log.compacting.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(Arc::clone(log)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.compacting.store(false, Ordering::Release);
    }
}

/// One cleaned segment and what it takes the place of.
#[derive(Debug)]
struct Group {
    output: Arc<Segment>,
    replaced: Vec<Arc<Segment>>,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Bytes of the segments that were read for cleaning.
    pub bytes_before: u64,
    /// Bytes of those segments afterwards.
    pub bytes_after: u64,
    /// Records that went because a later one has their key.
    pub superseded: u64,
    /// Tombstones that went after their time.
    pub tombstones: u64,
    /// Segments before.
    pub segments_before: usize,
    /// Segments afterwards.
    pub segments_after: usize,
    /// The log is cleaned up to here; below the plan's end if the map was full.
    pub cleaned_to: Offset,
}

/// Why a compaction did not get through. The log is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactionError {
    /// A segment is damaged. It stays as it is, as do those after it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A batch's records cannot be decoded.
    #[error("the batch at offset {base} cannot be decoded")]
    Batch {
        /// Its base offset.
        base: Offset,
        /// Why.
        source: BatchError,
    },
    /// A cleaned batch cannot be built.
    #[error("the cleaned batch at offset {base} cannot be built")]
    Build {
        /// Its base offset.
        base: Offset,
        /// Why.
        source: plimsoll_record_batch::BuildError,
    },
    /// The log moved on; a new plan may work.
    #[error("the log changed meanwhile")]
    Overtaken,
    /// What was written is not what is read back.
    #[error("the cleaned segment {base} does not read back as it was written")]
    Unverified {
        /// Its base offset.
        base: Offset,
    },
    /// The system could not read or write. A full disk is this too.
    #[error("cannot compact segment {base}")]
    Io {
        /// The segment's base offset.
        base: Offset,
        /// What the system said.
        source: io::Error,
    },
}

impl Compacted {
    /// What it did.
    #[must_use]
    pub fn report(&self) -> CompactionReport {
        self.report
    }
}

impl From<ReadError> for CompactionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Io { segment, source } => Self::Io {
                base: segment,
                source,
            },
            ReadError::BelowStart { .. } | ReadError::AboveEnd { .. } => Self::Overtaken,
        }
    }
}
