//! The clock: everything that follows from state is worked out again, ten times a second.
//!
//! No wake-up is needed for a replica to come right; a tick finds what a lost one left undone, and
//! counts it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use plimsoll_types::{Monotonic, NodeId, Offset};
use plimsoll_watermark::{Counts, Snapshot};

use crate::counters::count;
use crate::frame::RefusedReason;
use crate::isr::{Facts, Own, Step};
use crate::lead::forgive;
use crate::replica::{Leading, Phase, Replica, Role, State};
use crate::replicas::Replicas;
use crate::session::Session;
use crate::status::Cause;
use crate::work::WorkKind;

/// A joiner is found, counted and proposed within one tick: that takes this many looks.
const LOOKS: usize = 2;

impl Replicas {
    /// Works out again what follows from state. Call it every 100 ms.
    pub fn tick(&self, now: Monotonic) {
        for replica in self.all() {
            self.tick_replica(&replica, now);
            self.kick(&replica, now);
        }
    }

    fn tick_replica(&self, replica: &Arc<Replica>, now: Monotonic) {
        if replica.store.watermarks().recompute() {
            count(&self.counters().hw_missed_wakeups);
            replica.ring();
        }
        let mut state = replica.state.lock();
        if state.retry_role.is_some_and(|at| now >= at) {
            state.retry_role = None;
            let view = state.view.clone();
            self.push_work(replica, &view, WorkKind::Role);
            return;
        }
        match &mut state.role {
            Role::Idle => {}
            Role::Leader(_) => self.tick_leader(replica, &mut state, now),
            Role::Follower(_) => self.tick_follower(replica, &mut state, now),
        }
    }

    fn tick_follower(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let wanted = state.wanted;
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let config = *self.config();
        match following.phase {
            Phase::Attaching { since, .. } if now.since(since) > config.attach_timeout => {
                following.tries = following.tries.saturating_add(1);
                let pause = config.backoff(following.tries);
                following.detach(now + pause);
                state.cause = Some(Cause::Unreachable);
                replica.listen(state);
            }
            Phase::Detached { .. } => {
                if wanted.is_none_or(|wanted| !self.has_link(wanted)) {
                    let none = following.leader.is_none();
                    let cause = if none {
                        Cause::NoLeader
                    } else {
                        Cause::Unreachable
                    };
                    state.cause = Some(cause);
                }
            }
            Phase::Following { since } => {
                following.seen = Some(now);
                if now.since(since) > config.backoff_max {
                    // It held: the next pause begins small again.
                    following.tries = 0;
                }
                if let Some(intake) = &following.intake {
                    let marks = replica.store.watermarks().snapshot();
                    let told = (intake.told_end.get(), intake.told_durable.get());
                    if told != (marks.log_end, marks.durable_end) {
                        intake.ring();
                    }
                }
            }
            Phase::Attaching { .. } | Phase::Working => {}
        }
    }

    fn tick_leader(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let marks = replica.store.watermarks().snapshot();
        let stalled = {
            let Role::Leader(leading) = &mut state.role else {
                return;
            };
            if marks.leader_epoch != leading.leader_epoch {
                return;
            }
            self.watch_sessions(leading, &marks, now)
        };
        for node in stalled {
            replica.note(now, format!("node {node} stalled"));
            let tell = RefusedReason::Throttled { ms: 50 };
            replica.close_session(state, node, Some(tell));
        }
        for _ in 0..LOOKS {
            let steps = self.look_at_isr(replica, state, now);
            let again = steps == [Step::Rule];
            for step in steps {
                match step {
                    Step::Rule => self.set_rule(replica, state, Vec::new()),
                    Step::Propose(proposal) => self.propose(proposal),
                    Step::Event(what) => replica.note(now, what),
                }
            }
            if !again {
                break;
            }
        }
        self.renew_lease(replica, state);
        let Role::Leader(leading) = &state.role else {
            return;
        };
        let below = leading.isr.committed().len() < state.view.min_isr;
        state.cause = below.then_some(Cause::BelowMinIsr);
    }

