//! Waiting with an end: a future raced against the clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use plimsoll_types::Monotonic;

use crate::clock::Clock;
use crate::context::Context;

/// A moment until which a request waits. The clock is asked for a wake-up only once something
/// really has to wait.
pub(crate) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Monotonic,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    passed: bool,
}

impl Deadline {
    /// `ms` milliseconds after `from`, as clients give them: less than zero is now.
    pub(crate) fn after_ms(context: &Context, from: Monotonic, ms: i32) -> Self {
        Self::at(
            &context.broker.clock,
            from + Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
        )
    }

    pub(crate) fn at(clock: &Arc<dyn Clock>, at: Monotonic) -> Self {
        Self {
            clock: Arc::clone(clock),
            at,
            sleep: None,
            passed: false,
        }
    }

    /// The output of `work`, or `None` if the moment came first. What is ready is ready, also
    /// after the moment.
    pub(crate) async fn bound<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            self.poll_passed(context).map(|()| None)
        })
        .await
    }

    fn poll_passed(&mut self, context: &mut TaskContext<'_>) -> Poll<()> {
        if self.passed || self.clock.now() >= self.at {
            self.passed = true;
            return Poll::Ready(());
        }
        let (clock, at) = (&self.clock, self.at);
        let sleep = self.sleep.get_or_insert_with(|| {
            let clock = Arc::clone(clock);
            Box::pin(async move { clock.sleep_until(at).await })
        });
        let slept = sleep.as_mut().poll(context);
        self.passed = slept.is_ready();
        slept
    }
}
