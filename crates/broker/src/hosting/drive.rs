//! Making partitions what the metadata says, several at a time, where the node is one of several.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::Host;
use super::queue::Key;
use crate::Broker;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A partition that is being worked on; whatever becomes of the work, it ends.
struct Turn {
    host: Arc<Host>,
    key: Key,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.host.queue.done(self.key);
    }
}

impl Broker {
    /// Follows the images for as long as it is polled, after [`Broker::recover`].
    pub(crate) async fn run_hosting(self: Arc<Self>) {
        let most = self.config.recovery_threads.max(1);
        let mut running: Vec<Running> = Vec::new();
        poll_fn(move |cx| {
            loop {
                running.retain_mut(|work| work.as_mut().poll(cx).is_pending());
                if running.len() >= most {
                    return Poll::Pending;
                }
                match self.host.queue.poll_take(cx) {
                    Poll::Ready(Some(key)) => running.push(Box::pin(Arc::clone(&self).host(key))),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    async fn host(self: Arc<Self>, key: Key) {
        let turn = Turn {
            host: Arc::clone(&self.host),
            key,
        };
        let done = self.blocking(move || {
            turn.host.reconcile(turn.key);
        });
        // Not done only when the node is stopping.
        let _ = done.await;
    }
}
