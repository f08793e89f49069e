//! The leader's end of a stream: sessions begin and end here, acks are counted.
//!
//! One task owns it: it feeds what it received, then polls for what to send. An ack takes no lock.
//! What is sent, and in which order, is in `send`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use crossbeam_queue::SegQueue;
use plimsoll_replication::Throttle;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId, Offset};
use plimsoll_watermark::Signal;

use crate::counters::count;
use crate::frame::{Ack, Acks, Nack, NackReason, Purpose, RefusedReason, StreamFrame};
use crate::replica::{Record, Role};
use crate::replicas::Replicas;
use crate::send::{Cut, Sending};
use crate::session::{LeadShared, Session};
use crate::status::Cause;

/// Why a link must be closed: the peer does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A frame that only the other side sends.
    #[error("the peer sent a frame that is not its to send")]
    WrongDirection,
    /// A follower claims more than its leader has.
    #[error("an ack claims {claimed}, the log ends at {log_end}")]
    AckBeyondEnd {
        /// What it claims.
        claimed: Offset,
        /// The leader's log end.
        log_end: Offset,
    },
    /// A run is larger than any batch can be.
    #[error("a run of {bytes} bytes is announced")]
    RunTooLarge {
        /// Its size.
        bytes: u32,
    },
}

/// The leader's end of one stream from one follower.
pub struct LeadLink {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) shared: Arc<LeadShared>,
    pub(crate) sessions: HashMap<u64, Sending>,
    pub(crate) active: VecDeque<u64>,
    pub(crate) marks: Vec<u64>,
    pub(crate) marks_due: Option<Monotonic>,
    pub(crate) cut: Option<Cut>,
    pub(crate) seq: u64,
    /// Which sequence number was the first at which time; bounded, and only for the lease.
    pub(crate) sent_at: VecDeque<(u64, Monotonic)>,
    pub(crate) last_sent: Monotonic,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) throttled_until: Option<Monotonic>,
}

impl Replicas {
    /// The leader's end of a stream that `follower` opened, in its uptime `broker_epoch`.
    #[must_use]
    pub fn lead_link(
        self: &Arc<Self>,
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        purpose: Purpose,
        now: Monotonic,
    ) -> LeadLink {
        let shared = Arc::new(LeadShared {
            follower,
            broker_epoch,
            bell: Signal::new(),
            dirty: SegQueue::new(),
            control: SegQueue::new(),
            closed: AtomicBool::new(false),
            granted: Default::default(),
            heard: Default::default(),
        });
        shared.heard.set(now);
        let rate = self.config().catch_up_bytes_per_second;
        LeadLink {
            replicas: Arc::clone(self),
            shared,
            sessions: HashMap::new(),
            active: VecDeque::new(),
            marks: Vec::new(),
            marks_due: None,
            cut: None,
            seq: 0,
            sent_at: VecDeque::new(),
            last_sent: now,
            throttle: (purpose == Purpose::CatchUp).then(|| Throttle::new(rate, now)),
            throttled_until: None,
        }
    }
}

impl LeadLink {
    /// Takes a frame from the follower. Poll for what to send afterwards.
    ///
    /// # Errors
    /// If the peer does not keep to the protocol; close the connection then.
    pub fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError> {
        self.shared.heard.set(now);
        match frame {
            StreamFrame::Attach(attach) => {
                let answer = self.attach(&attach, now);
                self.shared.say(answer);
                Ok(())
            }
            StreamFrame::Acks(Acks { echo, acks }) => {
                self.echoed(echo);
                acks.iter().try_for_each(|ack| self.acked(ack, now))
            }
            StreamFrame::Nack(Nack { session, reason }) => {
                self.nacked(session, reason, now);
                Ok(())
            }
            StreamFrame::Detach { session } => {
                if let Some(sending) = self.sessions.remove(&session) {
                    end_session(&sending.session, None);
                }
                Ok(())
            }
            StreamFrame::Attached(_)
            | StreamFrame::Refused(_)
            | StreamFrame::Reset(_)
            | StreamFrame::Append(_)
            | StreamFrame::Marks(_) => Err(LinkError::WrongDirection),
        }
    }

    /// Whether nothing was heard for so long that the connection is as good as gone.
    #[must_use]
    pub fn is_silent(&self, now: Monotonic) -> bool {
        let heard = self.shared.heard.get();
        heard.is_none_or(|heard| now.since(heard) > self.replicas.config().silence)
    }

    /// The connection is gone: all its sessions end.
    pub fn closed(&mut self, _now: Monotonic) {
        // Release: whoever sees it closed sees the sessions end.
        self.shared.closed.store(true, Release);
        for (_, sending) in self.sessions.drain() {
            end_session(&sending.session, None);
        }
        self.active.clear();
        while self.shared.dirty.pop().is_some() {}
    }

