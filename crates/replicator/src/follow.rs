//! The follower's end of a stream: attaches replicas, takes what comes, acknowledges.
//!
//! One task owns it: it feeds what it received, then polls for what to send. Whatever blocks is
//! left to the replicator's work queue. What an answer means is the machine's to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use crossbeam_queue::SegQueue;
use plimsoll_replication as rules;
use plimsoll_replication::{AppendHead, FollowerAction, FollowerState, LocalLog};
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId};

use crate::frame::{
    Acks, Attach, Attached, Detach, Mark, Marks, Purpose, Refused, Reset, StreamFrame, of_frame,
    of_log, of_reason, to_frame,
};
use crate::intake::Partial;
use crate::lead::LinkError;
use crate::replica::{Following, Replica, Role};
use crate::replicas::Replicas;
use crate::session::{End, FollowShared, Intake, OnLink};

/// The follower's end of one stream to one leader.
pub struct FollowLink {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) shared: Arc<FollowShared>,
    /// This node's registration when it was opened, which the leader was told.
    epoch: BrokerEpoch,
    pub(crate) sessions: BTreeMap<u64, Arc<Intake>>,
    pub(crate) seen: u64,
    echoed: u64,
    pub(crate) partial: Option<Partial>,
    /// What a machine wants, kept for its memory.
    pub(crate) actions: Vec<FollowerAction>,
}

/// The most epochs that an attach carries.
const MAX_EPOCHS: usize = 64;

impl Replicas {
    /// The follower's end of a stream that this node opened to `leader`.
    #[must_use]
    pub fn follow_link(
        self: &Arc<Self>,
        leader: NodeId,
        purpose: Purpose,
        now: Monotonic,
    ) -> FollowLink {
        let shared = Arc::new(FollowShared {
            id: self.next_id(),
            leader,
            purpose,
            end: End::new(),
            wants: SegQueue::new(),
            granted: self.grants_to(leader),
        });
        self.link_opened(&shared, now);
        FollowLink {
            replicas: Arc::clone(self),
            shared,
            epoch: self.my_epoch(),
            sessions: BTreeMap::new(),
            seen: 0,
            echoed: 0,
            partial: None,
            actions: Vec::new(),
        }
    }
}

impl FollowLink {
    /// Takes a frame from the leader. Poll for what to send afterwards.
    ///
    /// # Errors
    /// If the peer does not keep to the protocol, or this node has registered anew since: all that
    /// it asks on this link is refused. Close the connection then, and open another.
    pub fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError> {
        if self.epoch != self.replicas.my_epoch() {
            return Err(LinkError::RegisteredAnew);
        }
        match frame {
            StreamFrame::Attached(attached) => self.attached(&attached, now),
            StreamFrame::Refused(refused) => self.refused(&refused, now),
            StreamFrame::Reset(reset) => self.reset(&reset, now),
            StreamFrame::Append(append) => return self.append(&append, now),
            StreamFrame::Marks(Marks { seq, marks }) => {
                self.seen = self.seen.max(seq);
                for mark in &marks {
                    self.learned(mark, now);
                }
            }
            StreamFrame::Revoke(revoke) => {
                if let Some(replica) = self.replicas.replica(revoke.key) {
                    let leader = self.shared.leader;
                    self.replicas.revoked(&replica, leader, revoke, now);
                }
            }
            StreamFrame::Attach(_)
            | StreamFrame::Acks(_)
            | StreamFrame::Nack(_)
            | StreamFrame::Detach(_) => return Err(LinkError::WrongDirection),
        }
        Ok(())
    }

    /// What to send now. Pending: nothing, and the task is woken when there is; poll again after
    /// each frame received.
    pub fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Poll<()> {
        loop {
            let rung = self.shared.end.poll_woken(cx);
            // What ends a session goes before the echo that would grant by it.
            while let Some(frame) = self.shared.end.take_said() {
                out.push(frame);
            }
            while let Some(replica) = self.shared.wants.pop() {
                out.extend(self.attach(&replica));
            }
            let acks = self.acks();
            if !acks.is_empty() || self.seen > self.echoed {
                self.echoed = self.seen;
                self.shared.granted.set(now);
                let echo = self.seen;
                out.push(StreamFrame::Acks(Acks { echo, acks }));
            }
            if !out.is_empty() {
                return Poll::Ready(());
            }
            if !rung {
                return Poll::Pending;
            }
        }
    }

    /// The connection is gone: all its sessions end, and attach again when there is another.
    pub fn closed(&mut self, now: Monotonic) {
        self.shared.end.close();
        self.replicas.link_closed(&self.shared, now);
        self.sessions.clear();
        self.partial = None;
    }

    /// The attach of a replica that asked for one, with its position as it is now.
    fn attach(&mut self, replica: &Arc<Replica>) -> Option<StreamFrame> {
        let mut state = replica.state.lock();
        let Role::Follower(following) = &mut state.role else {
            return None;
        };
        if following.carrier != Some(self.shared.id) {
            return None;
        }
        following.queued = false;
        let asks = matches!(following.machine.state(), FollowerState::Attaching { .. });
        if !asks || following.work.is_some() {
            return None;
        }
        let marks = replica.store.watermarks().snapshot();
        let reader = replica.store.reader();
        let epochs = of_log(reader.epochs().entries());
        let skip = epochs.len().saturating_sub(MAX_EPOCHS);
        Some(StreamFrame::Attach(Attach {
            key: replica.key,
            leader_epoch: following.machine.leader_epoch(),
            broker_epoch: self.replicas.my_epoch(),
            log_start: marks.log_start,
            log_end: marks.log_end,
            durable_end: marks.durable_end,
            high_watermark: marks.high_watermark,
            epochs: to_frame(epochs.iter().skip(skip)),
            more: skip > 0,
            window: self.replicas.config().window_bytes,
        }))
    }

