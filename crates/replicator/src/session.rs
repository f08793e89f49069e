//! What a link and a replica share about one session, and how one rings the other.
//!
//! A ring is one swap of a flag, one push and one bell. A queue holds a session at most once, so
//! it is bounded by the number of sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset};
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
    pub(crate) fn new(at: Offset) -> Self {
        Self(AtomicU64::new(at.get()))
    }

    pub(crate) fn set(&self, to: Offset) {
        // Release: pairs with the Acquire in `get`; who sees it sees what led to it.
        self.0.store(to.get(), Release);
    }

    pub(crate) fn get(&self) -> Offset {
        Offset::new(self.0.load(Acquire))
    }
}

/// Whether a session stands in its link's queue, and whether it is over.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    due: AtomicBool,
    closed: AtomicBool,
}

/// One end of a connection, as sessions see it: who is to be looked at, and what is to be said.
pub(crate) struct End<T> {
    bell: Signal,
    due: SegQueue<Arc<T>>,
    /// Answers, and ends of sessions: a few for each session.
    control: SegQueue<StreamFrame>,
    closed: AtomicBool,
}

/// A session on one end of a connection.
pub(crate) trait OnLink: Sized {
    fn flags(&self) -> &Flags;
    fn end(&self) -> &End<Self>;

    /// There is something to look at.
    fn ring(self: &Arc<Self>) {
        // AcqRel: Release hands what moved to the link, which swaps the flag before it looks;
        // Acquire, so that a ring after that swap is not taken for one before.
        if !self.flags().due.swap(true, AcqRel) {
            self.end().due.push(Arc::clone(self));
            self.end().bell.notify();
            self.end().forget_if_closed();
        }
    }

    /// Whether it was rung, and not looked at since.
    fn is_due(&self) -> bool {
        self.flags().due.load(Acquire)
    }

    fn close(&self) {
        // Release: who sees the session closed sees what replaced it.
        self.flags().closed.store(true, Release);
    }

    fn is_closed(&self) -> bool {
        self.flags().closed.load(Acquire)
    }
}

impl<T: OnLink> End<T> {
    pub(crate) fn new() -> Self {
        Self {
            bell: Signal::new(),
            due: SegQueue::new(),
            control: SegQueue::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn say(&self, frame: StreamFrame) {
        self.control.push(frame);
        self.bell.notify();
        self.forget_if_closed();
    }

    pub(crate) fn wake(&self) {
        self.bell.notify();
    }

    /// Whether it was woken since the last look.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.bell.poll_notified(cx), Poll::Ready(()))
    }

    /// The next session to look at.
    pub(crate) fn take_due(&self) -> Option<Arc<T>> {
        let session = self.due.pop()?;
        // AcqRel: Acquire pairs with the swap in `OnLink::ring`, before the look at the log;
        // Release with the next ring.
        session.flags().due.swap(false, AcqRel);
        Some(session)
    }

    pub(crate) fn take_said(&self) -> Option<StreamFrame> {
        self.control.pop()
    }

    /// The connection is gone; nobody looks any more.
    pub(crate) fn close(&self) {
        // Release: whoever sees it closed sees the sessions end.
        self.closed.store(true, Release);
        self.forget_if_closed();
    }

    /// Nobody empties the queues of a connection that is gone, and a session in one would keep the
    /// connection that keeps it.
    fn forget_if_closed(&self) {
        // Pairs with itself: of who closes and who pushes at once, one sees what the other did.
        fence(SeqCst);
        if self.is_closed() {
            while self.due.pop().is_some() {}
            while self.control.pop().is_some() {}
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}

/// The leader's end of a connection, as replicas see it.
pub(crate) struct LeadShared {
    pub(crate) follower: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) end: End<Session>,
    /// When the newest frame that was echoed had been sent.
    pub(crate) granted: Clock,
    pub(crate) heard: Clock,
}

/// One follower's session at its leader.
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) follower: NodeId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Arc<Replica>,
    pub(crate) link: Arc<LeadShared>,
    /// Where its acks count. Bound to the course it was taken from.
    pub(crate) position: Position,
    pub(crate) window: u32,
    pub(crate) began: Monotonic,
    /// Send one batch at a time: it stalled before.
    pub(crate) one_batch: AtomicBool,
    pub(crate) flags: Flags,
    confirmed: AtomicBool,
    pub(crate) log_end: Cell,
    pub(crate) sent_end: Cell,
    pub(crate) told_high_watermark: Cell,
    /// When it was last given a piece of a run, or held back by the throttle.
    pub(crate) fed: Clock,
    /// What the tick saw when it last suspected a missed ring.
    pub(crate) suspect: AtomicU64,
}

