//! Taking up what the metadata says: leading, following, or neither.
//!
//! Runs on a thread that may block, with the replica's `structure` held; the store is asked only
//! while `state` is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::MutexGuard;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId};

use crate::counters::count;
use crate::frame::{Purpose, RefusedReason};
use crate::isr::Isr;
use crate::replica::{Following, Leading, Phase, Replica, Role, State, View};
use crate::replicas::Replicas;
use crate::status::Cause;
use crate::store::StoreError;
use crate::work::WorkKind;

impl Replicas {
    /// Takes up the role that `view` gives this node. `structure` is held.
    pub(crate) fn take_role(&self, replica: &Arc<Replica>, view: &View, now: Monotonic) {
        let mut state = replica.state.lock();
        if state.removed {
            return;
        }
        state.view = view.clone();
        state.retry_role = None;
        let outcome = if view.leader == Some(self.me()) {
            self.lead(replica, state, view, now)
        } else if view.replicas.contains(&self.me()) {
            self.follow(replica, state, view, now)
        } else {
            replica.close_all(
                &mut state,
                RefusedReason::NotLeader {
                    leader: view.leader,
                },
            );
            self.set_wanted(&mut state, None);
            state.role = Role::Idle;
            replica.listen(&state);
            drop(state);
            replica.store.become_idle(view.leader_epoch);
            Ok(())
        };
        if let Err(error) = outcome {
            count(&self.counters().role_failures);
            replica.note(now, format!("role not taken up: {error}"));
            let mut state = replica.state.lock();
            state.retry_role = Some(now + self.config().backoff_max);
            state.cause = Some(Cause::IoError);
        }
    }

    fn lead(
        &self,
        replica: &Arc<Replica>,
        mut state: MutexGuard<'_, State>,
        view: &View,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        let strangers: Vec<NodeId> = match &mut state.role {
            Role::Leader(leading) if leading.leader_epoch == view.leader_epoch => {
                leading.isr.metadata(view.partition_epoch, &view.isr);
                let outdated = |node: &NodeId, epoch: BrokerEpoch| {
                    let peer = self.peer(*node);
                    !view.replicas.contains(node)
                        || peer.is_some_and(|peer| peer.broker_epoch > epoch)
                };
                let sessions = leading.sessions.iter();
                sessions
                    .filter(|(node, session)| outdated(node, session.broker_epoch))
                    .map(|(node, _)| *node)
                    .collect()
            }
            Role::Idle | Role::Leader(_) | Role::Follower(_) => {
                self.keep_grant(&mut state);
                replica.close_all(&mut state, RefusedReason::UnknownEpoch);
                self.set_wanted(&mut state, None);
                state.role = Role::Idle;
                replica.listen(&state);
                if state.not_before.is_some_and(|at| now < at) {
                    // The leader it followed may still count on it; the tick tries again.
                    state.retry_role = state.not_before;
                    return Ok(());
                }
                drop(state);
                return self.begin_term(replica, view, now);
            }
        };
        for node in strangers {
            replica.close_session(&mut state, node, Some(RefusedReason::UnknownEpoch));
        }
        self.set_rule(replica, &state, Vec::new());
        Ok(())
    }

    fn begin_term(
        &self,
        replica: &Arc<Replica>,
        view: &View,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        let isr = Isr::new(
            view.key,
            view.leader_epoch,
            view.partition_epoch,
            view.isr.clone(),
            now,
        );
        let rule = replica.rule(self.me(), view, &isr, Vec::new());
        let leso = replica.store.become_leader(view.leader_epoch, &rule)?;
        let mut state = replica.state.lock();
        state.cause = None;
        state.role = Role::Leader(Box::new(Leading {
            leader_epoch: view.leader_epoch,
            began: now,
            leso,
            isr,
            sessions: BTreeMap::new(),
            records: BTreeMap::new(),
        }));
        drop(state);
        replica.note(
            now,
            format!("leads in epoch {} from {leso}", view.leader_epoch),
        );
        Ok(())
    }

    fn follow(
        &self,
        replica: &Arc<Replica>,
        mut state: MutexGuard<'_, State>,
        view: &View,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        let purpose = if view.isr.contains(&self.me()) {
            Purpose::InSync
        } else {
            Purpose::CatchUp
        };
        self.set_wanted(&mut state, view.leader.map(|leader| (leader, purpose)));
        if purpose == Purpose::InSync && std::mem::take(&mut state.aside) {
            self.push_work(replica, view, WorkKind::Discard);
        }
        let same = match &state.role {
            Role::Follower(following) => {
                following.leader_epoch == view.leader_epoch && following.leader == view.leader
            }
            Role::Idle | Role::Leader(_) => false,
        };
        // Only out of the ISR may it forget what it has.
        let rebuild = purpose == Purpose::CatchUp && view.leader.is_some() && state.rebuild;
        if same {
            if rebuild && let Role::Follower(following) = &mut state.role {
                following.drop_intake();
                following.phase = Phase::Working;
                state.rebuild = false;
                replica.listen(&state);
                self.push_work(replica, view, WorkKind::Rebuild);
            }
            return Ok(());
        }
        self.keep_grant(&mut state);
        replica.close_all(
            &mut state,
            RefusedReason::NotLeader {
                leader: view.leader,
            },
        );
        state.role = Role::Idle;
        replica.listen(&state);
        drop(state);
        replica
            .store
            .become_follower(view.leader_epoch, view.leader)?;
        let mut state = replica.state.lock();
        state.cause = None;
        state.role = Role::Follower(Following {
            leader: view.leader,
            leader_epoch: view.leader_epoch,
            phase: if rebuild {
                Phase::Working
            } else {
                Phase::Detached { attach_at: now }
            },
            tries: 0,
            intake: None,
            quarantined: false,
            seen: Some(now),
        });
        drop(state);
        let leader = view
            .leader
            .map_or("nobody".into(), |leader| leader.to_string());
        replica.note(
            now,
            format!("follows {leader} in epoch {}", view.leader_epoch),
        );
        Ok(())
    }

    /// Publishes the rule that the ISR demands now. `state` is locked by the caller.
    pub(crate) fn set_rule(&self, replica: &Replica, state: &State, fresh: Vec<NodeId>) {
        if let Role::Leader(leading) = &state.role {
            let rule = replica.rule(self.me(), &state.view, &leading.isr, fresh);
            replica.store.set_rule(leading.leader_epoch, &rule);
        }
    }
}
