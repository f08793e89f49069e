//! The links between the nodes of a cluster: who connects to whom, and what keeps it standing.
//!
//! Per peer there is one control connection for requests and their replies, and one stream per
//! purpose that somebody wants, each opened by the side that asks and opened again for ever, after
//! 50 ms to 2 s. A connection begins with a hello that names cluster, sender and expected receiver,
//! so that an address which was given to another node never gets this one's traffic.
//!
//! Not here: what a request or a stream's frame means; that is the [`PeerService`]'s and its
//! [`PeerStream`]s' ([`Following`] and [`Leading`] are a replicator's). The metadata quorum's
//! messages travel as requests. What always holds:
//!
//! - reading from a connection never waits for writing to it;
//! - a malformed frame, or one with a wrong checksum, ends its connection, and is counted;
//! - queues, frames and times are bounded ([`PeerConfig`]);
//! - a connection that ends is followed at once by an attempt to make another, and if that is
//!   refused, the process at the other end is gone: [`PeerService::suspect`].

mod accept;
mod broker;
mod config;
mod control;
mod counters;
mod cut;
mod dial;
mod frame;
mod quorum;
mod replication;
mod shared;
mod socket;
mod stream;
mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

pub use config::PeerConfig;
pub use counters::PeerCounters;
pub use cut::Way;
pub use replication::{Following, Leading};
pub use shared::Identity;
pub use words::{DeniedReason, Identified, PeerError};

/// What a connection is for.
pub use plimsoll_wire::peer::Purpose;

use crate::listener::Listener;
use control::Call;
use shared::{Peer, Shared, lock};

/// Who is at the other end of an accepted connection, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The node.
    pub node: NodeId,
    /// Its registration, if it has one.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Where it called from.
    pub address: SocketAddr,
}

/// A frame that a stream sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What the link's checksum covers.
    pub head: Bytes,
    /// Record bytes, which have checksums of their own and are not copied.
    pub tail: Vec<Bytes>,
}

/// One end of a stream.
pub trait PeerStream: Send {
    /// Takes a frame that came. It must not block for long.
    ///
    /// # Errors
    /// Why the connection has to end.
    fn receive(&mut self, head: Bytes, tail: Bytes, now: Monotonic) -> Result<(), String>;

    /// Adds frames to be sent. When it adds none, the task is woken once there may be some.
    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        frames: &mut Vec<Outgoing>,
    ) -> Poll<()>;

    /// When to ask for frames again, even if nothing wakes the task before.
    fn deadline(&self) -> Option<Monotonic> {
        None
    }

    /// The connection has ended.
    fn closed(&mut self, now: Monotonic);
}

/// What the links serve.
#[async_trait]
pub trait PeerService: Send + Sync + 'static {
    /// Answers a request.
    async fn answer(&self, caller: &Caller, request: Bytes) -> Bytes;

    /// This node's end of a stream that another node opens.
    ///
    /// # Errors
    /// Why it cannot be opened now, in words for the other node's log.
    fn accept_stream(
        &self,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Box<dyn PeerStream>, String>;

    /// This node's end of a stream that it opens; `None` if it is not wanted any more.
    fn open_stream(&self, to: NodeId, purpose: Purpose) -> Option<Box<dyn PeerStream>>;

    /// The process of `node` is gone: its connection ended, and a new one, begun at `asked` on the
    /// clock of [`TokioClock`](crate::TokioClock), was refused. Told again at each attempt. Must
    /// not block.
    fn suspect(&self, node: NodeId, asked: Monotonic);

    /// The connection to `node` stands. Must not block.
    fn found(&self, node: NodeId) {
        let _ = node;
    }

    /// The connection to `node` was closed, or broke. Must not block.
    fn lost(&self, node: NodeId) {
        let _ = node;
    }

    /// The process of `node` says nothing any more, and may be gone or not. Must not block.
    fn silent(&self, node: NodeId) {
        let _ = node;
    }
}

