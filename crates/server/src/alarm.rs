//! One timer a connection, moved as seldom as possible.
//!
//! A connection's deadline moves with every request; moving a timer each time would cost more
//! than the request's bookkeeping. The alarm is therefore allowed to go off early: its owner then
//! looks whether its deadline has come, and sets it again.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that goes off at its owner's deadline or before.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(at)),
        }
    }

    /// Whether `deadline` has come; otherwise the task is woken by then, or earlier.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(cx) == Poll::Ready(()) {
            if Instant::now() >= deadline {
                return true;
            }
            self.sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test]
    async fn an_alarm_set_too_early_goes_on_to_the_later_deadline() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + Duration::from_millis(1));
        let deadline = start + Duration::from_millis(5);
        poll_fn(|cx| {
            if alarm.poll(cx, deadline) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert!(Instant::now() >= deadline);
    }

    #[tokio::test]
    async fn an_alarm_set_too_late_comes_forward() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + Duration::from_secs(3600));
        let deadline = start + Duration::from_millis(2);
        poll_fn(|cx| {
            if alarm.poll(cx, deadline) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
