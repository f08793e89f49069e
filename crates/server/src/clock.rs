//! The one door to the machine's clocks for the broker.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_broker::Clock;
use plimsoll_types::{Monotonic, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The longest stretch slept at once.
///
/// The runtime's timers stand still while the machine sleeps, the clock below does not: after a
/// suspension a sleeper finds out at most this late that its time has come.
const MAX_NAP: Duration = Duration::from_secs(10);

/// The machine's clocks, slept on by the tokio runtime.
///
/// [`Monotonic`] is Linux's `CLOCK_BOOTTIME`: it never goes back, no one can set it, and, unlike
/// `CLOCK_MONOTONIC`, it counts while the machine is suspended. Sessions and leases therefore
/// expire during a suspension, as they do for everyone who waits for this node.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl TokioClock {
    /// The time since boot, suspension included.
    #[must_use]
    pub fn monotonic() -> Monotonic {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).expect("time since boot is not negative");
        let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds are below a second");
        Monotonic::from_start(Duration::new(seconds, nanos))
    }

    /// Milliseconds since 1970; zero on a machine whose clock is set before that.
    #[must_use]
    pub fn wall_time() -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the door to the wall clock"
        )]
        let now = SystemTime::now();
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }
}

#[async_trait::async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Monotonic {
        Self::monotonic()
    }

    fn wall(&self) -> Timestamp {
        Self::wall_time()
    }

    async fn sleep_until(&self, at: Monotonic) {
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(MAX_NAP)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_never_ends_early() {
        let clock = TokioClock;
        let at = clock.now() + Duration::from_millis(3);
        clock.sleep_until(at).await;
        assert!(clock.now() >= at);
    }

    #[test]
    fn the_wall_clock_reads_later_than_this_code_was_written() {
        assert!(TokioClock::wall_time() > Timestamp::from_millis(1_700_000_000_000));
    }
}
