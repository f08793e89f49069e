//! Replicas at rest: a tick looks at them less often.
//!
//! Most partitions of a node have nothing to do at most times, and looking at each ten times a
//! second is most of what an idle node would cost. So a replica with which nothing is the matter
//! is looked at by every third tick, until something stirs it. That is often enough for its lease
//! and its clocks of lag, which are no finer.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::replica::{Replica, Role, State};

/// How many ticks pass over a replica at rest.
const PASSES: u8 = 2;

/// How many ticks may pass over a replica yet.
#[derive(Debug, Default)]
pub(crate) struct Quiet(AtomicU8);

impl Quiet {
    /// Something happened to it, or is about to.
    pub(crate) fn stir(&self) {
        // Release: pairs with the swap in `rest`, so that a look which comes after sees it.
        self.0.store(0, Release);
    }

    /// Takes it to be at rest, before it is looked at: what happens during the look stirs it.
    pub(crate) fn rest(&self) {
        // AcqRel: Acquire as above; Release is nobody's, a swap has no weaker form with Acquire.
        self.0.swap(PASSES, AcqRel);
    }

    /// Whether this tick passes over it.
    pub(crate) fn passes(&self) -> bool {
        let left = self.0.load(Acquire);
        // A stir in between has the tick look.
        left > 0
            && self
                .0
                .compare_exchange(left, left - 1, Relaxed, Relaxed)
                .is_ok()
    }
}

impl Replica {
    /// Whether nothing is under way, missing or the matter.
    pub(crate) fn is_at_rest(&self, state: &State) -> bool {
        let marks = self.store.watermarks().snapshot();
        if state.retry_role.is_some()
            || state.cause.is_some()
            || marks.high_watermark < marks.log_end
        {
            return false;
        }
        match &state.role {
            Role::Idle => false,
            Role::Leader(leading) => {
                leading.machine.is_quiet()
                    && leading.sessions.values().all(|session| {
                        session.log_end.get() >= marks.log_end
                            && session.told_high_watermark.get() >= marks.high_watermark
                    })
            }
            Role::Follower(following) => {
                let told = |end, durable| (end, durable) == (marks.log_end, marks.durable_end);
                following.work.is_none()
                    && following.machine.is_quiet(marks.log_end)
                    && following.intake.as_ref().is_some_and(|intake| {
                        told(intake.told_end.get(), intake.told_durable.get())
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replica_at_rest_is_looked_at_by_every_third_tick() {
        let quiet = Quiet::default();
        assert!(!quiet.passes(), "it begins awake");
        for _ in 0..3 {
            quiet.rest();
            assert_eq!([(); 3].map(|()| quiet.passes()), [true, true, false]);
        }
    }

    #[test]
    fn what_stirs_it_has_the_next_tick_look() {
        let quiet = Quiet::default();
        quiet.rest();
        quiet.stir();
        assert!(!quiet.passes());
        assert!(!quiet.passes(), "until it is found at rest again");
    }
}
