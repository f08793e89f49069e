//! The follower's end of a stream: attaches replicas, appends what comes, acknowledges.
//!
//! One task owns it: it feeds what it received, then polls for what to send. Whatever blocks is
//! left to the replicator's work queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use plimsoll_replication::adopted;
use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, PartitionKey};
use plimsoll_watermark::Signal;

use crate::frame::{
    Acks, Attach, Attached, Mark, Marks, Purpose, Refused, RefusedReason, Reset, StreamFrame,
    to_rules, to_wire,
};
use crate::intake::Partial;
use crate::lead::LinkError;
use crate::replica::{Phase, Replica, Role};
use crate::replicas::Replicas;
use crate::session::{FollowShared, Intake};
use crate::status::Cause;
use crate::work::WorkKind;

/// The follower's end of one stream to one leader.
pub struct FollowLink {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) shared: Arc<FollowShared>,
    pub(crate) sessions: HashMap<u64, Arc<Intake>>,
    /// Nacks and detaches that wait to be sent; at most one a frame received.
    pub(crate) replies: Vec<StreamFrame>,
    pub(crate) seen: u64,
    echoed: u64,
    pub(crate) partial: Option<Partial>,
    heard: Monotonic,
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
            bell: Signal::new(),
            dirty: SegQueue::new(),
            wants: SegQueue::new(),
            closed: AtomicBool::new(false),
            granted: self.grants_to(leader),
        });
        self.link_opened(&shared, now);
        FollowLink {
            replicas: Arc::clone(self),
            shared,
            sessions: HashMap::new(),
            replies: Vec::new(),
            seen: 0,
            echoed: 0,
            partial: None,
            heard: now,
        }
    }
}

