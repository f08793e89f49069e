//! How replicas stand, and what the broker must tell the controller or a person.

use std::time::Duration;

use plimsoll_health::Diagnosis;
use plimsoll_replication::Refusal;
use plimsoll_types::{LeaderEpoch, NodeId, Offset, PartitionKey};

/// Why a replica here, or a follower, is not in sync, as far as a link or the tick found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    DiskFull,
    Unreachable,
    /// Its log holds what the leader's does not from here on, below its high watermark.
    Diverged(Offset),
    /// A run failed its checksum when it came.
    Corrupt,
    /// What lies on its disk is not to be believed from here on.
    Damaged(Offset),
    Stalled,
    Throttled,
    /// The leader gives no session.
    Refused(Refusal),
    NoLeader,
    IoError,
    BehindLogStart,
    BelowMinIsr,
}

/// One replica, as this node sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaStatus {
    /// The partition.
    pub key: PartitionKey,
    /// Whose replica.
    pub node: NodeId,
    /// Who leads, as far as known here.
    pub leader: Option<NodeId>,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// Its oldest readable offset, as far as known here.
    pub log_start: Offset,
    /// End of its log, as far as known here.
    pub log_end: Offset,
    /// End of what it synced, as far as known here.
    pub durable_end: Offset,
    /// The high watermark here.
    pub high_watermark: Offset,
    /// How many offsets it is behind the leader, as far as known here.
    pub behind: u64,
    /// Whether it is in the committed ISR.
    pub in_isr: bool,
    /// How long ago it was known to have all, if it lacks something.
    pub lag: Option<Duration>,
    /// Up to where it was compared with its leader; for this node's own followers only.
    pub verified_end: Option<Offset>,
    /// How it stands, why, and what is being done.
    pub diagnosis: Diagnosis,
}

/// Something that the broker must tell the controller or a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// This node's own log failed a checksum; nothing of the range is shipped.
    Corrupt {
        /// The partition.
        key: PartitionKey,
        /// The first offset concerned.
        from: Offset,
        /// Whether this node leads the partition.
        leading: bool,
    },
    /// The leader asked for a cut below the high watermark without an unclean election.
    Diverged {
        /// The partition.
        key: PartitionKey,
        /// Where the logs part.
        at: Offset,
        /// The high watermark here.
        high_watermark: Offset,
    },
    /// The replica's store failed.
    Offline {
        /// The partition.
        key: PartitionKey,
        /// Why.
        why: String,
    },
}
