//! What happened, counted: for metrics and for tests. Read at scrape, never reset.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The replicator's counters.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Counters {
            /// Every counter by name.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)+]
            }
        }
    };
}

counters! {
    /// High watermarks that the tick had to move: a bug, if more than a few.
    hw_missed_wakeups,
    /// Sessions that had something to send and were not rung: a bug, if more than a few.
    missed_rings,
    /// Sessions that were agreed.
    attaches,
    /// Attaches that were refused here.
    refusals,
    /// Followers that did not move though they could.
    stalls,
    /// Logs begun anew here.
    resets,
    /// Logs cut here.
    truncations,
    /// Cuts that were refused because they lay below the high watermark.
    divergences,
    /// Runs that failed a check here.
    bad_runs,
    /// Nacks received.
    nacks,
    /// Damage met in this node's own logs while sending.
    own_damage,
    /// Ranges that were compared with their leader.
    checks,
    /// Ranges that differed.
    mismatches,
    /// Proposals of an ISR.
    proposals,
    /// Roles that could not be taken up and are tried again.
    role_failures,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
