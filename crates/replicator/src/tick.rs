//! The clock: everything that follows from state is worked out again, ten times a second.
//!
//! No wake-up is needed for a replica to come right; a tick finds what a lost one left undone, and
//! counts it. Replicas [at rest](crate::quiet) are looked at less often.

use std::sync::Arc;

use plimsoll_types::Monotonic;

use crate::counters::count;
use crate::replica::{Replica, Role};
use crate::replicas::Replicas;
use crate::work::WorkKind;

impl Replicas {
    /// Works out again what follows from state. Call it every 100 ms. A replica whose log's writer
    /// hangs may keep it; a call from another thread passes over that one.
    pub fn tick(&self, now: Monotonic) {
        self.pauses.ticked(self.config().timing.tick, now);
        for replica in self.all() {
            if !replica.quiet.passes() {
                self.tick_replica(&replica, now);
            }
        }
    }

    fn tick_replica(&self, replica: &Arc<Replica>, now: Monotonic) {
        replica.quiet.rest();
        if replica.store.watermarks().recompute() {
            count(&self.counters().hw_missed_wakeups);
            replica.ring();
        }
        // Whoever holds it for long waits for a disk, and the other replicas must not.
        let Some(mut state) = replica.state.try_lock() else {
            replica.quiet.stir();
            return;
        };
        if state.retry_role.is_some_and(|at| now >= at) {
            state.retry_role = None;
            let leader_epoch = state.view.leader_epoch;
            self.push_work(replica, leader_epoch, None, WorkKind::Role);
            replica.quiet.stir();
            return;
        }
        match &state.role {
            Role::Idle => {}
            Role::Leader(_) => self.tick_leader(replica, &mut state, now),
            Role::Follower(_) => self.tick_follower(replica, &mut state, now),
        }
        if !replica.is_at_rest(&state) {
            replica.quiet.stir();
        }
    }
}
