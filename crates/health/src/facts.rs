//! What is known about one replica, as plain data with ages in place of times.
//!
//! Not here: what follows from it. Whoever knows only a part leaves the rest as
//! [`ReplicaFacts::healthy`] has it: what is not known to be wrong is taken for right.

use std::time::Duration;

use plimsoll_types::{NodeId, Offset};

/// The facts about one replica, seen by its leader or by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaFacts {
    /// Whose replica.
    pub node: NodeId,
    /// Who leads, if anybody; `node` itself if this is the leader's replica.
    pub leader: Option<NodeId>,
    /// Whether it is among those in sync, as committed.
    pub in_isr: bool,
    /// How many are in sync, as committed.
    pub isr: u32,
    /// How many must be for anything to be committed.
    pub min_isr: u32,
    /// Its first offset.
    pub log_start: Offset,
    /// Its log's end.
    pub log_end: Offset,
    /// The high watermark it knows.
    pub high_watermark: Offset,
    /// The leader's log end; none if not known.
    pub leader_log_end: Option<Offset>,
    /// For how long it has not had all that the leader has.
    pub behind_for: Duration,
    /// How many records it gets a second, if known.
    pub records_per_second: Option<u64>,
    /// The connection between leader and follower.
    pub link: Link,
    /// The stream of this partition on it.
    pub session: Session,
    /// The disk of this replica.
    pub disk: Disk,
    /// For how long its node has been fenced by the controller, if it is.
    pub fenced: Option<Duration>,
    /// Whether its node is being drained to shut down.
    pub draining: bool,
    /// For how long its node has had no answer from a controller, once it fenced itself for that.
    pub self_fenced: Option<Duration>,
    /// For how long its process stood still just now, if it did.
    pub paused: Option<Duration>,
    /// How far its node's metadata lags, if it does.
    pub metadata_lag: Option<MetadataLag>,
    /// What has to be mended in its log, if anything.
    pub repair: Option<Repair>,
    /// The bytes a second that it may catch up with, if it is held to them just now.
    pub throttled_to: Option<u64>,
    /// How its way back among those in sync stands.
    pub join: Join,
    /// The age of these facts.
    pub age: Duration,
}

/// The connection between leader and follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// There, and heard of lately.
    Up,
    /// Not there.
    Down {
        /// For how long.
        since: Duration,
        /// How many attempts failed since; zero where the other side makes them.
        attempts: u32,
        /// When the next one is made.
        next_attempt: Duration,
    },
}

/// The stream of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Records flow, or would if there were any.
    Streaming,
    /// Being agreed on.
    Attaching {
        /// For how long.
        since: Duration,
    },
    /// The leader does not take the follower.
    Refused {
        /// For how long.
        since: Duration,
        /// Why, in its words.
        why: String,
        /// How many times in a row.
        attempts: u32,
        /// When it is tried again.
        next_attempt: Duration,
    },
    /// There are records to send, and the follower's log does not grow.
    Stalled {
        /// For how long.
        since: Duration,
        /// How many times in a row the watchdog has begun the stream anew.
        attempts: u32,
        /// When the watchdog acts next.
        next_attempt: Duration,
    },
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Well.
    Healthy,
    /// Syncs take long.
    Slow {
        /// The longest of late.
        sync: Duration,
        /// For how long it has been so.
        lasting: Duration,
    },
    /// No room.
    Full {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that have to be free for writing to go on.
        needs_bytes: u64,
    },
    /// An operation failed.
    Failed {
        /// How long ago.
        since: Duration,
        /// What the system said.
        error: String,
    },
}

/// Metadata that is not the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataLag {
    /// How many changes are missing.
    pub changes: u64,
    /// For how long.
    pub lasting: Duration,
}

/// What has to be mended in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Records that were never committed are cut off.
    Cut {
        /// From where on.
        from: Offset,
        /// Where the log ended.
        to: Offset,
    },
    /// The leader's log parts from this one below the high watermark, and no unclean election
    /// explains it: somebody lost committed records. Nothing is cut.
    Quarantined {
        /// From where on they differ.
        at: Offset,
    },
    /// Bytes on the disk changed.
    Corrupt {
        /// The first offset concerned.
        from: Offset,
        /// The end of those concerned.
        to: Offset,
        /// How far the copy from the leader has come.
        copied_to: Offset,
    },
    /// Files of the log, or the disk it lay on, are gone.
    Lost {
        /// The first offset concerned; zero if it is all of it.
        from: Offset,
        /// How far the copy from the leader has come.
        copied_to: Offset,
    },
    /// The leader has dropped what comes next here: retention was faster.
    BehindLogStart {
        /// Where this log ended.
        ended: Offset,
        /// Where the leader's begins.
        leader_log_start: Offset,
        /// How far the copy from the leader has come.
        copied_to: Offset,
    },
}

/// The way back among those in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Nothing under way.
    Idle,
    /// Caught up, and held back for a while because it left only just now.
    Held {
        /// For how much longer.
        remaining: Duration,
        /// How many times it left of late.
        evictions: u32,
    },
    /// Caught up, and the controller has been asked.
    Proposed {
        /// How long ago.
        since: Duration,
    },
}

impl ReplicaFacts {
    /// A replica of `node` that has all that `leader` has, and is in sync.
    #[must_use]
    pub const fn healthy(node: NodeId, leader: NodeId, log_end: Offset) -> Self {
        Self {
            node,
            leader: Some(leader),
            in_isr: true,
            isr: 3,
            min_isr: 2,
            log_start: Offset::new(0),
            log_end,
            high_watermark: log_end,
            leader_log_end: Some(log_end),
            behind_for: Duration::ZERO,
            records_per_second: None,
            link: Link::Up,
            session: Session::Streaming,
            disk: Disk::Healthy,
            fenced: None,
            draining: false,
            self_fenced: None,
            paused: None,
            metadata_lag: None,
            repair: None,
            throttled_to: None,
            join: Join::Idle,
            age: Duration::ZERO,
        }
    }

    /// Whether this is the leader's replica.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.node)
    }

    /// How many records the leader has beyond this replica; zero if not known.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.leader_log_end
            .map_or(0, |end| end.get().saturating_sub(self.log_end.get()))
    }
}
