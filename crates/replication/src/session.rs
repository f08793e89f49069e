//! What leader and follower tell each other, without its encoding.

use std::fmt;
use std::time::Duration;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::divergence::EpochStart;

/// A follower's wish to be fed, with its position.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    /// Who asks.
    pub node: NodeId,
    /// A number that the owner never gives twice in one process; names the session if there is one.
    pub session: u64,
    /// The epoch that the follower follows.
    pub leader_epoch: LeaderEpoch,
    /// The follower's uptime: that of its connection.
    pub broker_epoch: BrokerEpoch,
    /// Its oldest readable offset.
    pub log_start: Offset,
    /// Its log end.
    pub log_end: Offset,
    /// Its epochs, oldest first.
    pub epochs: &'a [EpochStart],
}

/// The leader's log at the time of an attach.
#[derive(Clone, Copy, Debug)]
pub struct LeaderLog<'a> {
    /// Oldest readable offset.
    pub log_start: Offset,
    /// Base of the batch that holds the log start: where a replica that starts afresh begins.
    pub reset_start: Offset,
    /// Next offset to be written.
    pub log_end: Offset,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// Its epochs, oldest first, the current one among them unless nothing was ever written.
    pub epochs: &'a [EpochStart],
}

/// What a leader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachOutcome {
    /// There is a session; data follows its first ack, which must say `expects`.
    Attached {
        /// Where the follower must cut its log before it acknowledges anything.
        truncate_to: Option<Offset>,
        /// The log end that the first ack confirms.
        expects: Offset,
        /// One batch a frame, one frame under way.
        one_batch: bool,
    },
    /// There is a session, and the follower starts afresh at `start`, which its first ack confirms.
    Reset {
        /// Where it begins.
        start: Offset,
    },
    /// There is none.
    Refused(Refusal),
}

/// Why a leader gives no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node leads, as far as is known here.
    NotLeader {
        /// That node.
        leader: Option<NodeId>,
    },
    /// The follower's epoch is over.
    FencedEpoch {
        /// The current one.
        current: LeaderEpoch,
    },
    /// The follower knows an epoch, of the partition or of itself, that is not yet known here.
    UnknownEpoch,
    /// The follower holds no replica of this partition.
    NotAReplica,
    /// The follower's uptime is over; it must register again.
    StaleBrokerEpoch,
    /// The leader cannot read its log.
    Storage,
    /// The follower may be elected, and lacks what is committed: it must say so to the controller
    /// before it is fed again.
    LostLog,
    /// Too soon.
    Throttled {
        /// When to ask again.
        after: Duration,
    },
}

/// Why a follower cannot go on with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nack {
    /// A batch that begins at `at` fails its checksum, or is not whole.
    Corrupt {
        /// Its base offset.
        at: Offset,
    },
    /// What came does not continue the log.
    Gap {
        /// What would.
        expected: Offset,
    },
    /// The follower's disk is full.
    DiskFull,
    /// The follower's disk failed.
    IoError,
    /// A batch's epoch is older than that of the batch before it.
    EpochRegression,
}

/// Why a leader ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseWhy {
    /// The follower attached again.
    Replaced,
    /// It is no replica any more.
    Removed,
    /// It has started anew, or is gone from the cluster.
    BrokerEpoch,
    /// It did not move although there was something to send.
    Stalled,
    /// It could not go on.
    Nacked(Nack),
    /// It did not confirm the agreed end in time.
    Unconfirmed,
    /// It confirmed another end than the agreed one.
    Disagreed,
    /// It needs what the leader's log no longer has, although it counts.
    BehindLogStart,
    /// The link closed.
    LinkLost,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: None } => f.write_str("it does not lead"),
            Self::NotLeader {
                leader: Some(leader),
            } => write!(f, "node {leader} leads"),
            Self::FencedEpoch { current } => write!(f, "leader epoch {current} rules"),
            Self::UnknownEpoch => f.write_str("its metadata is not that new yet"),
            Self::NotAReplica => f.write_str("no replica of this partition"),
            Self::StaleBrokerEpoch => f.write_str("the node has registered anew"),
            Self::Storage => f.write_str("its log cannot be read"),
            Self::LostLog => f.write_str("what is committed is missing"),
            Self::Throttled { .. } => f.write_str("too soon"),
        }
    }
}

impl fmt::Display for Nack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { at } => write!(f, "the batch for offset {at} is damaged"),
            Self::Gap { expected } => write!(f, "its log ends at {expected}"),
            Self::DiskFull => f.write_str("its disk is full"),
            Self::IoError => f.write_str("its disk failed"),
            Self::EpochRegression => f.write_str("the batches' epochs go back"),
        }
    }
}
