//! Does it move? A watchdog over a position that should reach a goal.
//!
//! What always holds: who has reached the goal is not stalled, however long it stands there; any
//! move, back included (a log that was cut), starts the clock anew.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// A position on its way to a goal.
#[derive(Clone, Debug)]
pub struct Progress {
    position: u64,
    goal: u64,
    moved_at: Monotonic,
    /// Since when it has not been at the goal; none while it is.
    behind_since: Option<Monotonic>,
    /// What was covered a second, of late.
    rate: Option<f64>,
    /// When, and where, the rate was last reckoned.
    measured: (Monotonic, u64),
}

/// The rate is reckoned over spans of at least this.
const SPAN: Duration = Duration::from_millis(500);

impl Progress {
    /// A position that is at its goal.
    #[must_use]
    pub const fn new(position: u64, now: Monotonic) -> Self {
        Self {
            position,
            goal: position,
            moved_at: now,
            behind_since: None,
            rate: None,
            measured: (now, position),
        }
    }

    /// Tells where it is, and where it should come to.
    pub fn observe(&mut self, position: u64, goal: u64, now: Monotonic) {
        let was_there = self.position >= self.goal;
        if position != self.position || was_there {
            self.moved_at = now;
        }
        if position < self.position {
            self.measured = (now, position);
            self.rate = None;
        }
        self.position = position;
        self.goal = goal;
        self.behind_since = match position >= goal {
            true => None,
            false => self.behind_since.or(Some(now)),
        };
        let (since, from) = self.measured;
        let span = now.since(since);
        if span >= SPAN {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let covered = position.saturating_sub(from) as f64 / span.as_secs_f64();
            self.rate = Some(self.rate.map_or(covered, |rate| rate * 0.7 + covered * 0.3));
            self.measured = (now, position);
        }
    }

    /// How far it is from the goal.
    #[must_use]
    pub const fn behind(&self) -> u64 {
        self.goal.saturating_sub(self.position)
    }

    /// For how long it has not been at the goal.
    #[must_use]
    pub fn behind_for(&self, now: Monotonic) -> Duration {
        self.behind_since
            .map_or(Duration::ZERO, |since| now.since(since))
    }

    /// For how long it has not moved although it should; zero at the goal.
    #[must_use]
    pub fn stalled_for(&self, now: Monotonic) -> Duration {
        match self.behind_since {
            Some(since) => now.since(since.max(self.moved_at)),
            None => Duration::ZERO,
        }
    }

    /// What it covers a second, of late; none before it could be told.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and casts of floats saturate"
        )]
        self.rate.map(|rate| rate as u64)
    }

    /// How long until the goal at the rate of late; none when it cannot be told.
    #[must_use]
    pub fn estimate(&self) -> Option<Duration> {
        match (self.behind(), self.rate()?) {
            (0, _) => Some(Duration::ZERO),
            (_, 0) => None,
            (behind, rate) => Some(Duration::from_millis(behind.saturating_mul(1000) / rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn who_is_at_the_goal_is_never_stalled() {
        let mut progress = Progress::new(10, at(0));
        progress.observe(10, 10, at(60_000));
        assert_eq!(progress.stalled_for(at(120_000)), Duration::ZERO);
    }

    #[test]
    fn the_clock_runs_from_when_there_was_a_way_to_go() {
        let mut progress = Progress::new(10, at(0));
        progress.observe(10, 20, at(60_000));
        assert_eq!(progress.stalled_for(at(62_000)), Duration::from_secs(2));
        progress.observe(11, 20, at(62_000));
        assert_eq!(progress.stalled_for(at(62_500)), Duration::from_millis(500));
        assert_eq!(
            progress.behind_for(at(62_500)),
            Duration::from_millis(2_500)
        );
        progress.observe(11, 30, at(64_000));
        assert_eq!(progress.stalled_for(at(64_000)), Duration::from_secs(2));
    }

    #[test]
    fn a_cut_is_a_move() {
        let mut progress = Progress::new(10, at(0));
        progress.observe(10, 20, at(0));
        progress.observe(5, 20, at(3_000));
        assert_eq!(progress.stalled_for(at(3_000)), Duration::ZERO);
        assert_eq!(progress.rate(), None);
    }

    #[test]
    fn the_estimate_is_the_way_by_the_rate() {
        let mut progress = Progress::new(0, at(0));
        for second in 1..=10 {
            progress.observe(second * 1_000, 20_000, at(second * 1_000));
        }
        assert_eq!(progress.rate(), Some(1_000));
        assert_eq!(progress.estimate(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn without_movement_there_is_no_estimate() {
        let mut progress = Progress::new(0, at(0));
        progress.observe(0, 10, at(1_000));
        assert_eq!(progress.estimate(), None);
    }
}
