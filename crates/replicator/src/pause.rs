//! Whether this process stood still: the clock went on, and the tick did not come.

use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_types::Monotonic;

/// A tick that is so late was held up by more than other work.
const NOTABLE: Duration = Duration::from_millis(500);
/// How long a pause explains what is behind.
const REMEMBERED: Duration = Duration::from_secs(15);

/// The last tick, and the last pause.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ticked: Option<Monotonic>,
    /// How long, and when it ended.
    last: Option<(Duration, Monotonic)>,
}

impl Pauses {
    /// A tick, of which there is one every `tick`.
    pub(crate) fn ticked(&self, tick: Duration, now: Monotonic) {
        let mut state = self.0.lock();
        if let Some(before) = state.ticked.replace(now) {
            let late = now.since(before).saturating_sub(tick);
            if late >= NOTABLE {
                state.last = Some((late, now));
            }
        }
    }

    /// How long the process stood still, if it did of late.
    pub(crate) fn of_late(&self, now: Monotonic) -> Option<Duration> {
        let state = self.0.lock();
        let (long, ended) = state.last?;
        (now.since(ended) < REMEMBERED).then_some(long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_tick_is_a_pause_that_is_remembered_for_a_while() {
        let (pauses, tick) = (Pauses::default(), Duration::from_millis(100));
        let at = |ms| Monotonic::from_start(Duration::from_millis(ms));
        // However late the first one comes, nothing stood still before it.
        pauses.ticked(tick, at(5_000));
        pauses.ticked(tick, at(5_400));
        assert_eq!(pauses.of_late(at(5_400)), None, "busy");
        pauses.ticked(tick, at(7_500));
        let long = Some(Duration::from_secs(2));
        assert_eq!(pauses.of_late(at(7_500)), long);
        pauses.ticked(tick, at(7_600));
        assert_eq!(pauses.of_late(at(22_499)), long);
        assert_eq!(pauses.of_late(at(22_500)), None);
    }
}
