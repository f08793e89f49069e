//! Threads for the broker's blocking work.

use plimsoll_broker::Workers;

/// The tokio runtime's blocking threads; `node` bounds their number when it builds the runtime.
///
/// Nothing may be run by these after the runtime is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioWorkers;

#[async_trait::async_trait]
impl Workers for TokioWorkers {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        // The work is queued before the first await, and is done even if the caller goes away.
        if let Err(error) = tokio::task::spawn_blocking(work).await
            && error.is_panic()
        {
            // The caller expects the work's effect; without it only the panic may go on.
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[tokio::test]
    async fn work_is_done_when_run_returns() {
        let (sender, receiver) = sync_channel(1);
        TokioWorkers
            .run(Box::new(move || sender.send(1).expect("open")))
            .await;
        assert_eq!(receiver.try_recv(), Ok(1));
    }

    #[tokio::test]
    async fn work_of_a_caller_that_went_away_is_done() {
        let (sender, receiver) = sync_channel(1);
        {
            let mut run = TokioWorkers.run(Box::new(move || sender.send(1).expect("open")));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = run.as_mut().poll(&mut cx);
        }
        assert_eq!(receiver.recv(), Ok(1));
    }
}
