//! The driver of a leader's machine: shows it what happened, and does what it wants done.
//!
//! All of it under the replica's `state`, so that the machine sees one thing after the other.
//! Acks and record bytes do not come here.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use plimsoll_partition::{IsrRule, Lease as Granted};
use plimsoll_replication as rules;
use plimsoll_replication::{
    CloseWhy, LeaderAction, LeaderEvent, Lease, Marks, Refusal, ReplicaView, Rule, Sample,
};
use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, PartitionEpoch, PartitionKey};
use plimsoll_watermark::{Counts, Snapshot};

use crate::counters::count;
use crate::frame::{Refused, StreamFrame, to_reason};
use crate::replica::{Leading, Replica, Role, State, View};
use crate::replicas::Replicas;
use crate::session::{OnLink, Session};
use crate::status::Cause;
use crate::store::Store;
use crate::work::WorkKind;

/// What a leader wants the ISR to be, for the controller to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The partition.
    pub key: PartitionKey,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of the metadata that this changes.
    pub partition_epoch: PartitionEpoch,
    /// The proposed members, each in the uptime in which it was judged.
    pub new_isr: Vec<(NodeId, plimsoll_types::BrokerEpoch)>,
}

/// What follows from one event takes a few looks at most; what is left is the next tick's.
const MAX_LOOKS: usize = 8;
/// A session that was given something this short ago is busy.
const BUSY: Duration = Duration::from_millis(300);

impl Replicas {
    /// The metadata as a leader's machine goes by it.
    pub(crate) fn rules_view(&self, view: &View, store: &dyn Store) -> rules::View {
        let replica = |node: &NodeId| {
            let peer = self.peer(*node);
            ReplicaView {
                node: *node,
                broker_epoch: peer.as_ref().map(|peer| peer.broker_epoch),
                eligible: peer.is_some_and(|peer| !peer.fenced && !peer.stopping),
            }
        };
        rules::View {
            partition_epoch: view.partition_epoch,
            replicas: view.replicas.iter().map(replica).collect(),
            isr: view.isr.clone(),
            elr: view.elr.clone(),
            min_isr: view.min_isr.max(1),
            counts: counts(store),
        }
    }

    /// Does what the leader's machine wants done, in this order.
    pub(crate) fn carry_out(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        actions: Vec<LeaderAction>,
        now: Monotonic,
    ) {
        let mut actions = actions;
        for looks in 0..=MAX_LOOKS {
            let mut measures = false;
            for action in std::mem::take(&mut actions) {
                measures |= action == LeaderAction::Measure;
                self.carry_out_one(replica, state, action, now);
            }
            let Role::Leader(leading) = &mut state.role else {
                return;
            };
            if !measures || looks == MAX_LOOKS {
                return;
            }
            // Only now: a joiner is looked at while it counts, not while it is about to.
            measure(replica, leading, now, &mut actions);
        }
    }

    fn carry_out_one(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        action: LeaderAction,
        now: Monotonic,
    ) {
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        let leader_epoch = leading.machine.leader_epoch();
        match action {
            LeaderAction::SetRule { rule, fresh } => {
                replica.store.set_rule(leader_epoch, &isr_rule(rule, fresh));
            }
            LeaderAction::Propose(proposal) => self.propose(IsrProposal {
                key: replica.key,
                leader_epoch,
                partition_epoch: proposal.partition_epoch,
                new_isr: proposal.new_isr,
            }),
            LeaderAction::CloseSession { node, session, why } => {
                let tell = told_of(why);
                close(replica, leading, node, session, tell);
                replica.listen(state);
            }
            // The first is the caller's, after all that came with it. Of the second whoever found
            // the follower behind tells it: that is the link's frame to send.
            LeaderAction::Measure | LeaderAction::ResetFollower { .. } => {}
            LeaderAction::Scrub { at } => {
                self.push_work(replica, leader_epoch, None, WorkKind::Scrub(at));
            }
            LeaderAction::Lease(lease) => {
                let lease = match lease {
                    Lease::Until(until) => Granted::granted(until),
                    Lease::Both(until) => Granted {
                        until,
                        if_heard: true,
                    },
                    Lease::Controller => Granted::by_controller(),
                };
                replica.store.set_lease(leader_epoch, lease);
            }
            LeaderAction::Event(event) => self.leader_event(replica, leading, &event, now),
        }
    }

