//! What the broker remembers of one client connection.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// One client connection, from accept to close; shared by the requests that are in flight on it.
#[derive(Debug)]
pub struct Connection {
    /// Unique in this process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    software: OnceLock<Software>,
    /// The last request taken that those after it wait for.
    last_turn: Mutex<Option<Arc<Turn>>>,
}

/// What the client says it is (KIP-511), for logs and for nothing that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// Such as `librdkafka` or `apache-kafka-java`.
    pub name: String,
    /// Such as `2.3.0`.
    pub version: String,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            software: OnceLock::new(),
            last_turn: Mutex::new(None),
        }
    }

    /// What the client said it is, once it did.
    #[must_use]
    pub fn software(&self) -> Option<&Software> {
        self.software.get()
    }

    /// Takes down what the client says it is; the first word stands.
    pub(crate) fn introduce(&self, software: Software) {
        // A client may repeat itself; that is not an error.
        let _ = self.software.set(software);
    }

    /// Takes a request's place in the order of the connection: to be called in the order of the
    /// frames, once each. The future completes when every earlier request that had to be waited
    /// for has ended; the guard, if `others_wait`, makes later ones wait for this one.
    pub(crate) fn take_turn(
        &self,
        others_wait: bool,
    ) -> (impl Future<Output = ()> + use<>, Option<TurnGuard>) {
        let mut last = self.last_turn.lock();
        let before = last.clone();
        let own = others_wait.then(|| {
            let turn = Arc::new(Turn::default());
            *last = Some(Arc::clone(&turn));
            TurnGuard(turn)
        });
        let wait = async move {
            if let Some(before) = before {
                poll_fn(|context| before.poll_ended(context.waker())).await;
            }
        };
        (wait, own)
    }
}

/// One request that later ones wait for.
#[derive(Debug, Default)]
struct Turn(Mutex<TurnState>);

#[derive(Debug, Default)]
struct TurnState {
    ended: bool,
    waiting: Vec<Waker>,
}

impl Turn {
    fn poll_ended(&self, waker: &Waker) -> Poll<()> {
        let mut state = self.0.lock();
        if state.ended {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|known| known.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }
}

/// Ends a turn when it is dropped: the request was answered, or nobody wants it any more.
#[derive(Debug)]
pub(crate) struct TurnGuard(Arc<Turn>);

impl Drop for TurnGuard {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.0.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}