impl FollowLink {
    /// Takes a frame from the leader. Poll for what to send afterwards.
    ///
    /// # Errors
    /// If the peer does not keep to the protocol; close the connection then.
    pub fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError> {
        self.heard = now;
        match frame {
            StreamFrame::Attached(attached) => self.attached(attached, now),
            StreamFrame::Refused(Refused {
                key,
                leader_epoch,
                reason,
            }) => self.refused(key, leader_epoch, reason, now),
            StreamFrame::Reset(reset) => self.reset(reset),
            StreamFrame::Append(append) => return self.append(&append, now),
            StreamFrame::Marks(Marks { seq, marks }) => {
                self.seen = self.seen.max(seq);
                for mark in &marks {
                    self.learned(mark, now);
                }
            }
            StreamFrame::Attach(_)
            | StreamFrame::Acks(_)
            | StreamFrame::Nack(_)
            | StreamFrame::Detach { .. } => return Err(LinkError::WrongDirection),
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
            let rung = self.shared.bell.poll_notified(cx).is_ready();
            out.append(&mut self.replies);
            while let Some(replica) = self.shared.wants.pop() {
                // AcqRel: pairs with the swap in `Replicas::kick`.
                replica.kicked.swap(false, AcqRel);
                out.extend(self.attach(&replica, now));
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

    /// Whether nothing was heard for so long that the connection is as good as gone.
    #[must_use]
    pub fn is_silent(&self, now: Monotonic) -> bool {
        now.since(self.heard) > self.replicas.config().silence
    }

    /// The connection is gone: all its sessions end, and attach again when there is another.
    pub fn closed(&mut self, now: Monotonic) {
        // Release: whoever sees it closed sees the sessions end.
        self.shared.closed.store(true, Release);
        self.replicas.link_closed(&self.shared);
        for replica in self.replicas.all() {
            let mut state = replica.state.lock();
            let Role::Follower(following) = &mut state.role else {
                continue;
            };
            let ours = following
                .intake
                .as_ref()
                .is_some_and(|intake| intake.link.id == self.shared.id);
            match following.phase {
                Phase::Attaching { link, .. } if link == self.shared.id => following.detach(now),
                Phase::Following { .. } if ours => following.detach(now),
                // The work goes on; its end finds no session and attaches again.
                Phase::Working if ours => following.drop_intake(),
                Phase::Attaching { .. }
                | Phase::Following { .. }
                | Phase::Working
                | Phase::Detached { .. } => continue,
            }
            state.cause = Some(Cause::Unreachable);
            replica.listen(&state);
        }
        self.sessions.clear();
        while self.shared.dirty.pop().is_some() {}
    }

    fn attach(&mut self, replica: &Arc<Replica>, now: Monotonic) -> Option<StreamFrame> {
        let mut state = replica.state.lock();
        if state.wanted != Some((self.shared.leader, self.shared.purpose)) {
            return None;
        }
        let Role::Follower(following) = &mut state.role else {
            return None;
        };
        let moves = following
            .intake
            .as_ref()
            .is_some_and(|intake| intake.link.id != self.shared.id);
        match following.phase {
            Phase::Detached { attach_at } if now >= attach_at => {}
            Phase::Following { .. } if moves => {}
            Phase::Detached { .. }
            | Phase::Following { .. }
            | Phase::Attaching { .. }
            | Phase::Working => return None,
        }
        following.drop_intake();
        following.phase = Phase::Attaching {
            since: now,
            link: self.shared.id,
        };
        let leader_epoch = following.leader_epoch;
        replica.listen(&state);
        drop(state);
        let marks = replica.store.watermarks().snapshot();
        let reader = replica.store.reader();
        let epochs = reader.epochs();
        let skip = epochs.entries().len().saturating_sub(MAX_EPOCHS);
        Some(StreamFrame::Attach(Attach {
            key: replica.key,
            leader_epoch,
            broker_epoch: self.replicas.my_epoch(),
            log_start: marks.log_start,
            log_end: marks.log_end,
            durable_end: marks.durable_end,
            high_watermark: marks.high_watermark,
            epochs: to_wire(epochs.entries().get(skip..).unwrap_or_default()),
            more: skip > 0,
            window: self.replicas.config().window_bytes,
        }))
    }

    fn attached(&mut self, attached: Attached, now: Monotonic) {
        let detach = StreamFrame::Detach {
            session: attached.session,
        };
        let Some(replica) = self.replicas.replica(attached.key) else {
            self.replies.push(detach);
            return;
        };
        let mut state = replica.state.lock();
        let view = state.view.clone();
        let id = self.shared.id;
        let Role::Follower(following) = &mut state.role else {
            self.replies.push(detach);
            return;
        };
        let asked = matches!(following.phase, Phase::Attaching { link, .. } if link == id);
        if !asked || following.leader_epoch != attached.leader_epoch {
            self.replies.push(detach);
            return;
        }
        let log_end = replica.store.watermarks().log_end();
        let own = replica.store.reader().epochs();
        let own = to_rules(&to_wire(own.entries()));
        let adopt = adopted(&own, &to_rules(&attached.epochs), log_end) != own;
        let works = attached.truncate_to.is_some() || adopt;
        if attached.truncate_to.is_none() {
            let intake = Arc::new(Intake {
                key: attached.key,
                session: attached.session,
                leader_epoch: attached.leader_epoch,
                replica: Arc::clone(&replica),
                link: Arc::clone(&self.shared),
                dirty: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                ready: AtomicBool::new(!works),
                told_end: Default::default(),
                told_durable: Default::default(),
                leader_end: Default::default(),
                heard: Default::default(),
            });
            intake.leader_end.set(attached.log_end);
            intake.heard.set(now);
            self.sessions.insert(attached.session, Arc::clone(&intake));
            following.intake = Some(intake);
        }
        if works {
            following.phase = Phase::Working;
            replica.listen(&state);
            drop(state);
            self.replicas
                .push_work(&replica, &view, WorkKind::Align(attached));
            return;
        }
        following.phase = Phase::Following { since: now };
        let intake = following.intake.clone();
        state.cause = None;
        replica.listen(&state);
        drop(state);
        let (high_watermark, log_start) = (attached.high_watermark, attached.log_start);
        replica
            .store
            .learned(attached.leader_epoch, high_watermark, log_start);
        if let Some(intake) = intake {
            intake.ring();
        }
    }

    fn reset(&mut self, reset: Reset) {
        let Some(replica) = self.replicas.replica(reset.key) else {
            return;
        };
        let mut state = replica.state.lock();
        let view = state.view.clone();
        let id = self.shared.id;
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let asked = matches!(following.phase, Phase::Attaching { link, .. } if link == id);
        if asked && following.leader_epoch == reset.leader_epoch {
            following.phase = Phase::Working;
            drop(state);
            self.replicas
                .push_work(&replica, &view, WorkKind::Reset(reset));
        }
    }

    fn refused(
        &mut self,
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
        reason: RefusedReason,
        now: Monotonic,
    ) {
        let Some(replica) = self.replicas.replica(key) else {
            return;
        };
        let mut state = replica.state.lock();
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let id = self.shared.id;
        let ours = following
            .intake
            .as_ref()
            .is_some_and(|intake| intake.link.id == id);
        let asked = matches!(following.phase, Phase::Attaching { link, .. } if link == id);
        if following.leader_epoch != leader_epoch || !asked && !ours {
            return;
        }
        following.tries = following.tries.saturating_add(1);
        let pause = match reason {
            RefusedReason::Throttled { ms } => Duration::from_millis(u64::from(ms.max(1))),
            RefusedReason::NotLeader { .. }
            | RefusedReason::FencedEpoch { .. }
            | RefusedReason::UnknownEpoch
            | RefusedReason::NotAReplica
            | RefusedReason::StaleBrokerEpoch
            | RefusedReason::Storage => self.replicas.config().backoff(following.tries),
        };
        let cause = match reason {
            RefusedReason::Throttled { .. } => Cause::Throttled,
            RefusedReason::Storage => Cause::IoError,
            RefusedReason::NotLeader { .. }
            | RefusedReason::FencedEpoch { .. }
            | RefusedReason::UnknownEpoch
            | RefusedReason::NotAReplica
            | RefusedReason::StaleBrokerEpoch => Cause::MetadataLag,
        };
        if following.phase == Phase::Working {
            following.drop_intake();
        } else {
            following.detach(now + pause);
        }
        state.cause = Some(cause);
        replica.listen(&state);
    }

    fn learned(&self, mark: &Mark, now: Monotonic) {
        let Some(intake) = self.sessions.get(&mark.session) else {
            return;
        };
        if !intake.is_closed() {
            intake.heard.set(now);
            intake.leader_end.set(mark.log_end);
            let store = &intake.replica.store;
            store.learned(intake.leader_epoch, mark.high_watermark, mark.log_start);
        }
    }
}

impl Drop for FollowLink {
    fn drop(&mut self) {
        if !self.shared.closed.load(Acquire) {
            self.closed(Monotonic::default());
        }
    }
}
