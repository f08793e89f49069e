//! Does something here hang? Operations of a disk, and this process itself.
//!
//! What always holds: one slow operation is no slow disk unless it lasts as long as slowness has to
//! last; a disk is well again only after that long without a slow operation.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// When operations are too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallConfig {
    /// An operation that takes longer is slow.
    pub limit: Duration,
    /// Slowness counts once slow operations recur, or one goes on, for this long; and is over once
    /// there was none for this long.
    pub sustain: Duration,
}

/// What a [`Stall`] detector has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallVerdict {
    /// Nothing is slow, or not for long enough.
    Healthy,
    /// Slow operations recur.
    Slow {
        /// The longest of late.
        worst: Duration,
        /// For how long it has been so.
        lasting: Duration,
    },
}

/// Watches the operations of one device. They may overlap; the oldest unfinished one counts.
#[derive(Clone, Debug)]
pub struct Stall {
    config: StallConfig,
    /// When the unfinished operation began, if one is under way.
    under_way: Option<Monotonic>,
    /// The stretch of slowness: its begin, its last slow moment, its worst duration.
    stretch: Option<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Monotonic,
    to: Monotonic,
    worst: Duration,
}

impl Stall {
    /// A detector that has seen nothing yet.
    #[must_use]
    pub const fn new(config: StallConfig) -> Self {
        Self {
            config,
            under_way: None,
            stretch: None,
        }
    }

    /// An operation begins.
    pub fn began(&mut self, now: Monotonic) {
        self.under_way.get_or_insert(now);
    }

    /// The operation ended.
    pub fn ended(&mut self, now: Monotonic) {
        if let Some(began) = self.under_way.take() {
            self.took(began, now);
        }
    }

    /// An operation lasted from `began` to `now`: for who measures by himself.
    pub fn took(&mut self, began: Monotonic, now: Monotonic) {
        let duration = now.since(began);
        let stretch = self.current(began);
        self.stretch = match duration > self.config.limit {
            true => Some(Stretch {
                from: stretch.map_or(began, |stretch| stretch.from),
                to: now,
                worst: stretch.map_or(duration, |stretch| stretch.worst.max(duration)),
            }),
            false => stretch,
        };
    }

    /// The stretch, unless it was over by `now`.
    fn current(&self, now: Monotonic) -> Option<Stretch> {
        self.stretch
            .filter(|stretch| now.since(stretch.to) < self.config.sustain)
    }

    /// What to make of it now.
    #[must_use]
    pub fn verdict(&self, now: Monotonic) -> StallVerdict {
        let mut stretch = self.current(now);
        if let Some(began) = self.under_way
            && now.since(began) > self.config.limit
        {
            let before = self.current(began);
            stretch = Some(Stretch {
                from: before.map_or(began, |before| before.from),
                to: now,
                worst: now
                    .since(began)
                    .max(before.map_or(Duration::ZERO, |before| before.worst)),
            });
        }
        match stretch {
            Some(stretch) if stretch.to.since(stretch.from) >= self.config.sustain => {
                StallVerdict::Slow {
                    worst: stretch.worst,
                    lasting: now.since(stretch.from),
                }
            }
            _ => StallVerdict::Healthy,
        }
    }
}

/// Watches a loop that should come round at a period: what it is late by, it stood still.
#[derive(Clone, Debug)]
pub struct LoopLag {
    period: Duration,
    last: Monotonic,
    worst: Duration,
}

impl LoopLag {
    /// A loop that came round `now`, and is to come round again after `period`.
    #[must_use]
    pub const fn new(period: Duration, now: Monotonic) -> Self {
        Self {
            period,
            last: now,
            worst: Duration::ZERO,
        }
    }

    /// The loop came round; returns by how much it was late. Give what is more than a few periods
    /// to [`FailureDetector::observer_paused`](crate::FailureDetector::observer_paused).
    pub fn beat(&mut self, now: Monotonic) -> Duration {
        let lag = self.lag(now);
        self.last = self.last.max(now);
        self.worst = self.worst.max(lag);
        lag
    }

    /// By how much it is late, if it did not come round since.
    #[must_use]
    pub const fn lag(&self, now: Monotonic) -> Duration {
        now.since(self.last).saturating_sub(self.period)
    }

    /// The most it was late by since the last call, which forgets it.
    pub const fn take_worst(&mut self) -> Duration {
        std::mem::replace(&mut self.worst, Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: StallConfig = StallConfig {
        limit: Duration::from_secs(1),
        sustain: Duration::from_secs(5),
    };

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(ms))
    }

    /// Operations of `each` ms from `from` until `until`.
    fn run(stall: &mut Stall, each: u64, from: u64, until: u64) {
        for ms in (from..until).step_by(usize::try_from(each).expect("small")) {
            stall.began(at(ms));
            stall.ended(at(ms + each));
        }
    }

    #[test]
    fn fast_operations_are_healthy() {
        let mut stall = Stall::new(CONFIG);
        run(&mut stall, 50, 0, 60_000);
        assert_eq!(stall.verdict(at(60_000)), StallVerdict::Healthy);
    }

    #[test]
    fn a_single_hiccup_is_no_slow_disk() {
        let mut stall = Stall::new(CONFIG);
        run(&mut stall, 2_000, 0, 2_000);
        for ms in [2_000, 4_000, 6_900, 7_100, 60_000] {
            assert_eq!(stall.verdict(at(ms)), StallVerdict::Healthy, "{ms}");
        }
    }

    #[test]
    fn slow_operations_that_recur_are_a_slow_disk_until_it_recovers() {
        let mut stall = Stall::new(CONFIG);
        run(&mut stall, 1_500, 0, 9_000);
        let slow = StallVerdict::Slow {
            worst: Duration::from_millis(1_500),
            lasting: Duration::from_secs(9),
        };
        assert_eq!(stall.verdict(at(9_000)), slow);
        run(&mut stall, 10, 9_000, 13_000);
        assert!(matches!(
            stall.verdict(at(13_000)),
            StallVerdict::Slow { .. }
        ));
        assert_eq!(stall.verdict(at(14_000)), StallVerdict::Healthy);
    }

    #[test]
    fn one_operation_without_end_is_a_slow_disk() {
        let mut stall = Stall::new(CONFIG);
        stall.began(at(0));
        assert_eq!(stall.verdict(at(4_000)), StallVerdict::Healthy);
        let slow = StallVerdict::Slow {
            worst: Duration::from_secs(6),
            lasting: Duration::from_secs(6),
        };
        assert_eq!(stall.verdict(at(6_000)), slow);
    }

    #[test]
    fn hiccups_far_apart_are_no_slow_disk() {
        let mut stall = Stall::new(CONFIG);
        for second in (0..600).step_by(10) {
            run(&mut stall, 1_200, second * 1_000, second * 1_000 + 1_200);
            assert_eq!(
                stall.verdict(at(second * 1_000 + 1_200)),
                StallVerdict::Healthy
            );
        }
    }

    #[test]
    fn a_loop_is_late_by_what_it_stood_still() {
        let mut lag = LoopLag::new(Duration::from_millis(100), at(0));
        assert_eq!(lag.beat(at(100)), Duration::ZERO);
        assert_eq!(lag.beat(at(10_200)), Duration::from_secs(10));
        assert_eq!(lag.beat(at(10_300)), Duration::ZERO);
        assert_eq!(lag.take_worst(), Duration::from_secs(10));
        assert_eq!(lag.take_worst(), Duration::ZERO);
    }
}