    /// The replica if it asked on this link: a link is ordered, and only answers to the last attach
    /// mean anything.
    fn asked<'a>(&self, role: &'a mut Role) -> Option<&'a mut Following> {
        match role {
            Role::Follower(following) if following.carrier == Some(self.shared.id) => {
                Some(following)
            }
            Role::Idle | Role::Leader(_) | Role::Follower(_) => None,
        }
    }

    fn attached(&mut self, answer: &Attached, now: Monotonic) {
        let (key, session) = (answer.key, answer.session);
        let unwanted = StreamFrame::Detach(Detach { key, session });
        let Some(replica) = self.replicas.replica(key) else {
            return self.shared.end.say(unwanted);
        };
        let mut state = replica.state.lock();
        let Some(following) = self.asked(&mut state.role) else {
            return self.shared.end.say(unwanted);
        };
        let marks = replica.store.watermarks().snapshot();
        let own = of_log(replica.store.reader().epochs().entries());
        let log = LocalLog {
            log_start: marks.log_start,
            log_end: marks.log_end,
            high_watermark: marks.high_watermark,
            epochs: &own,
        };
        let epochs = of_frame(&answer.epochs);
        let told = rules::Attached {
            session,
            leader_epoch: answer.leader_epoch,
            truncate_to: answer.truncate_to,
            log_start: answer.log_start,
            high_watermark: answer.high_watermark,
            log_end: answer.log_end,
            epochs: &epochs,
            unclean_epoch: answer.unclean_epoch,
        };
        let machine = &mut following.machine;
        machine.attached(&told, &log, now, &mut self.actions);
        if machine.session() == Some(session) {
            let epoch = answer.leader_epoch;
            let intake = Intake::new(session, epoch, &replica, &self.shared, answer.log_end);
            self.sessions.remove(&following.last_session);
            self.sessions.insert(session, Arc::clone(&intake));
            following.last_session = session;
            following.intake = Some(intake);
            replica.listen(&state);
        }
        let via = Some(&self.shared);
        self.replicas
            .follow_on(&replica, &mut state, &mut self.actions, via, now);
    }

    fn reset(&mut self, answer: &Reset, now: Monotonic) {
        let (key, session) = (answer.key, answer.session);
        let unwanted = StreamFrame::Detach(Detach { key, session });
        let Some(replica) = self.replicas.replica(key) else {
            return self.shared.end.say(unwanted);
        };
        let mut state = replica.state.lock();
        let Some(following) = self.asked(&mut state.role) else {
            return self.shared.end.say(unwanted);
        };
        let epochs = of_frame(&answer.epochs);
        let told = rules::Reset {
            session,
            leader_epoch: answer.leader_epoch,
            start: answer.start,
            log_start: answer.log_start,
            epochs: &epochs,
        };
        let machine = &mut following.machine;
        machine.reset(&told, now, &mut self.actions);
        if machine.session() == Some(session) {
            // A session that goes on with another log has an intake of its own for it.
            following.drop_intake();
            let epoch = answer.leader_epoch;
            let intake = Intake::new(session, epoch, &replica, &self.shared, answer.start);
            self.sessions.remove(&following.last_session);
            self.sessions.insert(session, Arc::clone(&intake));
            following.last_session = session;
            following.intake = Some(intake);
            replica.listen(&state);
        }
        let via = Some(&self.shared);
        self.replicas
            .follow_on(&replica, &mut state, &mut self.actions, via, now);
    }

    fn refused(&mut self, answer: &Refused, now: Monotonic) {
        let Some(replica) = self.replicas.replica(answer.key) else {
            return;
        };
        let mut state = replica.state.lock();
        let Some(following) = self.asked(&mut state.role) else {
            return;
        };
        if following.machine.leader_epoch() == answer.leader_epoch {
            let why = of_reason(answer.reason);
            following.machine.refused(why, now, &mut self.actions);
            let via = Some(&self.shared);
            self.replicas
                .follow_on(&replica, &mut state, &mut self.actions, via, now);
        }
    }

    fn learned(&mut self, mark: &Mark, now: Monotonic) {
        let Some(intake) = self.sessions.get(&mark.session).map(Arc::clone) else {
            return;
        };
        if intake.is_closed() {
            self.sessions.remove(&mark.session);
            return;
        }
        intake.leader_end.set(mark.log_end);
        let head = AppendHead {
            session: mark.session,
            from: None,
            high_watermark: mark.high_watermark,
            log_start: mark.log_start,
            log_end: mark.log_end,
        };
        let replica = &intake.replica;
        let log_end = replica.store.watermarks().log_end();
        let mut state = replica.state.lock();
        if let Role::Follower(following) = &mut state.role {
            let machine = &mut following.machine;
            machine.append(&head, log_end, now, &mut self.actions);
            self.replicas
                .follow_on(replica, &mut state, &mut self.actions, None, now);
        }
    }
}

impl Drop for FollowLink {
    fn drop(&mut self) {
        if !self.shared.end.is_closed() {
            self.closed(Monotonic::default());
        }
    }
}
