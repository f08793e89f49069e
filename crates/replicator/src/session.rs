//! What a link and a replica share about one session, and how one rings the other.
//!
//! A ring is one swap of a flag, one push and one bell. A queue holds a session at most once, so
//! it is bounded by the number of sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};
use plimsoll_watermark::{Position, Signal};

use crate::frame::{Purpose, StreamFrame};
use crate::replica::Replica;

/// A time that one thread writes and others read; zero is never.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn set(&self, at: Monotonic) {
        let nanos = u64::try_from(at.since_start().as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a time alone; nothing is read because of it.
        self.0.fetch_max(nanos.max(1), Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Monotonic> {
        match self.0.load(Relaxed) {
            0 => None,
            nanos => Some(Monotonic::from_start(Duration::from_nanos(nanos))),
        }
    }
}

/// An offset that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn set(&self, to: Offset) {
        // Release: pairs with the Acquire in `get`; who sees it sees what led to it.
        self.0.store(to.get(), Release);
    }

    pub(crate) fn get(&self) -> Offset {
        Offset::new(self.0.load(Acquire))
    }
}

/// The leader's end of a connection, as replicas see it.
pub(crate) struct LeadShared {
    pub(crate) follower: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) bell: Signal,
    pub(crate) dirty: SegQueue<Arc<Session>>,
    /// Answers, and ends of sessions: at most one of each for a session.
    pub(crate) control: SegQueue<StreamFrame>,
    pub(crate) closed: AtomicBool,
    /// When the newest frame that was echoed had been sent.
    pub(crate) granted: Clock,
    pub(crate) heard: Clock,
}

impl LeadShared {
    pub(crate) fn say(&self, frame: StreamFrame) {
        self.control.push(frame);
        self.bell.notify();
    }
}

/// One follower's session at its leader.
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) follower: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Arc<Replica>,
    pub(crate) link: Arc<LeadShared>,
    /// Where its acks count. Bound to the course it was taken from.
    pub(crate) position: Position,
    pub(crate) window: u32,
    /// Send one batch at a time: it stalled before.
    pub(crate) one_batch: bool,
    /// Check what is sent: it was refused as damaged before.
    pub(crate) verify: bool,
    pub(crate) dirty: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) confirmed: AtomicBool,
    pub(crate) log_end: Cell,
    pub(crate) durable_end: Cell,
    pub(crate) sent_end: Cell,
    pub(crate) told_high_watermark: Cell,
    pub(crate) caught_up: Clock,
    /// When it last moved, or was last given a piece of a run.
    pub(crate) moved: Clock,
    /// What the tick saw when it last suspected a missed ring.
    pub(crate) suspect: AtomicU64,
}

impl Session {
    /// There is something to look at.
    pub(crate) fn ring(self: &Arc<Self>) {
        // AcqRel: Release hands what moved to the link, which swaps the flag before it looks;
        // Acquire, so that a ring after that swap is not taken for one before.
        if !self.dirty.swap(true, AcqRel) {
            self.link.dirty.push(Arc::clone(self));
            self.link.bell.notify();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Acquire)
    }
}

/// The follower's end of a connection, as replicas see it.
pub(crate) struct FollowShared {
    pub(crate) id: u64,
    pub(crate) leader: NodeId,
    pub(crate) purpose: Purpose,
    pub(crate) bell: Signal,
    pub(crate) dirty: SegQueue<Arc<Intake>>,
    /// Replicas that want to attach; each is in it at most once.
    pub(crate) wants: SegQueue<Arc<Replica>>,
    pub(crate) closed: AtomicBool,
    /// When something was last echoed to that leader, on any link: it may count on this node until
    /// a lease later.
    pub(crate) granted: Arc<Clock>,
}

/// One session at its follower.
pub(crate) struct Intake {
    pub(crate) key: PartitionKey,
    pub(crate) session: u64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Arc<Replica>,
    pub(crate) link: Arc<FollowShared>,
    pub(crate) dirty: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// No ack before this: the position is not confirmed yet.
    pub(crate) ready: AtomicBool,
    pub(crate) told_end: Cell,
    pub(crate) told_durable: Cell,
    /// The leader's end, as last told.
    pub(crate) leader_end: Cell,
    pub(crate) heard: Clock,
}

impl Intake {
    pub(crate) fn ring(self: &Arc<Self>) {
        // AcqRel: as in `Session::ring`.
        if !self.dirty.swap(true, AcqRel) {
            self.link.dirty.push(Arc::clone(self));
            self.link.bell.notify();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}
