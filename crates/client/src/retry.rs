//! Trying again: with growing pauses, and not for ever.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{ClientConfig, ClientError};

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Retry {
    begun: Instant,
    timeout: Duration,
    pause: Duration,
}

impl Retry {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        Self::within(config.retry_timeout, config.retry_backoff)
    }

    pub(crate) fn within(timeout: Duration, backoff: Duration) -> Self {
        Self {
            begun: Instant::now(),
            timeout,
            pause: backoff,
        }
    }

    /// Waits before the next attempt at `what`, or gives up for `last`.
    pub(crate) async fn pause(
        &mut self,
        what: &'static str,
        last: ClientError,
    ) -> Result<(), ClientError> {
        let waited = self.begun.elapsed();
        if waited + self.pause > self.timeout {
            return Err(ClientError::GaveUp {
                what,
                waited,
                last: Some(Box::new(last)),
            });
        }
        tracing::debug!(%last, "trying again for {what}");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        Ok(())
    }
}