    /// Heals missed rings, and finds who does not move though there is something to take.
    fn watch_sessions(
        &self,
        leading: &mut Leading,
        marks: &Snapshot,
        now: Monotonic,
    ) -> Vec<NodeId> {
        let mut stalled = Vec::new();
        for (node, session) in &leading.sessions {
            self.heal_ring(session, marks);
            leading.records.entry(*node).or_default().seen = Some(now);
            let log_end = session.log_end.get();
            if !session.is_confirmed() || log_end >= marks.log_end {
                session.moved.set(now);
                if session.is_confirmed()
                    && let Some(record) = leading.records.get_mut(node)
                {
                    forgive(record);
                }
                continue;
            }
            let moved = session.moved.get().unwrap_or_default();
            if now.since(moved) > self.config().stall {
                count(&self.counters().stalls);
                let record = leading.records.entry(*node).or_default();
                record.strikes = record.strikes.saturating_add(1);
                record.cause = Some(Cause::Stalled);
                stalled.push(*node);
            }
        }
        stalled
    }

    /// A session that had nothing in flight, was not rung, and still had something to send at two
    /// ticks in a row was forgotten by somebody.
    fn heal_ring(&self, session: &Arc<Session>, marks: &Snapshot) {
        let sent_end = session.sent_end.get();
        let idle = session.is_confirmed()
            && !session.dirty.load(Acquire)
            && session.log_end.get() >= sent_end;
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

    fn look_at_isr(&self, replica: &Replica, state: &mut State, now: Monotonic) -> Vec<Step> {
        let marks = replica.store.watermarks().snapshot();
        let counts = replica.store.counts();
        let view = &state.view;
        let Role::Leader(leading) = &mut state.role else {
            return Vec::new();
        };
        let others = view.replicas.iter().filter(|node| **node != self.me());
        let facts: Vec<Facts> = others
            .map(|node| self.facts(leading, *node, &marks, counts))
            .collect();
        let position = match counts {
            Counts::Durable => marks.durable_end,
            Counts::Written => marks.log_end,
        };
        let own = Own {
            node: self.me(),
            broker_epoch: self.my_epoch(),
            high_watermark: marks.high_watermark,
            position,
            leso: leading.leso,
            min_isr: view.min_isr.max(1),
        };
        leading.isr.tick(self.config(), now, &own, &facts)
    }

    fn facts(&self, leading: &Leading, node: NodeId, marks: &Snapshot, counts: Counts) -> Facts {
        let peer = self.peer(node);
        let session = leading.sessions.get(&node);
        let session = session.filter(|session| session.is_confirmed());
        let record = leading.records.get(&node);
        let mut facts = Facts {
            node,
            broker_epoch: peer
                .as_ref()
                .map_or_else(Default::default, |p| p.broker_epoch),
            attached: session.is_some(),
            fit: false,
            fenced: peer.as_ref().is_some_and(|peer| peer.fenced),
            faulted: record.is_some_and(|record| record.faulted),
            position: Offset::ZERO,
            log_end: Offset::ZERO,
            caught_up: None,
        };
        let Some(session) = session else {
            return facts;
        };
        facts.broker_epoch = session.broker_epoch;
        facts.fit = peer.is_some_and(|peer| {
            !peer.fenced && !peer.draining && peer.broker_epoch == session.broker_epoch
        });
        facts.log_end = session.log_end.get();
        facts.position = match counts {
            Counts::Durable => session.durable_end.get(),
            Counts::Written => facts.log_end,
        };
        facts.caught_up = session.caught_up.get();
        if facts.log_end >= marks.log_end {
            // Nothing was written since: it was caught up when it was last heard.
            facts.caught_up = facts.caught_up.max(session.link.heard.get());
        }
        facts
    }

    /// What the followers' echoes grant together.
    fn renew_lease(&self, replica: &Replica, state: &State) {
        let Role::Leader(leading) = &state.role else {
            return;
        };
        let others = leading.isr.maximal().into_iter();
        let mut until: Option<Monotonic> = None;
        for node in others.filter(|node| *node != self.me()) {
            let session = leading.sessions.get(&node);
            let Some(granted) = session.and_then(|session| session.link.granted.get()) else {
                return;
            };
            let end = granted + self.config().lease;
            until = Some(until.map_or(end, |until| until.min(end)));
        }
        if let Some(until) = until {
            replica.store.set_lease(leading.leader_epoch, until);
        }
    }
}
