//! Taking up what the metadata says: leading, following, or neither.
//!
//! Runs on a thread that may block, with the replica's `structure` held; the store is asked only
//! while `state` is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::MutexGuard;
use plimsoll_replication::{Follower, FollowerTerm, Leader, LeaderTerm, Refusal};
use plimsoll_types::{Monotonic, NodeId};

use crate::counters::count;
use crate::frame::Purpose;
use crate::leader::{close, isr_rule};
use crate::replica::{Following, Leading, Replica, Role, State, View};
use crate::replicas::Replicas;
use crate::status::Cause;
use crate::store::StoreError;

impl Replicas {
    /// Takes up the role that `view` gives this node. `structure` is held.
    pub(crate) fn take_role(&self, replica: &Arc<Replica>, view: &View, now: Monotonic) {
        let mut state = replica.state.lock();
        if state.removed {
            return;
        }
        state.view = view.clone();
        state.retry_role = None;
        self.losses
            .standing(replica.key, view.isr.contains(&self.me()));
        let outcome = if view.leader == Some(self.me()) {
            self.lead(replica, state, view, now)
        } else if view.replicas.contains(&self.me()) {
            self.follow(replica, state, view, now)
        } else {
            self.give_up(replica, &mut state, view.leader, now);
            self.set_wanted(&mut state, None);
            drop(state);
            replica.store.become_idle(view.leader_epoch);
            Ok(())
        };
        if let Err(error) = outcome {
            count(&self.counters().role_failures);
            replica.note(now, format!("role not taken up: {error}"));
            let mut state = replica.state.lock();
            state.retry_role = Some(now + self.config().timing.back_off_max);
            state.cause = Some(Cause::IoError);
        }
    }

    /// Ends the role there is, and every session with it.
    pub(crate) fn give_up(
        &self,
        replica: &Replica,
        state: &mut State,
        leader: Option<NodeId>,
        now: Monotonic,
    ) {
        self.let_go(replica, state, now);
        if let Role::Leader(leading) = &mut state.role {
            // Before anybody is told that the lease is given back.
            let leader_epoch = leading.machine.leader_epoch();
            replica
                .store
                .set_lease(leader_epoch, plimsoll_partition::Lease::NONE);
            let sessions = leading.sessions.iter();
            let sessions: Vec<_> = sessions
                .map(|(node, session)| (*node, session.id))
                .collect();
            for (node, session) in sessions {
                close(
                    replica,
                    leading,
                    node,
                    session,
                    Some(Refusal::NotLeader { leader }),
                );
            }
        }
        state.role = Role::Idle;
        replica.listen(state);
    }

    fn lead(
        &self,
        replica: &Arc<Replica>,
        mut state: MutexGuard<'_, State>,
        view: &View,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        if let Role::Leader(leading) = &mut state.role
            && leading.machine.leader_epoch() == view.leader_epoch
        {
            let (known, mut out) = (self.rules_view(view, &*replica.store), Vec::new());
            leading.machine.metadata(known, now, &mut out);
            self.carry_out(replica, &mut state, out, now);
            return Ok(());
        }
        self.give_up(replica, &mut state, view.leader, now);
        if let Some(until) = state.promises.until(now) {
            // The leader it followed may still count on it. The link stays, on which that one can
            // give the promise back; else the tick tries again.
            state.retry_role = Some(until);
            return Ok(());
        }
        self.set_wanted(&mut state, None);
        drop(state);
        let (key, me, leader_epoch) = (view.key, self.me(), view.leader_epoch);
        let known = self.rules_view(view, &*replica.store);
        let rule = isr_rule(known.first_rule(me), Vec::new());
        let epoch_start = replica.store.become_leader(leader_epoch, &rule)?;
        let term = LeaderTerm {
            key,
            me,
            leader_epoch,
            epoch_start,
            view: known,
        };
        let mut state = replica.state.lock();
        state.cause = None;
        state.role = Role::Leader(Box::new(Leading {
            machine: Leader::new(term, self.config().timing, now),
            began: now,
            sessions: BTreeMap::new(),
            told: BTreeMap::new(),
        }));
        drop(state);
        replica.note(
            now,
            format!("leads in epoch {leader_epoch} from {epoch_start}"),
        );
        Ok(())
    }

    fn follow<'a>(
        &self,
        replica: &'a Arc<Replica>,
        mut state: MutexGuard<'a, State>,
        view: &View,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        let me = self.me();
        let purpose = match view.isr.contains(&me) {
            true => Purpose::InSync,
            false => Purpose::CatchUp,
        };
        let wanted = view.leader.map(|leader| (leader, purpose));
        let same = match &state.role {
            Role::Follower(following) => {
                following.machine.leader_epoch() == view.leader_epoch
                    && following.machine.leader() == view.leader
            }
            Role::Idle | Role::Leader(_) => false,
        };
        if !same {
            // By the link of before: whoever led is told that this replica follows no more.
            self.give_up(replica, &mut state, view.leader, now);
            self.set_wanted(&mut state, wanted);
            drop(state);
            replica
                .store
                .become_follower(view.leader_epoch, view.leader)?;
            state = replica.state.lock();
            self.begin_to_follow(replica, &mut state, view, now);
        } else if state.wanted != wanted {
            self.set_wanted(&mut state, wanted);
            self.relink(replica, &mut state, now);
        }
        let in_isr = view.isr.contains(&me);
        let may_lead = in_isr || view.elr.contains(&me);
        self.follow_with(replica, &mut state, now, |machine, out| {
            if let Some(through) = view.unclean_epoch {
                machine.accept_loss(through, now, out);
            }
            machine.standing(in_isr, may_lead, now, out);
        });
        Ok(())
    }

    fn begin_to_follow(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        view: &View,
        now: Monotonic,
    ) {
        let term = FollowerTerm {
            key: view.key,
            me: self.me(),
            broker_epoch: self.my_epoch(),
            leader: view.leader,
            leader_epoch: view.leader_epoch,
            unclean_epoch: view.unclean_epoch,
        };
        let leader = view
            .leader
            .map_or("nobody".into(), |leader| leader.to_string());
        let epoch = view.leader_epoch;
        replica.note(now, format!("follows {leader} in epoch {epoch}"));
        let linked = state.wanted.is_some_and(|wanted| self.has_link(wanted));
        let mut out = Vec::new();
        let mut machine = Follower::new(term, self.config().timing, linked, now, &mut out);
        if state.aside {
            machine.kept_aside();
        }
        if state.damaged {
            machine.damaged(now, &mut out);
        } else {
            state.cause = None;
        }
        state.role = Role::Follower(Box::new(Following {
            machine,
            intake: None,
            last_session: 0,
            carrier: None,
            queued: false,
            work: None,
            tries: 0,
            seen: now,
        }));
        self.follow_on(replica, state, &mut out, None, now);
    }
}