    /// A leader's log was opened again: it is another course, so its sessions are over. Its term
    /// may not be, and then whoever is proposed goes on to count: the controller may have taken it
    /// in. Whether it leads on. Blocks for the log's writer.
    pub(crate) fn leads_on(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        now: Monotonic,
    ) -> bool {
        let Role::Leader(leading) = &mut state.role else {
            return false;
        };
        let mut out = Vec::new();
        let sessions = leading.sessions.iter();
        let sessions: Vec<_> = sessions.map(|(node, of)| (*node, of.id)).collect();
        for (node, session) in sessions {
            close(replica, leading, node, session, told_of(CloseWhy::Stalled));
            leading.machine.session_lost(session, &mut out);
        }
        // What was to come into force while the log took nothing did not.
        let rule = isr_rule(leading.machine.rule().clone(), Vec::new());
        let leader_epoch = leading.machine.leader_epoch();
        if replica.store.become_leader(leader_epoch, &rule).is_err() {
            return false;
        }
        out.push(LeaderAction::Measure);
        self.carry_out(replica, state, out, now);
        replica.listen(state);
        true
    }

    fn leader_event(
        &self,
        replica: &Replica,
        leading: &mut Leading,
        event: &LeaderEvent,
        now: Monotonic,
    ) {
        let counters = self.counters();
        match event {
            LeaderEvent::Attached { node, .. } => {
                count(&counters.attaches);
                leading.told.entry(*node).or_default().seen = Some(now);
            }
            LeaderEvent::Refused { why, .. } => {
                count(&counters.refusals);
                if matches!(why, Refusal::Throttled { .. }) {
                    // It asks again at once and often; that is no news.
                    return;
                }
            }
            LeaderEvent::Stalled { node, .. } => {
                count(&counters.stalls);
                leading.told.entry(*node).or_default().cause = Some(Cause::Stalled);
            }
            LeaderEvent::Reset { node, .. } => {
                leading.told.entry(*node).or_default().cause = Some(Cause::BehindLogStart);
            }
            LeaderEvent::Joining { .. }
            | LeaderEvent::JoinGivenUp { .. }
            | LeaderEvent::Leaving { .. }
            | LeaderEvent::Decided(_) => {}
        }
        replica.note(now, event.to_string());
    }

    /// What became of a proposal.
    pub fn decided(&self, proposal: &IsrProposal, decision: rules::Decision, now: Monotonic) {
        let Some(replica) = self.replica(proposal.key) else {
            return;
        };
        let mut state = replica.state.lock();
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        if leading.machine.leader_epoch() == proposal.leader_epoch {
            // A copy that waits to be brought is answered too: were it brought after a refusal, the
            // controller might take in whom nobody counts any more.
            self.unpropose(proposal);
            let (version, mut out) = (proposal.partition_epoch, Vec::new());
            leading.machine.decided(version, decision, now, &mut out);
            self.carry_out(&replica, &mut state, out, now);
        }
    }

    /// A session cannot go on at this end. Its follower is told `tell`, if anything.
    pub(crate) fn end_session(&self, session: &Session, tell: Option<Refusal>, now: Monotonic) {
        let replica = &session.replica;
        let mut state = replica.state.lock();
        if let Role::Leader(leading) = &mut state.role {
            let current = leading.sessions.get(&session.follower);
            if current.is_some_and(|current| current.id == session.id) {
                close(replica, leading, session.follower, session.id, tell);
                let mut out = Vec::new();
                leading.machine.session_lost(session.id, &mut out);
                self.carry_out(replica, &mut state, out, now);
                replica.listen(&state);
            }
        }
        session.close();
    }

    /// Works out again until when nobody else can lead, by what the followers echoed up to now: a
    /// tick may be a while ago. Waits for nobody: who cannot look lets it be.
    pub fn renew_lease(&self, key: PartitionKey, now: Monotonic) {
        let Some(replica) = self.replica(key) else {
            return;
        };
        if let Some(mut state) = replica.state.try_lock()
            && matches!(state.role, Role::Leader(_))
        {
            self.carry_out(&replica, &mut state, vec![LeaderAction::Measure], now);
        }
    }

    /// Ten times a second: whatever follows from state is worked out again.
    pub(crate) fn tick_leader(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let marks = replica.store.watermarks().snapshot();
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        if marks.leader_epoch != leading.machine.leader_epoch() {
            return;
        }
        for (node, session) in &leading.sessions {
            self.heal_ring(session, &marks);
            leading.told.entry(*node).or_default().seen = Some(now);
        }
        let mut out = Vec::new();
        let view = leading.machine.view();
        if view.counts == counts(&*replica.store) {
            out.push(LeaderAction::Measure);
        } else {
            // The topic's durability was changed.
            let mut view = view.clone();
            view.counts = counts(&*replica.store);
            leading.machine.metadata(view, now, &mut out);
        }
        self.carry_out(replica, state, out, now);
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        for peer in leading.machine.peers(now).filter(|peer| peer.stalls == 0) {
            let told = leading.told.get_mut(&peer.node);
            if let Some(told) = told.filter(|_| peer.unfit.is_none() && peer.in_isr) {
                told.cause = None;
            }
            if let Some(session) = leading.sessions.get(&peer.node) {
                // Relaxed: a hint; the link looks again with every run.
                session.one_batch.store(false, Relaxed);
            }
        }
        let view = leading.machine.view();
        let below = view.isr.len() < view.min_isr;
        state.cause = match state.cause {
            Some(Cause::Damaged(from)) if state.damaged => Some(Cause::Damaged(from)),
            _ => below.then_some(Cause::BelowMinIsr),
        };
    }

