//! What a follower is told and what it wants done.

use std::fmt;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};

use crate::divergence::EpochStart;
use crate::session::{Nack, Refusal};

/// What a follower begins with.
#[derive(Clone, Copy, Debug)]
pub struct FollowerTerm {
    /// The partition.
    pub key: PartitionKey,
    /// This node.
    pub me: NodeId,
    /// The uptime of this node.
    pub broker_epoch: BrokerEpoch,
    /// Whom it follows; `None` while nobody leads.
    pub leader: Option<NodeId>,
    /// The epoch that leader leads in.
    pub leader_epoch: LeaderEpoch,
    /// The last epoch that began by an unclean election.
    pub unclean_epoch: Option<LeaderEpoch>,
}

/// The follower's own log.
#[derive(Clone, Copy, Debug)]
pub struct LocalLog<'a> {
    /// Oldest readable offset.
    pub log_start: Offset,
    /// Next offset to be written.
    pub log_end: Offset,
    /// End of what is known to be committed.
    pub high_watermark: Offset,
    /// Its epochs, oldest first.
    pub epochs: &'a [EpochStart],
}

/// A leader's consent to a session.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'a> {
    /// The session.
    pub session: u64,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where to cut the log first.
    pub truncate_to: Option<Offset>,
    /// The leader's log start.
    pub log_start: Offset,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's log end.
    pub log_end: Offset,
    /// The leader's epochs that begin no later than the agreed end.
    pub epochs: &'a [EpochStart],
    /// The last epoch that began by an unclean election, as the leader knows it.
    pub unclean_epoch: Option<LeaderEpoch>,
}

/// A leader's word that a follower starts afresh.
#[derive(Clone, Copy, Debug)]
pub struct Reset<'a> {
    /// The session.
    pub session: u64,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where the new log begins.
    pub start: Offset,
    /// The leader's log start, inside of the batch at `start`.
    pub log_start: Offset,
    /// The leader's epochs that begin no later than `start`.
    pub epochs: &'a [EpochStart],
}

/// The head of an append, and what comes with every frame.
#[derive(Clone, Copy, Debug)]
pub struct AppendHead {
    /// The session.
    pub session: u64,
    /// Where its batches begin; `None` when it has none.
    pub from: Option<Offset>,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's log start.
    pub log_start: Offset,
    /// The leader's log end.
    pub log_end: Offset,
}

/// What to do with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Check its batches, append them, and say what became of it by `appended`.
    Accept,
    /// It is of another session, or carries nothing.
    Drop,
    /// It does not continue the log; the session is over.
    Refuse,
}

/// Why the follower's own log could not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalFault {
    /// What came is not acceptable: say so and attach again.
    Refused(Nack),
    /// No space.
    DiskFull,
    /// The disk failed; the log takes nothing until it is opened again.
    IoError,
}

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerState {
    /// Nobody leads, or there is no link: metadata or the link wakes it.
    Waiting,
    /// Attaches then.
    Pausing {
        /// When.
        until: Monotonic,
    },
    /// Has asked.
    Attaching {
        /// When it asks again.
        until: Monotonic,
    },
    /// Cuts its log, or starts afresh.
    Working {
        /// The session this is for.
        session: u64,
        /// The log end that comes out of it.
        expects: Offset,
        /// When it gives up.
        until: Monotonic,
    },
    /// Is fed.
    Streaming {
        /// By this session.
        session: u64,
    },
    /// What is here is not to be believed, and others may count on it still.
    Withdrawn {
        /// When it asks whether they do.
        until: Monotonic,
    },
    /// Begins with nothing, as what was here is not to be believed.
    Rebuilding {
        /// When it looks again.
        until: Monotonic,
    },
    /// Was asked to cut committed records on a clean chain, and does not.
    Suspect {
        /// When it asks again.
        until: Monotonic,
    },
}

/// What a follower wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowerAction {
    /// Ask the leader for a session, with the log's present state.
    SendAttach {
        /// The leader.
        leader: NodeId,
        /// Its epoch.
        leader_epoch: LeaderEpoch,
        /// The uptime of this node.
        broker_epoch: BrokerEpoch,
    },
    /// Cut the log, write these epochs, sync, and say so by `worked`. Also when nothing is cut.
    Truncate {
        /// New log end.
        to: Offset,
        /// The whole new epoch vector.
        epochs: Vec<EpochStart>,
        /// Whether to cut committed records: an unclean election is on the way to this leader.
        allow_below_high_watermark: bool,
    },
    /// Put the log aside, begin a new one, and say so by `worked`.
    ResetTo {
        /// Its first offset.
        start: Offset,
        /// Its oldest readable offset.
        log_start: Offset,
        /// Its epochs.
        epochs: Vec<EpochStart>,
    },
    /// Keep a copy of the log from here on, for people to look at.
    Quarantine {
        /// First offset of the copy.
        from: Offset,
    },
    /// Acknowledge the log's present ends in this session.
    SendAck {
        /// The session.
        session: u64,
    },
    /// End the session with a reason.
    SendNack {
        /// The session.
        session: u64,
        /// The reason.
        why: Nack,
    },
    /// End the session without one.
    Detach {
        /// The session.
        session: u64,
    },
    /// What the leader says of its log.
    Learned {
        /// Its high watermark.
        high_watermark: Offset,
        /// Its log start.
        log_start: Offset,
    },
    /// Have the controller take this replica out of ISR and ELR: it lacks what is committed. Once it
    /// is out its leader feeds it again, from what it has.
    ReportLoss,
    /// Tell the leader that no session is wanted, and bring its answer by `released`.
    Withdraw,
    /// The log that was put aside is not needed any more.
    DiscardAside,
    /// Ask for newer metadata: the leader is not who it was thought to be.
    RefreshMetadata,
    /// For the flight recorder.
    Event(FollowerEvent),
}

/// What happened, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerEvent {
    /// The leader gave no session.
    Refused(Refusal),
    /// No answer in time.
    AttachUnanswered,
    /// The log is cut.
    Truncating {
        /// From this end.
        from: Offset,
        /// To this one.
        to: Offset,
    },
    /// The log starts afresh.
    Resetting {
        /// Where.
        start: Offset,
    },
    /// It is fed.
    Streaming {
        /// From here on.
        from: Offset,
    },
    /// Committed records would have to go, on a clean chain: somebody has lost them.
    Suspect {
        /// What the leader asked for.
        truncate_to: Offset,
        /// What is known to be committed.
        high_watermark: Offset,
    },
    /// The leader has more and nothing comes.
    Starved {
        /// Where the log ends.
        at: Offset,
    },
    /// Its own log could not.
    Fault(LocalFault),
}

impl fmt::Display for FollowerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "attach refused: {why}"),
            Self::AttachUnanswered => f.write_str("attach not answered"),
            Self::Truncating { from, to } => write!(f, "truncates from {from} to {to}"),
            Self::Resetting { start } => write!(f, "starts afresh at {start}"),
            Self::Streaming { from } => write!(f, "is fed from {from}"),
            Self::Suspect {
                truncate_to,
                high_watermark,
            } => write!(
                f,
                "does not truncate to {truncate_to}: {high_watermark} is committed and no election was unclean"
            ),
            Self::Starved { at } => {
                write!(f, "gets nothing past {at} although the leader has more")
            }
            Self::Fault(fault) => write!(f, "own log took nothing: {fault}"),
        }
    }
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => why.fmt(f),
            Self::DiskFull => f.write_str("the disk is full"),
            Self::IoError => f.write_str("the disk failed"),
        }
    }
}
