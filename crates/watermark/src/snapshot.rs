//! What one sees of a partition's offsets at a moment.

use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use thiserror::Error;

/// One of the offsets that may be awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// End of the local log.
    LogEnd,
    /// End of the local log's synced prefix.
    DurableEnd,
    /// End of what every replica that counts has.
    HighWatermark,
}

/// The offsets of a partition, true together: `log_start <= high_watermark <= log_end` and
/// `durable_end <= log_end`, all of one leader epoch.
///
/// Each was the partition's at some moment between call and return; the log end may be newer than
/// the high watermark, never older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The epoch these offsets belong to.
    pub leader_epoch: LeaderEpoch,
    /// Oldest readable offset.
    pub log_start: Offset,
    /// End of what every replica that counts has.
    pub high_watermark: Offset,
    /// End of the local log's synced prefix.
    pub durable_end: Offset,
    /// End of the local log.
    pub log_end: Offset,
}

impl Snapshot {
    /// The offset of `mark`.
    #[must_use]
    pub const fn value(&self, mark: Mark) -> Offset {
        match mark {
            Mark::LogEnd => self.log_end,
            Mark::DurableEnd => self.durable_end,
            Mark::HighWatermark => self.high_watermark,
        }
    }
}

/// What was awaited can no longer come true: the log was cut or the leader epoch changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the offsets awaited were superseded; leader epoch {leader_epoch} rules now")]
#[non_exhaustive]
pub struct Superseded {
    /// The epoch that rules now.
    pub leader_epoch: LeaderEpoch,
}

/// The current tenure tracks no such replica; its position was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("node {replica} is not among the replicas of leader epoch {leader_epoch}")]
#[non_exhaustive]
pub struct Untracked {
    /// The node that reported.
    pub replica: NodeId,
    /// The epoch that rules now.
    pub leader_epoch: LeaderEpoch,
}
