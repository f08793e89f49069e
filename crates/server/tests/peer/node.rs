//! A node that is nothing but its links.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_server::peer::{
    Caller, Identity, Outgoing, PeerConfig, PeerNetwork, PeerService, PeerStream, Purpose,
};
use plimsoll_server::{Listener, SocketConfig};
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId};
use tokio::runtime::Handle;

pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) fn id(value: u32) -> NodeId {
    NodeId::new(value).unwrap()
}

pub(crate) fn config() -> PeerConfig {
    PeerConfig {
        sockets: SocketConfig {
            backlog: 64,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            keepalive_after: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(1),
            user_timeout: Duration::from_secs(5),
        },
        connect_timeout: Duration::from_millis(500),
        hello_timeout: Duration::from_millis(500),
        min_retry: Duration::from_millis(20),
        max_retry: Duration::from_millis(200),
        denied_retry: Duration::from_millis(400),
        beat: Duration::from_millis(50),
        min_silence: Duration::from_millis(400),
        max_silence: Duration::from_millis(1500),
        max_write_stall: Duration::from_millis(1500),
        max_accepted: 64,
        max_strangers: 8,
        max_pending_calls: 32,
        max_inflight_requests: 4,
        max_control_frame: 8 << 20,
        max_stream_frame: 1 << 20,
        max_queued_bytes: 256 << 10,
        max_queued_reply_bytes: 16 << 20,
    }
}

/// What happened to a stream, and what it is to send.
#[derive(Debug, Default)]
pub(crate) struct StreamLog {
    pub(crate) received: Vec<(Bytes, Bytes)>,
    pub(crate) to_send: VecDeque<Outgoing>,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
pub(crate) struct Stub {
    pub(crate) suspected: Mutex<Vec<NodeId>>,
    pub(crate) streams: Arc<Mutex<StreamLog>>,
    pub(crate) answered: AtomicU64,
    /// Of whom streams were accepted.
    pub(crate) callers: Mutex<Vec<Option<BrokerEpoch>>>,
}

impl Stub {
    pub(crate) fn send(&self, head: &'static [u8], tail: &'static [u8]) {
        let mut log = self.streams.lock().unwrap();
        log.to_send.push_back(Outgoing {
            head: Bytes::from_static(head),
            tail: vec![Bytes::from_static(tail)],
        });
        if let Some(waker) = log.waker.take() {
            waker.wake();
        }
    }

    fn stream(&self) -> Box<dyn PeerStream> {
        self.streams.lock().unwrap().opened += 1;
        Box::new(Engine(Arc::clone(&self.streams)))
    }
}

struct Engine(Arc<Mutex<StreamLog>>);

impl PeerStream for Engine {
    fn receive(&mut self, head: Bytes, tail: Bytes, _: Monotonic) -> Result<(), String> {
        if head == "poison" {
            return Err("poisoned".to_owned());
        }
        self.0.lock().unwrap().received.push((head, tail));
        Ok(())
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        _: Monotonic,
        frames: &mut Vec<Outgoing>,
    ) -> Poll<()> {
        let mut log = self.0.lock().unwrap();
        log.waker = Some(cx.waker().clone());
        match log.to_send.pop_front() {
            Some(frame) => {
                frames.push(frame);
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }

    fn closed(&mut self, _: Monotonic) {
        self.0.lock().unwrap().closed += 1;
    }
}

#[async_trait]
impl PeerService for Stub {
    async fn answer(&self, caller: &Caller, request: Bytes) -> Bytes {
        self.answered.fetch_add(1, Ordering::Relaxed);
        match &request[..] {
            b"never" => std::future::pending().await,
            b"who" => Bytes::from(caller.node.to_string()),
            _ => request,
        }
    }

    fn accept_stream(&self, caller: &Caller, _: Purpose) -> Result<Box<dyn PeerStream>, String> {
        self.callers.lock().unwrap().push(caller.broker_epoch);
        Ok(self.stream())
    }

    fn open_stream(&self, _: NodeId, _: Purpose) -> Option<Box<dyn PeerStream>> {
        Some(self.stream())
    }

    fn suspect(&self, node: NodeId, _: Monotonic) {
        self.suspected.lock().unwrap().push(node);
    }
}

pub(crate) struct Node {
    pub(crate) network: Arc<PeerNetwork>,
    pub(crate) service: Arc<Stub>,
}

impl Node {
    pub(crate) fn start(node: u32, cluster: Option<&str>) -> Self {
        Self::start_at(node, cluster, "127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_at(node: u32, cluster: Option<&str>, at: SocketAddr) -> Self {
        let service = Arc::new(Stub::default());
        let identity = Identity {
            cluster_id: cluster.map(str::to_owned),
            broker_epoch: Some(BrokerEpoch(1)),
            has_metadata: node == 1,
        };
        let network = PeerNetwork::start(
            id(node),
            identity,
            Listener::bind(at, config().sockets).unwrap(),
            config(),
            Arc::clone(&service) as Arc<dyn PeerService>,
            Handle::current(),
        );
        Self {
            network: network.unwrap(),
            service,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.network.address().to_string()
    }

    /// Tells it where `other` lives, under the number `as_node`.
    pub(crate) fn knows(&self, as_node: u32, other: &Self) {
        self.network.set_addresses([(id(as_node), other.address())]);
    }

    pub(crate) async fn ask(&self, node: u32, request: &'static str) -> Result<Bytes, String> {
        let call = self.network.call(id(node), request.into(), SOON).await;
        call.map_err(|error| error.to_string())
    }

    /// Asks until there is an answer.
    pub(crate) async fn reaches(&self, node: u32) {
        eventually(|| async { self.ask(node, "x").await.is_ok() }).await;
    }
}

/// Two nodes of one cluster that know each other.
pub(crate) fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(1, Some("c")), Node::start(2, Some("c")));
    one.knows(2, &two);
    two.knows(1, &one);
    (one, two)
}

/// Waits until `check` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(check: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !check().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never came to be"
        );
        looks.tick().await;
    }
}
