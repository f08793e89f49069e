//! What is wrong with a log: bytes that cannot be believed, and writes that failed.
//!
//! Damage is reported and never repaired here: the bytes stay where they are, are never served,
//! and what lies around them is. Poison is for good: a log that failed to write or sync takes no
//! more writes until it is opened again.

use std::io;
use std::sync::OnceLock;

use plimsoll_types::Offset;

/// A range of a log that cannot be read although it should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offsets {from} to {until} of segment {segment} are damaged at byte {position}: {kind}")]
pub struct Damage {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where in the segment it begins, its front not counted.
    pub position: u64,
    /// The first offset that cannot be read.
    pub from: Offset,
    /// Where reading can go on.
    pub until: Offset,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// What is wrong with a damaged range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// A batch fails its checksum or is not one.
    #[error("the batch there does not check")]
    Batch,
    /// A batch's offset, length or leader epoch is not the one it was written with.
    #[error("the batch there does not continue the log")]
    Stamp,
    /// The file ends before its time.
    #[error("the file ends there")]
    Short,
    /// The file is not there.
    #[error("the file is missing")]
    Missing,
    /// The disk does not give the bytes back.
    #[error("the disk cannot read it")]
    Unreadable,
}

/// What failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailedStep {
    /// Writing batches.
    #[error("a write")]
    Write,
    /// Making written bytes durable.
    #[error("a sync")]
    Sync,
    /// Changing the log's files.
    #[error("a change of its files")]
    Files,
}

/// Why a log takes no more writes. Reads below the published end go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step} failed with the log at offset {at} ({kind}); it takes no writes until reopened")]
pub struct Poisoned {
    /// The log end when it happened.
    pub at: Offset,
    /// What failed.
    pub step: FailedStep,
    /// How.
    pub kind: io::ErrorKind,
    /// The system's error number, if it gave one.
    pub errno: Option<i32>,
}

/// The poison of one log: the first failure stays.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<Poisoned>);

impl Poison {
    /// What poisoned the log, if anything has.
    pub(crate) fn get(&self) -> Option<Poisoned> {
        self.0.get().copied()
    }

    /// That the log still takes writes.
    pub(crate) fn check(&self) -> Result<(), Poisoned> {
        self.get().map_or(Ok(()), Err)
    }

    /// Poisons the log, unless it is already; returns what did.
    pub(crate) fn set(&self, at: Offset, step: FailedStep, error: &io::Error) -> Poisoned {
        *self.0.get_or_init(|| Poisoned {
            at,
            step,
            kind: error.kind(),
            errno: error.raw_os_error(),
        })
    }
}
