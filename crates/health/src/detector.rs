//! Is the other still there? Told from the gaps between its signs of life.
//!
//! The patience adapts: the mean of the gaps plus some deviations, as TCP reckons its
//! retransmission time, between a floor and a ceiling. What always holds: silence shorter than the
//! floor is never suspicious, silence longer than the ceiling always is, and silence while the
//! observer itself stood still counts for nothing.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// How patient a [`FailureDetector`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorConfig {
    /// The gap to expect before any was seen.
    pub expected_gap: Duration,
    /// The least patience.
    pub floor: Duration,
    /// The greatest patience.
    pub ceiling: Duration,
    /// How many mean deviations beyond the mean gap are still patience.
    pub deviations: u32,
}

/// What a [`FailureDetector`] makes of the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Heard of recently enough.
    Alive,
    /// Silent for longer than the patience.
    Suspect {
        /// For how long.
        silent: Duration,
        /// The patience that it exceeds.
        patience: Duration,
    },
}

/// Watches one other party.
#[derive(Clone, Debug)]
pub struct FailureDetector {
    config: DetectorConfig,
    last_heard: Monotonic,
    mean_gap: Duration,
    deviation: Duration,
    /// The connection ended: silence needs no patience.
    is_closed: bool,
}

impl FailureDetector {
    /// A detector that takes `now` for the first sign of life.
    #[must_use]
    pub const fn new(config: DetectorConfig, now: Monotonic) -> Self {
        Self {
            config,
            last_heard: now,
            mean_gap: config.expected_gap,
            deviation: Duration::ZERO,
            is_closed: false,
        }
    }

    /// A sign of life came.
    pub fn heard(&mut self, now: Monotonic) {
        // A long outage says nothing of the usual gaps: it counts as the ceiling at most.
        let gap = now.since(self.last_heard).min(self.config.ceiling);
        let off = gap.abs_diff(self.mean_gap);
        self.deviation = self.deviation * 3 / 4 + off / 4;
        self.mean_gap = self.mean_gap * 7 / 8 + gap / 8;
        self.last_heard = self.last_heard.max(now);
        self.is_closed = false;
    }

    /// The connection ended and could not be made again at once: the other is suspect now.
    pub const fn closed(&mut self) {
        self.is_closed = true;
    }

    /// The observer itself stood still until `now`, for `pause`: it could not have heard.
    pub fn observer_paused(&mut self, pause: Duration, now: Monotonic) {
        self.last_heard = (self.last_heard + pause).min(now);
    }

    /// How long silence may last.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let adapted = self
            .deviation
            .saturating_mul(self.config.deviations)
            .saturating_add(self.mean_gap);
        adapted.clamp(
            self.config.floor.min(self.config.ceiling),
            self.config.ceiling,
        )
    }

    /// How long it has been silent.
    #[must_use]
    pub const fn silent(&self, now: Monotonic) -> Duration {
        now.since(self.last_heard)
    }

    /// When it becomes suspect unless it is heard of before.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.last_heard + self.patience()
    }

    /// What to make of it now.
    #[must_use]
    pub fn liveness(&self, now: Monotonic) -> Liveness {
        let (silent, patience) = (self.silent(now), self.patience());
        match self.is_closed || silent > patience {
            true => Liveness::Suspect { silent, patience },
            false => Liveness::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: DetectorConfig = DetectorConfig {
        expected_gap: Duration::from_millis(100),
        floor: Duration::from_millis(300),
        ceiling: Duration::from_secs(3),
        deviations: 4,
    };

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(ms))
    }

    fn suspect(detector: &FailureDetector, ms: u64) -> bool {
        matches!(detector.liveness(at(ms)), Liveness::Suspect { .. })
    }

    /// A detector that heard every `gap` ms until `until`.
    fn steady(gap: u64, until: u64) -> FailureDetector {
        let mut detector = FailureDetector::new(CONFIG, at(0));
        for ms in (gap..=until).step_by(usize::try_from(gap).expect("small")) {
            detector.heard(at(ms));
        }
        detector
    }

    #[test]
    fn a_steady_peer_is_suspected_at_the_floor() {
        let detector = steady(100, 10_000);
        assert!(!suspect(&detector, 10_300));
        assert!(suspect(&detector, 10_301));
        assert_eq!(detector.deadline(), at(10_300));
    }

    #[test]
    fn an_irregular_peer_gets_more_patience() {
        let mut detector = FailureDetector::new(CONFIG, at(0));
        let mut ms = 0;
        for turn in 0..100 {
            ms += if turn % 4 == 0 { 900 } else { 50 };
            detector.heard(at(ms));
        }
        assert!(detector.patience() > Duration::from_secs(1));
        assert!(detector.patience() <= CONFIG.ceiling);
    }

    #[test]
    fn an_outage_does_not_spoil_the_patience_for_good() {
        let mut detector = steady(100, 1_000);
        detector.heard(at(3_600_000));
        assert!(detector.patience() <= CONFIG.ceiling);
        for ms in (3_600_100..3_610_000).step_by(100) {
            detector.heard(at(ms));
        }
        assert!(detector.patience() < Duration::from_millis(400));
    }

    #[test]
    fn a_closed_connection_needs_no_patience_until_it_is_heard_again() {
        let mut detector = steady(100, 1_000);
        detector.closed();
        assert!(suspect(&detector, 1_001));
        detector.heard(at(1_100));
        assert!(!suspect(&detector, 1_150));
    }

    #[test]
    fn silence_while_the_observer_stood_still_counts_for_nothing() {
        let mut detector = steady(100, 1_000);
        detector.observer_paused(Duration::from_secs(10), at(11_050));
        assert!(!suspect(&detector, 11_050));
        assert!(suspect(&detector, 11_400));
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut detector = steady(100, 1_000);
        detector.heard(at(500));
        assert_eq!(detector.silent(at(1_000)), Duration::ZERO);
    }
}