/// What a session begins with.
pub(crate) struct Begins {
    pub(crate) id: u64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) position: Position,
    pub(crate) window: u32,
    pub(crate) one_batch: bool,
    /// What the first ack is to say.
    pub(crate) expects: Offset,
    pub(crate) high_watermark: Offset,
}

impl Session {
    pub(crate) fn new(
        replica: &Arc<Replica>,
        link: &Arc<LeadShared>,
        begins: Begins,
        now: Monotonic,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: begins.id,
            follower: link.follower,
            leader_epoch: begins.leader_epoch,
            replica: Arc::clone(replica),
            link: Arc::clone(link),
            position: begins.position,
            window: begins.window.max(1),
            began: now,
            one_batch: AtomicBool::new(begins.one_batch),
            flags: Flags::default(),
            confirmed: AtomicBool::new(false),
            log_end: Cell::new(begins.expects),
            sent_end: Cell::new(begins.expects),
            told_high_watermark: Cell::new(begins.high_watermark),
            fed: Clock::default(),
            suspect: AtomicU64::new(u64::MAX),
        })
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Acquire)
    }

    pub(crate) fn confirm(&self) {
        // Release: whoever sees it confirmed sees the ends it was confirmed with.
        self.confirmed.store(true, Release);
    }
}

impl OnLink for Session {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn end(&self) -> &End<Self> {
        &self.link.end
    }
}

/// The follower's end of a connection, as replicas see it.
pub(crate) struct FollowShared {
    pub(crate) id: u64,
    pub(crate) leader: NodeId,
    pub(crate) purpose: Purpose,
    pub(crate) end: End<Intake>,
    /// Replicas that want to attach; each is in it at most once.
    pub(crate) wants: SegQueue<Arc<Replica>>,
    /// When something was last echoed to that leader, on any link: it may count on this node until
    /// a lease later.
    pub(crate) granted: Arc<Clock>,
}

/// One session at its follower.
pub(crate) struct Intake {
    pub(crate) session: u64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Arc<Replica>,
    pub(crate) link: Arc<FollowShared>,
    pub(crate) flags: Flags,
    /// No ack before this: the position is not confirmed yet.
    ready: AtomicBool,
    pub(crate) told_end: Cell,
    pub(crate) told_durable: Cell,
    /// The leader's end, as last told.
    pub(crate) leader_end: Cell,
}

impl Intake {
    pub(crate) fn new(
        session: u64,
        leader_epoch: LeaderEpoch,
        replica: &Arc<Replica>,
        link: &Arc<FollowShared>,
        leader_end: Offset,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            leader_epoch,
            replica: Arc::clone(replica),
            link: Arc::clone(link),
            flags: Flags::default(),
            ready: AtomicBool::new(false),
            told_end: Cell::default(),
            told_durable: Cell::default(),
            leader_end: Cell::new(leader_end),
        })
    }

    /// Whether its position may be acknowledged.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Acquire)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        // Release: the link that sees it ready sees the log as it is now.
        self.ready.store(ready, Release);
    }
}

impl OnLink for Intake {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn end(&self) -> &End<Self> {
        &self.link.end
    }
}
