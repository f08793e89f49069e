//! The leader's end of a stream: sessions begin and end here, acks are counted.
//!
//! One task owns it: it feeds what it received, then polls for what to send. An ack takes no lock,
//! but for the first of a session, which the machine judges. What is sent, and in which order, is
//! in `send`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use plimsoll_replication::{LeaderAction, Nack as Refuses, Refusal, Throttle};
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId, Offset};

use crate::counters::count;
use crate::frame::{Ack, Acks, Detach, Nack, NackReason, Purpose, Revoke, StreamFrame, of_nack};
use crate::replica::Role;
use crate::replicas::Replicas;
use crate::send::{Cut, Sending};
use crate::session::{End, LeadShared, OnLink, Session};
use crate::status::Cause;

/// Why a link must be closed: the peer does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A frame that only the other side sends.
    #[error("the peer sent a frame that is not its to send")]
    WrongDirection,
    /// The link is of this node's registration of before.
    #[error("this node has registered anew since the link was opened")]
    RegisteredAnew,
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
    pub(crate) sessions: BTreeMap<u64, Sending>,
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
            end: End::new(),
            granted: Default::default(),
            heard: Default::default(),
        });
        shared.heard.set(now);
        let rate = self.config().catch_up_bytes_per_second;
        LeadLink {
            replicas: Arc::clone(self),
            shared,
            sessions: BTreeMap::new(),
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
                self.shared.end.say(answer);
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
            StreamFrame::Detach(detach) => {
                self.detached(detach, now);
                Ok(())
            }
            StreamFrame::Attached(_)
            | StreamFrame::Refused(_)
            | StreamFrame::Reset(_)
            | StreamFrame::Append(_)
            | StreamFrame::Marks(_)
            | StreamFrame::Revoke(_) => Err(LinkError::WrongDirection),
        }
    }

    /// The connection is gone: all its sessions end.
    pub fn closed(&mut self, now: Monotonic) {
        self.shared.end.close();
        for sending in std::mem::take(&mut self.sessions).into_values() {
            self.replicas.end_session(&sending.session, None, now);
        }
        self.active.clear();
        self.cut = None;
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
        if !session.is_confirmed() {
            self.first_ack(&session, ack, now);
            return Ok(());
        }
        publish(&session, ack);
        sending.credits.acked(ack.log_end);
        if marks.high_watermark() > before.high_watermark {
            session.replica.ring();
        }
        // Credits came back: there may be something to send.
        self.activate(ack.session);
        Ok(())
    }

    /// The first ack confirms what was agreed, and nothing else (R8): the machine judges it.
    fn first_ack(&mut self, session: &Arc<Session>, ack: &Ack, now: Monotonic) {
        let Some(sending) = self.sessions.get(&ack.session) else {
            return;
        };
        if sending.begins_at.is_some_and(|start| ack.log_end < start) {
            // An ack of the log that the follower is about to put aside.
            return;
        }
        let replica = &session.replica;
        let mut state = replica.state.lock();
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        let mut out = Vec::new();
        let machine = &mut leading.machine;
        let confirms = machine.first_ack(session.id, ack.log_end, now, &mut out);
        if confirms {
            publish(session, ack);
            session.confirm();
        }
        self.replicas.carry_out(replica, &mut state, out, now);
        drop(state);
        if confirms {
            replica.ring();
            self.activate(ack.session);
        }
    }

    fn nacked(&mut self, session: u64, reason: NackReason, now: Monotonic) {
        let Some(sending) = self.sessions.remove(&session) else {
            return;
        };
        count(&self.replicas.counters().nacks);
        let session = sending.session;
        let (replica, why) = (&session.replica, of_nack(reason));
        let follower = session.follower;
        replica.note(now, format!("replica {follower} refused a run: {why}"));
        let mut state = replica.state.lock();
        if let Role::Leader(leading) = &mut state.role {
            let cause = match why {
                Refuses::Corrupt { .. } => Cause::Corrupt,
                Refuses::DiskFull => Cause::DiskFull,
                Refuses::IoError => Cause::IoError,
                Refuses::Gap { .. } | Refuses::EpochRegression => Cause::Stalled,
            };
            leading.told.entry(follower).or_default().cause = Some(cause);
            let mut out = Vec::new();
            leading.machine.nack(session.id, why, now, &mut out);
            self.replicas.carry_out(replica, &mut state, out, now);
        }
        session.close();
    }

    /// The follower wants no more of a session, perhaps because it is to lead. Once the lease does
    /// not rest on that session any more it is told so.
    fn detached(&mut self, Detach { key, session }: Detach, now: Monotonic) {
        self.sessions.remove(&session);
        let (follower, mut counts) = (self.shared.follower, false);
        if let Some(replica) = self.replicas.replica(key) {
            let mut state = replica.state.lock();
            if let Role::Leader(leading) = &mut state.role {
                let current = leading.sessions.get(&follower).map(|current| current.id);
                let over = current.filter(|current| *current == session || session == 0);
                let mut out = Vec::new();
                if let Some(over) = over {
                    leading.machine.session_lost(over, &mut out);
                }
                out.push(LeaderAction::Measure);
                self.replicas.carry_out(&replica, &mut state, out, now);
            }
            if let Role::Leader(leading) = &state.role {
                counts = leading.machine.rule().maximal_isr.contains(&follower);
            }
        }
        self.shared.end.say(StreamFrame::Revoke(Revoke {
            key,
            session,
            counts,
        }));
    }

    /// This node's own log failed a checksum: nothing of it is shipped.
    pub(crate) fn own_damage(&self, session: &Session, from: Offset, now: Monotonic) {
        self.replicas.found_damage(&session.replica, from, now);
        self.replicas
            .end_session(session, Some(Refusal::Storage), now);
    }
}

impl Drop for LeadLink {
    fn drop(&mut self) {
        if !self.shared.end.is_closed() {
            self.closed(Monotonic::default());
        }
    }
}

/// Moves the follower's cell. Takes no lock.
fn publish(session: &Session, ack: &Ack) {
    let marks = session.replica.store.watermarks();
    let durable_end = ack.durable_end.min(ack.log_end);
    marks.publish_follower_on(&session.position, ack.log_end, durable_end);
    session.log_end.set(ack.log_end);
}

/// The base offset of the batch at the front of `bytes`.
pub(crate) fn first_base(bytes: &[u8]) -> Option<Offset> {
    let base: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    Offset::from_wire(i64::from_be_bytes(base))
}