/// A node's links to all others. Ends them when dropped.
pub struct PeerNetwork {
    shared: Arc<Shared>,
    runtime: Handle,
    address: SocketAddr,
    accepting: Mutex<AbortHandle>,
}

impl std::fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerNetwork")
            .field("me", &self.shared.me)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl PeerNetwork {
    /// Accepts other nodes on `listener`, on the threads of `runtime`.
    ///
    /// # Errors
    /// When the runtime cannot take the socket over.
    pub fn start(
        me: NodeId,
        identity: Identity,
        listener: Listener,
        config: PeerConfig,
        service: Arc<dyn PeerService>,
        runtime: Handle,
    ) -> io::Result<Arc<Self>> {
        let (socket, address) = listener.into_socket();
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(socket)?
        };
        let shared = Arc::new(Shared {
            me,
            config,
            counters: Arc::default(),
            service,
            cuts: cut::Cuts::default(),
            identity: Mutex::new(identity),
            peers: Mutex::default(),
            streams: Mutex::default(),
            accepted: Mutex::default(),
            registered: Mutex::default(),
            denials: crate::repeated::Repeated::default(),
        });
        let accepting = runtime.spawn(accept::run(Arc::clone(&shared), listener));
        Ok(Arc::new(Self {
            shared,
            runtime,
            address,
            accepting: Mutex::new(accepting.abort_handle()),
        }))
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The threads that the links run on.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<PeerCounters> {
        &self.shared.counters
    }

    /// Changes what this node says of itself, for connections made from now on.
    pub fn identify_as(&self, change: impl FnOnce(&mut Identity)) {
        change(&mut lock(&self.shared.identity));
    }

    /// Where these nodes live. Connections to those that moved are made anew; nodes that are not
    /// named stay as they are.
    pub fn set_addresses(&self, addresses: impl IntoIterator<Item = (NodeId, String)>) {
        let mut peers = lock(&self.shared.peers);
        for (node, address) in addresses {
            if node == self.shared.me {
                continue;
            }
            match peers.get(&node) {
                Some(peer) => {
                    peer.address.send_if_modified(|old| {
                        let has_moved = *old != address;
                        *old = address;
                        has_moved
                    });
                }
                None => {
                    peers.insert(node, self.link(node, address));
                }
            }
        }
    }

    /// Where a node lives, as far as nobody knew before.
    pub(crate) fn introduce(&self, node: NodeId, address: &str) {
        if node != self.shared.me && !lock(&self.shared.peers).contains_key(&node) {
            self.set_addresses([(node, address.to_owned())]);
        }
    }

    fn link(&self, node: NodeId, address: String) -> Peer {
        let (address, at) = watch::channel(address);
        let (calls, waiting) = mpsc::channel(self.shared.config.max_pending_calls);
        let kick = Arc::new(Notify::new());
        let shared = Arc::clone(&self.shared);
        let run = control::run(shared, node, at, waiting, Arc::clone(&kick));
        Peer {
            address,
            calls,
            kick,
            task: self.runtime.spawn(run).abort_handle(),
        }
    }

    /// Ends the links to a node that has left the cluster.
    pub fn forget(&self, node: NodeId) {
        lock(&self.shared.streams).retain(|(peer, _), stream| {
            let stays = *peer != node;
            if !stays {
                stream.abort();
            }
            stays
        });
        if let Some(peer) = lock(&self.shared.peers).remove(&node) {
            peer.task.abort();
        }
    }

    /// The streams that this node wants to have open; others are closed. A node whose address is
    /// not known yet gets its streams at the next call.
    pub fn want_streams(&self, wanted: &[(NodeId, Purpose)]) {
        let peers = lock(&self.shared.peers);
        let mut streams = lock(&self.shared.streams);
        streams.retain(|key, stream| {
            let stays = wanted.contains(key);
            if !stays {
                stream.abort();
            }
            stays
        });
        for (node, purpose) in wanted.iter().copied() {
            let Some(peer) = peers.get(&node) else {
                continue;
            };
            streams.entry((node, purpose)).or_insert_with(|| {
                let (at, kick) = (peer.address.subscribe(), Arc::clone(&peer.kick));
                let run = stream::run(Arc::clone(&self.shared), node, purpose, at, kick);
                self.runtime.spawn(run).abort_handle()
            });
        }
    }

    /// Asks a node and waits for its answer, on any runtime or none.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call(
        &self,
        to: NodeId,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        self.check_size(&request)?;
        let (reply, answer) = oneshot::channel();
        {
            let peers = lock(&self.shared.peers);
            let peer = peers.get(&to).ok_or(PeerError::Unknown)?;
            let call = Call { request, reply };
            peer.calls.try_send(call).map_err(|_| PeerError::Busy)?;
        }
        self.within(timeout, async {
            answer.await.unwrap_or(Err(PeerError::Lost))
        })
        .await
    }

    /// Asks whoever lives at `address`, on a connection of its own.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call_address(
        &self,
        address: &str,
        expects: Option<NodeId>,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        self.check_size(&request)?;
        let (shared, address) = (Arc::clone(&self.shared), address.to_owned());
        // On our runtime, because the caller may not be on one.
        let call = self
            .runtime
            .spawn(async move { control::call_once(&shared, &address, expects, request).await });
        let _abort = AbortOnDrop(call.abort_handle());
        self.within(timeout, async {
            call.await.unwrap_or(Err(PeerError::Lost))
        })
        .await
    }

    /// Asks whoever lives at `address` who it is and which cluster's.
    ///
    /// # Errors
    /// See [`PeerError`]; a node of another cluster is [`PeerError::Unreachable`], in words.
    pub async fn identify(
        &self,
        address: &str,
        expects: Option<NodeId>,
        timeout: Duration,
    ) -> Result<Identified, PeerError> {
        let (shared, address) = (Arc::clone(&self.shared), address.to_owned());
        let dialled = self.runtime.spawn(async move {
            let dialled = dial::dial(&shared, &address, expects, Purpose::Control).await;
            dialled
                .map(|(_, welcome)| Identified {
                    node: welcome.node,
                    cluster_id: welcome.cluster_id,
                    has_metadata: welcome.has_metadata,
                })
                .map_err(|error| PeerError::Unreachable {
                    why: error.to_string(),
                })
        });
        let _abort = AbortOnDrop(dialled.abort_handle());
        self.within(timeout, async {
            dialled.await.unwrap_or(Err(PeerError::Lost))
        })
        .await
    }

    fn check_size(&self, request: &Bytes) -> Result<(), PeerError> {
        const ROOM_FOR_PREFIX: usize = 64;
        let max = usize::try_from(self.shared.config.max_control_frame).unwrap_or(usize::MAX);
        if request.len().saturating_add(ROOM_FOR_PREFIX) > max {
            let bytes = request.len();
            return Err(PeerError::TooLarge { bytes });
        }
        Ok(())
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        let deadline = {
            let _guard = self.runtime.enter();
            tokio::time::sleep(timeout)
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = deadline => Err(PeerError::Timeout(timeout)),
        }
    }

    /// Lets nothing through to or from `node`, one way or both, until [`PeerNetwork::heal`]. For
    /// experiments.
    pub fn cut(&self, node: NodeId, way: Way) {
        self.shared.cuts.cut(node, way);
    }

    /// Ends a cut.
    pub fn heal(&self, node: NodeId) {
        self.shared.cuts.heal(node);
        self.shared.kick(node);
    }

    /// Ends every link and listens no more.
    pub fn shutdown(&self) {
        lock(&self.accepting).abort();
        for stream in std::mem::take(&mut *lock(&self.shared.streams)).values() {
            stream.abort();
        }
        for peer in std::mem::take(&mut *lock(&self.shared.peers)).values() {
            peer.task.abort();
        }
    }
}

impl Drop for PeerNetwork {
    fn drop(&mut self) {
        self.shutdown();
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
