//! What is wrong with a replica and what is being done about it, for people.

use std::time::Duration;

use plimsoll_types::{LeaderEpoch, NodeId, Offset, PartitionKey};

/// Why a replica is not in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its disk is full.
    DiskFull,
    /// No link, or nothing heard on it.
    Unreachable,
    /// Its log holds what the leader's does not, below its high watermark.
    Diverged,
    /// A batch failed its checksum.
    Corrupt,
    /// It does not move though it could.
    Stalled,
    /// It waits for its turn.
    Throttled,
    /// The controller has fenced it.
    Fenced,
    /// One side does not know the metadata of the other yet.
    MetadataLag,
    /// Nobody leads.
    NoLeader,
    /// Its disk failed.
    IoError,
    /// Its log ended before the leader's began; it copies all.
    BehindLogStart,
    /// It has not come up yet.
    CatchingUp,
    /// Too few replicas are in sync for acks=all.
    BelowMinIsr,
}

impl Cause {
    /// The stable word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DiskFull => "follower-disk-full",
            Self::Unreachable => "peer-unreachable",
            Self::Diverged => "diverged",
            Self::Corrupt => "corrupt-range",
            Self::Stalled => "stalled-stream",
            Self::Throttled => "throttled",
            Self::Fenced => "fenced",
            Self::MetadataLag => "metadata-lag",
            Self::NoLeader => "no-leader",
            Self::IoError => "io-error",
            Self::BehindLogStart => "behind-log-start",
            Self::CatchingUp => "catching-up",
            Self::BelowMinIsr => "below-min-isr",
        }
    }
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It leads.
    Leader,
    /// It is in the ISR and attached.
    InSync,
    /// It is attached and comes up.
    CatchingUp,
    /// It is in the ISR, but holds it back.
    FallingBehind,
    /// It is being cut or begun anew.
    Repairing,
    /// It has no session.
    Stalled,
    /// Its store takes nothing.
    Offline,
}

/// One replica, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The partition.
    pub key: PartitionKey,
    /// Whose replica.
    pub node: NodeId,
    /// Who leads, as far as known here.
    pub leader: Option<NodeId>,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// How it stands.
    pub state: ReplicaState,
    /// Why it is not in sync, if it is not.
    pub cause: Option<Cause>,
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
    /// How long ago it was known to be caught up.
    pub lag: Option<Duration>,
    /// What was seen, in words.
    pub evidence: String,
    /// What is being done, in words.
    pub action: &'static str,
    /// When the next attempt is due.
    pub next_attempt: Option<Duration>,
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
