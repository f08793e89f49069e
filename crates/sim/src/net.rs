//! The network between nodes: messages take time, and ways may be cut, one direction at a time.
//!
//! Always: what one node sends another on one way arrives in the order of sending, or, from some
//! moment on, not at all; a process that is gone refuses, a way that is cut says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use plimsoll_broker::{Broker, PeerError, Peers};
use plimsoll_types::NodeId;
use plimsoll_wire::peer::{Reply, Request};

use crate::kernel::{Kernel, Owner};

/// A process that is up.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) owner: Owner,
    pub(crate) broker: Arc<Broker>,
}

/// Which messages keep their order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Connections have numbers.
    pub(crate) connection: u64,
}

/// See the module.
pub(crate) struct Net {
    pub(crate) kernel: Arc<Kernel>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    processes: BTreeMap<u32, Process>,
    /// Ways on which nothing arrives.
    cut: BTreeSet<(u32, u32)>,
    /// Ways on which everything takes longer.
    slow: BTreeMap<(u32, u32), Duration>,
    last_arrival: BTreeMap<Way, Duration>,
    next_connection: u64,
}

const LEAST_DELAY: Duration = Duration::from_micros(50);
const MOST_DELAY: Duration = Duration::from_millis(2);

impl Net {
    pub(crate) fn new(kernel: &Arc<Kernel>) -> Arc<Self> {
        Arc::new(Self {
            kernel: Arc::clone(kernel),
            state: Mutex::default(),
        })
    }

    pub(crate) fn put(&self, node: u32, process: Process) {
        self.state.lock().processes.insert(node, process);
    }

    pub(crate) fn take(&self, node: u32) -> Option<Process> {
        self.state.lock().processes.remove(&node)
    }

    /// The process of a node that is up; it may be paused.
    pub(crate) fn process(&self, node: u32) -> Option<Process> {
        self.state.lock().processes.get(&node).cloned()
    }

    pub(crate) fn processes(&self) -> Vec<(u32, Process)> {
        let state = self.state.lock();
        let all = state.processes.iter();
        all.map(|(node, process)| (*node, process.clone()))
            .collect()
    }

    /// Whether messages get from one node to another.
    pub(crate) fn is_open(&self, from: u32, to: u32) -> bool {
        !self.state.lock().cut.contains(&(from, to))
    }

    pub(crate) fn cut(&self, from: u32, to: u32) {
        self.state.lock().cut.insert((from, to));
    }

    pub(crate) fn slow(&self, from: u32, to: u32, by: Duration) {
        self.state.lock().slow.insert((from, to), by);
    }

    /// All ways are open and quick again.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.slow.clear();
    }

    pub(crate) fn connection(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_connection += 1;
        state.next_connection
    }

    /// How long a message takes now.
    pub(crate) fn delay(&self, from: u32, to: u32) -> Duration {
        let slow = self.state.lock().slow.get(&(from, to)).copied();
        self.kernel.between(LEAST_DELAY, MOST_DELAY) + slow.unwrap_or_default()
    }

    /// Has `arrive` done on its arrival, as the world; false if the way is cut. What sends is
    /// killed later, but not what it sent.
    #[track_caller]
    pub(crate) fn send(&self, way: Way, arrive: impl FnOnce() + Send + 'static) -> bool {
        if !self.is_open(way.from, way.to) {
            return false;
        }
        let at = self.kernel.now() + self.delay(way.from, way.to);
        let at = {
            let mut state = self.state.lock();
            let last = state.last_arrival.entry(way).or_default();
            *last = (*last).max(at);
            *last
        };
        let wait = at.saturating_sub(self.kernel.now());
        self.kernel.after(Owner::WORLD, wait, arrive);
        true
    }

    pub(crate) fn forget(&self, connection: u64) {
        let mut state = self.state.lock();
        state
            .last_arrival
            .retain(|way, _| way.connection != connection);
    }
}

/// A node's way to the brokers of the others.
pub(crate) struct Line {
    pub(crate) me: u32,
    pub(crate) owner: Owner,
    pub(crate) net: Arc<Net>,
}

/// Where a reply arrives.
#[derive(Default)]
pub(crate) struct Mailbox<T> {
    reply: Option<T>,
    waker: Option<Waker>,
}

/// A place for one reply.
pub(crate) type Slot<T> = Arc<Mutex<Mailbox<T>>>;

pub(crate) fn slot<T>() -> Slot<T> {
    Arc::new(Mutex::new(Mailbox {
        reply: None,
        waker: None,
    }))
}

pub(crate) fn fill<T>(slot: &Slot<T>, reply: T) {
    let waker = {
        let mut mailbox = slot.lock();
        mailbox.reply = Some(reply);
        mailbox.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What comes into `slot` before the time is over.
pub(crate) async fn await_reply<T>(
    kernel: &Arc<Kernel>,
    slot: &Slot<T>,
    timeout: Duration,
) -> Option<T> {
    let mut sleep = pin!(kernel.sleep(timeout));
    std::future::poll_fn(|cx| {
        {
            let mut mailbox = slot.lock();
            if let Some(reply) = mailbox.reply.take() {
                return Poll::Ready(Some(reply));
            }
            mailbox.waker = Some(cx.waker().clone());
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[async_trait]
impl Peers for Line {
    async fn call(
        &self,
        to: NodeId,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, PeerError> {
        let to = to.get();
        let (me, net) = (self.me, Arc::clone(&self.net));
        let kernel = Arc::clone(&net.kernel);
        let slot: Slot<Result<Reply, PeerError>> = slot();
        let connection = net.connection();
        let way = |from, to| Way {
            from,
            to,
            connection,
        };
        let (there, back) = (way(me, to), way(to, me));
        let (told, caller) = (Arc::clone(&slot), self.owner);
        let carrier = Arc::clone(&net);
        net.send(there, move || {
            let Some(process) = carrier.process(to) else {
                let refused = PeerError::Unreachable("connection refused".to_owned());
                let told = Arc::clone(&told);
                carrier.send(back, move || fill(&told, Err(refused)));
                return;
            };
            let net = Arc::clone(&carrier);
            let from = NodeId::new(me).expect("nodes have ids");
            carrier.kernel.spawn(process.owner, async move {
                let reply = process.broker.answer_peer(from, request).await;
                if net.kernel.is_alive(caller) {
                    net.send(back, move || fill(&told, Ok(reply)));
                }
            });
        });
        let reply = await_reply(&kernel, &slot, timeout).await;
        net.forget(connection);
        reply.unwrap_or_else(|| Err(PeerError::Lost("no reply in time".to_owned())))
    }

    fn addresses(&self, _nodes: Vec<(NodeId, String)>) {}
}
