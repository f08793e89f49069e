//! Reading: mapped bytes below the high watermark, without asking the writer.

use std::sync::Arc;

use plimsoll_segment_log::{Minimum, ReadError as LogReadError, Slices};
use plimsoll_types::Offset;
use plimsoll_watermark::Snapshot;

use crate::Partition;
use crate::role::Role;
use crate::shared::describe;

/// What a read found, and the watermarks it was bounded by.
pub struct Records {
    /// Whole batches, as they are in the log; empty when there is nothing below the high watermark.
    pub slices: Slices,
    /// The positions at the time of the read.
    pub marks: Snapshot,
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is not between the log start and the high watermark.
    #[error("offset {offset} is outside of {log_start}..{high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The oldest readable offset.
        log_start: Offset,
        /// The end of what may be read.
        high_watermark: Offset,
    },
    /// The bytes on disk failed their checksum; they are not served.
    #[error("{why}")]
    Damaged {
        /// Which bytes.
        why: Arc<str>,
    },
    /// The machine did not give the bytes this time.
    #[error("{why}")]
    Storage {
        /// What it said.
        why: Arc<str>,
    },
    /// The replica neither leads nor follows, and does not know what is committed.
    #[error("the replica has no role yet")]
    Idle,
    /// The replica is offline after a storage error.
    #[error("the replica is offline: {why}")]
    Offline {
        /// The error that took it offline.
        why: Arc<str>,
    },
}

impl Partition {
    /// Whole batches from the one that holds `from` up to the high watermark (P2), at most
    /// `max_bytes`; with [`Minimum::OneBatch`] the first batch comes whatever its size (KIP-74).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        minimum: Minimum,
    ) -> Result<Records, ReadError> {
        let shared = self.shared();
        if let Some(why) = shared.offline() {
            return Err(ReadError::Offline { why });
        }
        if **shared.role.load() == Role::Idle {
            return Err(ReadError::Idle);
        }
        let marks = shared.watermarks.snapshot();
        let below = marks.high_watermark;
        let out_of_range = |log_start| ReadError::OutOfRange {
            offset: from,
            log_start,
            high_watermark: below,
        };
        if from > below {
            return Err(out_of_range(marks.log_start));
        }
        match shared
            .parts
            .load()
            .reader
            .read(from, below, max_bytes, minimum)
        {
            Ok(slices) => {
                debug_assert!(slices.next <= below.max(from), "P2");
                Ok(Records { slices, marks })
            }
            Err(LogReadError::BelowStart { log_start }) => Err(out_of_range(log_start)),
            Err(LogReadError::AboveEnd { .. }) => Err(out_of_range(marks.log_start)),
            Err(error @ LogReadError::Damaged(_)) => {
                shared.count_damaged_read();
                Err(ReadError::Damaged {
                    why: describe(&error).into(),
                })
            }
            Err(error) => Err(ReadError::Storage {
                why: describe(&error).into(),
            }),
        }
    }
}