    /// A session that had nothing in flight, was not rung, and still had something to send at two
    /// ticks in a row was forgotten by somebody.
    fn heal_ring(&self, session: &Arc<Session>, marks: &Snapshot) {
        let sent_end = session.sent_end.get();
        let idle = session.is_confirmed() && !session.is_due() && session.log_end.get() >= sent_end;
        let records = idle && sent_end < marks.log_end;
        let told = session.told_high_watermark.get();
        if records || idle && told < marks.high_watermark {
            // Relaxed: only the tick reads and writes it.
            let before = session.suspect.swap(sent_end.get(), Relaxed);
            if records && before != sent_end.get() {
                // Perhaps the link is just about to look.
                return;
            }
            if records {
                count(&self.counters().missed_rings);
            }
            session.ring();
        } else {
            session.suspect.store(u64::MAX, Relaxed);
        }
    }
}

/// Shows the machine the cells as they are.
fn measure(replica: &Replica, leading: &mut Leading, now: Monotonic, out: &mut Vec<LeaderAction>) {
    let watermarks = replica.store.watermarks();
    let sample = |peer: rules::PeerStatus| {
        let ends = watermarks.ends(peer.node).ok()?;
        let session = leading.sessions.get(&peer.node);
        let busy = |session: &Arc<Session>| {
            let fed = session.fed.get();
            fed.is_some_and(|fed| now.since(fed) < BUSY)
        };
        Some(Sample {
            node: peer.node,
            log_end: ends.log_end,
            durable_end: ends.durable_end,
            sent_end: session.map_or(ends.log_end, |session| session.sent_end.get()),
            heard_at: session.and_then(|session| session.link.heard.get()),
            echo_sent_at: session.and_then(|session| session.link.granted.get()),
            busy: session.is_some_and(busy),
        })
    };
    // The cells before the marks: nobody is taken to be further than it was.
    let followers: Vec<Sample> = leading.machine.peers(now).filter_map(sample).collect();
    let marks = watermarks.snapshot();
    if marks.leader_epoch != leading.machine.leader_epoch() {
        return;
    }
    let marks = Marks {
        log_end: marks.log_end,
        durable_end: marks.durable_end,
        high_watermark: marks.high_watermark,
        followers: &followers,
    };
    leading.machine.tick(&marks, now, out);
}

/// Forgets a session, and tells its follower why.
pub(crate) fn close(
    replica: &Replica,
    leading: &mut Leading,
    node: NodeId,
    session: u64,
    tell: Option<Refusal>,
) {
    let current = leading.sessions.get(&node).map(|current| current.id);
    if current != Some(session) {
        return;
    }
    let Some(session) = leading.sessions.remove(&node) else {
        return;
    };
    session.close();
    // Its link forgets it.
    session.ring();
    if let Some(why) = tell {
        session.link.end.say(StreamFrame::Refused(Refused {
            key: replica.key,
            leader_epoch: session.leader_epoch,
            reason: to_reason(why),
        }));
    }
}

/// What a follower is told about the end of its session; nothing if it knows.
fn told_of(why: CloseWhy) -> Option<Refusal> {
    match why {
        CloseWhy::Replaced | CloseWhy::LinkLost | CloseWhy::Nacked(_) => None,
        CloseWhy::Removed => Some(Refusal::NotAReplica),
        CloseWhy::BrokerEpoch => Some(Refusal::StaleBrokerEpoch),
        CloseWhy::Stalled
        | CloseWhy::Unconfirmed
        | CloseWhy::Disagreed
        | CloseWhy::BehindLogStart => Some(Refusal::Throttled {
            after: Duration::ZERO,
        }),
    }
}

pub(crate) fn counts(store: &dyn Store) -> rules::Counts {
    match store.counts() {
        Counts::Durable => rules::Counts::Durable,
        Counts::Written => rules::Counts::Written,
    }
}

pub(crate) fn isr_rule(rule: Rule, fresh: Vec<NodeId>) -> IsrRule {
    IsrRule {
        followers: rule.followers,
        maximal_isr: rule.maximal_isr,
        committed_isr: rule.committed_isr,
        min_isr: rule.min_isr,
        fresh,
    }
}

/// Whether one batch goes at a time.
pub(crate) fn is_one_batch(session: &Session) -> bool {
    // Acquire and Release are not needed: see where it is set.
    session.one_batch.load(Relaxed)
}
