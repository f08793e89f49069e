//! When a run loads, and when it measures.

use std::time::Instant;

use plimsoll_benches::contention::now;

use crate::load::Load;
use crate::process::{Used, Watched, used};

/// The warm-up and the measured time of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Loading begins.
    pub(crate) begins: Instant,
    /// Measuring begins.
    pub(crate) from: Instant,
    /// Both end.
    pub(crate) until: Instant,
}

impl Window {
    /// One that begins now.
    pub(crate) fn open(load: &Load) -> Self {
        let begins = now();
        let from = begins + load.warmup;
        Self {
            begins,
            from,
            until: from + load.measured,
        }
    }

    /// Whether `at` is measured.
    pub(crate) fn measures(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// Whether there is time left.
    pub(crate) fn is_open(&self) -> bool {
        now() < self.until
    }

    /// Waits until the end, and tells what the broker's process used while it was measured.
    pub(crate) async fn watch(self, watched: Option<&Watched>) -> Option<Used> {
        tokio::time::sleep_until(self.from.into()).await;
        let before = watched.and_then(Watched::sample);
        tokio::time::sleep_until(self.until.into()).await;
        let after = watched.and_then(Watched::sample);
        Some(used(&before?, &after?))
    }
}
