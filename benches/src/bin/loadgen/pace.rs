//! Waiting for intended times, to a fraction of a millisecond.
//!
//! tokio's timers are exact to a millisecond, which is the whole interval at a usual rate. A kernel
//! timer wakes within some tens of microseconds; spinning is exact and takes a core.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plimsoll_benches::contention::now;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Waits until given times.
pub(crate) struct Pace {
    timer: AsyncFd<OwnedFd>,
    spin: bool,
}

impl Pace {
    /// One that spins, or sleeps on a kernel timer.
    pub(crate) fn new(spin: bool) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("make a timer")?;
        #[expect(
            deprecated,
            reason = "unsound only with a descriptor that closes early; an `OwnedFd` does not, and \
                      the successor is `unsafe` to call"
        )]
        let timer = AsyncFd::new(timer).context("watch a timer")?;
        Ok(Self { timer, spin })
    }

    /// Returns at `at`, or at once if that is past.
    pub(crate) async fn until(&self, at: Instant) -> Result<()> {
        while let Some(left) = at
            .checked_duration_since(now())
            .filter(|left| !left.is_zero())
        {
            if self.spin {
                // Lets answers be read meanwhile.
                tokio::task::yield_now().await;
            } else {
                self.sleep(left).await?;
            }
        }
        Ok(())
    }

    async fn sleep(&self, left: Duration) -> Result<()> {
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).context("a wait of ages")?,
                tv_nsec: i64::from(left.subsec_nanos()),
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)
            .context("set a timer")?;
        let mut ready = self.timer.readable().await.context("await a timer")?;
        let mut expirations = [0; 8];
        // Not expired yet is not an error: the caller looks at the time.
        let _ = rustix::io::read(self.timer.get_ref(), &mut expirations);
        ready.clear_ready();
        Ok(())
    }
}