    /// The follower saw all up to `echo`: it grants the lease from when that was sent.
    fn echoed(&mut self, echo: u64) {
        let mut granted = None;
        while let Some((seq, at)) = self.sent_at.front() {
            if *seq > echo {
                break;
            }
            granted = Some(*at);
            self.sent_at.pop_front();
        }
        if let Some(at) = granted {
            self.shared.granted.set(at);
        }
    }

    fn acked(&mut self, ack: &Ack, now: Monotonic) -> Result<(), LinkError> {
        let Some(sending) = self.sessions.get_mut(&ack.session) else {
            return Ok(());
        };
        let session = Arc::clone(&sending.session);
        if session.is_closed() {
            return Ok(());
        }
        let marks = session.replica.store.watermarks();
        let before = marks.snapshot();
        if before.leader_epoch != session.leader_epoch {
            return Ok(());
        }
        if ack.log_end > before.log_end {
            return Err(LinkError::AckBeyondEnd {
                claimed: ack.log_end,
                log_end: before.log_end,
            });
        }
        if !session.is_confirmed() && ack.log_end != session.log_end.get() {
            // The first ack confirms what was agreed, and nothing else (R8).
            end_session(&session, Some(RefusedReason::Throttled { ms: 50 }));
            return Ok(());
        }
        let durable_end = ack.durable_end.min(ack.log_end);
        marks.publish_follower_on(&session.position, ack.log_end, durable_end);
        if ack.log_end > session.log_end.get() {
            session.moved.set(now);
        }
        session.log_end.set(ack.log_end);
        session.durable_end.set(durable_end);
        // Release: the tick that sees it confirmed sees the ends above.
        session.confirmed.store(true, Release);
        if sending.acked(ack.log_end, before.log_end, now) {
            session.caught_up.set(now);
        } else if let Some(at) = sending.was_caught_up(ack.log_end, before.log_end, now) {
            session.caught_up.set(at);
        }
        if marks.high_watermark() > before.high_watermark {
            session.replica.ring();
        }
        // Credits came back, or the position is confirmed: there may be something to send.
        self.activate(ack.session);
        Ok(())
    }

    fn nacked(&mut self, session: u64, reason: NackReason, now: Monotonic) {
        let Some(sending) = self.sessions.remove(&session) else {
            return;
        };
        count(&self.replicas.counters().nacks);
        let session = sending.session;
        let replica = &session.replica;
        replica.note(
            now,
            format!("node {} refused a run: {reason:?}", session.follower),
        );
        let mut state = replica.state.lock();
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        let record = leading.records.entry(session.follower).or_default();
        match reason {
            NackReason::Corrupt { .. } => {
                record.damaged += 1;
                record.cause = Some(Cause::Corrupt);
            }
            NackReason::DiskFull => {
                record.faulted = true;
                record.cause = Some(Cause::DiskFull);
            }
            NackReason::IoError => {
                record.faulted = true;
                record.cause = Some(Cause::IoError);
            }
            NackReason::Gap { .. } | NackReason::EpochRegression => {
                record.cause = Some(Cause::Stalled);
            }
        }
        drop(state);
        end_session(&session, None);
    }

    /// This node's own log failed a checksum: nothing of it is shipped.
    pub(crate) fn own_damage(&self, session: &Session, from: Offset, now: Monotonic) {
        self.replicas.found_damage(&session.replica, from, now);
        end_session(session, Some(RefusedReason::Storage));
    }
}

impl Drop for LeadLink {
    fn drop(&mut self) {
        if !self.shared.closed.load(Acquire) {
            self.closed(Monotonic::default());
        }
    }
}

/// Takes the session off its replica, if it is still the current one.
pub(crate) fn end_session(session: &Session, tell: Option<RefusedReason>) {
    let mut state = session.replica.state.lock();
    let current = match &state.role {
        Role::Leader(leading) => leading
            .sessions
            .get(&session.follower)
            .is_some_and(|current| current.id == session.id),
        Role::Idle | Role::Follower(_) => false,
    };
    if current {
        session
            .replica
            .close_session(&mut state, session.follower, tell);
    }
    // Release: as in `Replica::close_session`.
    session.closed.store(true, Release);
}

/// The base offset of the batch at the front of `bytes`.
pub(crate) fn first_base(bytes: &[u8]) -> Option<Offset> {
    let base: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    Offset::from_wire(i64::from_be_bytes(base))
}

/// The follower moved and is not stalled: its record is clean again.
pub(crate) fn forgive(record: &mut Record) {
    *record = Record {
        faulted: record.faulted,
        seen: record.seen,
        ..Record::default()
    };
}
