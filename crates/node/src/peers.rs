//! The node's side of its links to other nodes: the port, the threads, and who answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_broker::Broker;
use plimsoll_cli::{Code, Failure};
use plimsoll_quorum::raft::Quorum;
use plimsoll_replicator::Replicas;
use plimsoll_server::peer::{
    Caller, Following, Identity, Leading, PeerConfig, PeerNetwork, PeerService, PeerStream, Purpose,
};
use plimsoll_server::{Listener, SocketConfig, TokioClock};
use plimsoll_types::{Monotonic, NodeId};
use plimsoll_wire::peer::{self as message, FailureCode, Reply, Request};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::address;
use crate::config::Config;
use crate::http::cannot_listen;

/// What the threads are called; see `panics`.
pub(crate) const PEER_THREAD: &str = "plimsoll-peer";
/// Threads of their own, so that replication and heartbeats do not wait behind clients' requests.
const THREADS: usize = 2;
/// Threads for what the cluster's upkeep waits for.
const BLOCKING_THREADS: usize = 16;
/// How often is looked whether streams are as wanted, if nobody says so.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Where the metadata log lies in the data directory.
pub(crate) const METADATA_DIR: &str = "metadata";

/// The times and limits of peer links.
const LINKS: PeerConfig = PeerConfig {
    sockets: SocketConfig {
        backlog: 256,
        send_buffer_bytes: None,
        receive_buffer_bytes: None,
        keepalive_after: Duration::from_secs(5),
        keepalive_interval: Duration::from_secs(1),
        // A peer that is alive takes bytes at once; silence ends a link long before this.
        user_timeout: Duration::from_secs(5),
    },
    connect_timeout: Duration::from_secs(1),
    hello_timeout: Duration::from_secs(2),
    min_retry: Duration::from_millis(50),
    max_retry: Duration::from_secs(2),
    denied_retry: Duration::from_secs(5),
    beat: Duration::from_millis(100),
    // Three beats would be enough on a quiet machine; a link's rhythm raises it on a busy one.
    min_silence: Duration::from_millis(500),
    max_silence: Duration::from_secs(3),
    max_write_stall: Duration::from_secs(3),
    max_accepted: 1024,
    max_strangers: 64,
    max_pending_calls: 1024,
    max_inflight_requests: 256,
    max_control_frame: 96 << 20,
    max_stream_frame: 4 << 20,
    max_queued_bytes: 1 << 20,
    max_queued_reply_bytes: 128 << 20,
};

/// The peer port and its threads. Dropping it cuts every link.
pub(crate) struct Peers {
    network: Arc<PeerNetwork>,
    service: Arc<Service>,
    may_have_metadata: bool,
    /// Ended without waiting: what runs there may be about to block.
    runtime: Option<Runtime>,
}

impl Peers {
    /// Opens the port and begins to answer who this is. `cluster_id` is what the directory says.
    pub(crate) async fn open(config: &Config, cluster_id: Option<String>) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| {
            Failure::new(
                Code::Start,
                format!("the peer port does not start: {error}"),
            )
        };
        let listener = bind(config).await?;
        let may_have_metadata =
            holds_anything(&config.data_dir.join(METADATA_DIR)).map_err(fail)?;
        let identity = Identity {
            cluster_id: cluster_id.clone(),
            broker_epoch: None,
            has_metadata: may_have_metadata,
        };
        let service = Arc::new(Service {
            me: config.node,
            state: Mutex::new(State {
                cluster_id,
                // What a log that may be empty holds is told once it was read.
                has_metadata: (!may_have_metadata).then_some(false),
            }),
            quorum: OnceLock::new(),
            broker: OnceLock::new(),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name(PEER_THREAD)
            .enable_all()
            .build()
            .map_err(fail)?;
        let network = PeerNetwork::start(
            config.node,
            identity,
            listener,
            LINKS,
            Arc::clone(&service) as Arc<dyn PeerService>,
            runtime.handle().clone(),
        )
        .map_err(fail)?;
        Ok(Self {
            network,
            service,
            may_have_metadata,
            runtime: Some(runtime),
        })
    }

    /// The links.
    pub(crate) fn network(&self) -> &Arc<PeerNetwork> {
        &self.network
    }

    /// Whether the directory has files of a metadata log.
    pub(crate) fn may_have_metadata(&self) -> bool {
        self.may_have_metadata
    }

    /// The cluster is known, durably.
    pub(crate) fn belongs_to(&self, cluster_id: &str) {
        self.service.lock().cluster_id = Some(cluster_id.to_owned());
        self.network
            .identify_as(|identity| identity.cluster_id = Some(cluster_id.to_owned()));
    }

    /// The metadata log was read, and there is a quorum to take part in.
    pub(crate) fn attach_quorum(&self, quorum: &Quorum) {
        // The first one stands: a node has one from its start to its end.
        drop(self.service.quorum.set(quorum.clone()));
        let status = quorum.status();
        let others = status.voters.into_iter().chain(status.learners);
        self.network.set_addresses(others);
    }

    /// There is a broker.
    pub(crate) fn attach(&self, broker: &Arc<Broker>) {
        drop(self.service.broker.set(Arc::clone(broker)));
        if self.service.quorum.get().is_none() {
            self.service.lock().has_metadata = Some(broker.image().version() > 0);
        }
    }

    /// The broker has registered.
    pub(crate) fn registered(&self, broker: &Broker) {
        self.network
            .identify_as(|identity| identity.has_metadata = true);
        if let Some(replicas) = broker.replicas() {
            let (network, replicas) = (Arc::downgrade(&self.network), Arc::clone(replicas));
            drop(self.spawn(keep_streams(network, replicas)));
        }
    }

    /// Runs something beside the links, where clients cannot get in its way.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.network.runtime().spawn(work)
    }

    /// Ends every link.
    pub(crate) fn close(self) {
        self.network.shutdown();
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.network.shutdown();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Keeps those streams open that the replicas want, for as long as there are links.
async fn keep_streams(network: Weak<PeerNetwork>, replicas: Arc<Replicas>) {
    loop {
        let wanted = replicas.wanted_links();
        match network.upgrade() {
            Some(network) => network.want_streams(&wanted),
            None => return,
        }
        // Now and then in any case: a node's address may have become known since.
        let _ = tokio::time::timeout(LOOK_AGAIN, replicas.wanted_changed()).await;
    }
}

/// Binds the peer port. A node that is alone, and whose port nobody chose, takes a free one when
/// the usual is taken: several such nodes on a machine are a common way to try things.
async fn bind(config: &Config) -> Result<Listener, Failure> {
    let address = address::resolve("peer.listen", &config.peer_listen).await?;
    let bind = |address: SocketAddr| Listener::bind(address, LINKS.sockets);
    let bound = match bind(address) {
        Err(error) if !config.peer_listen_is_set => {
            let free = (Ipv4Addr::LOCALHOST, 0).into();
            warn!(event = "peer_port_taken", %address, why = %error.source, "took a free one");
            bind(free)
        }
        bound => bound,
    };
    bound.map_err(|error| {
        cannot_listen("peer.listen", "--peer-listen", error.address, &error.source)
    })
}

fn holds_anything(dir: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What other nodes are answered.
struct Service {
    me: NodeId,
    state: Mutex<State>,
    quorum: OnceLock<Quorum>,
    broker: OnceLock<Arc<Broker>>,
}

struct State {
    cluster_id: Option<String>,
    /// Not known before the metadata log was read.
    has_metadata: Option<bool>,
}

impl Service {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identify(&self) -> Reply {
        let state = self.lock();
        let log = self
            .quorum
            .get()
            .map(|quorum| quorum.status().last_index > 0);
        match log.or(state.has_metadata) {
            Some(has_metadata) => Reply::Identity(message::Identity {
                cluster_id: state.cluster_id.clone(),
                node: self.me,
                has_metadata,
            }),
            None => not_ready("the metadata log is being read"),
        }
    }

    fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.broker.get()?.replicas()
    }

    async fn reply(&self, caller: &Caller, request: Request) -> Reply {
        match request {
            Request::Identify => self.identify(),
            Request::Probe => Reply::Alive,
            Request::Quorum(message) => match self.quorum.get() {
                Some(quorum) => Reply::Quorum(quorum.handle(message).await),
                None => not_ready("the metadata log is not open"),
            },
            request => match self.broker.get() {
                Some(broker) => broker.answer_peer(caller.node, request).await,
                None => not_ready("the node is starting"),
            },
        }
    }
}

fn not_ready(why: &str) -> Reply {
    Reply::failed(FailureCode::NotReady, why)
}

#[async_trait]
impl PeerService for Service {
    async fn answer(&self, caller: &Caller, request: Bytes) -> Bytes {
        let reply = match Request::decode(request) {
            Ok(request) => self.reply(caller, request).await,
            Err(error) => Reply::failed(FailureCode::Unsupported, error.to_string()),
        };
        reply.encode()
    }

    fn accept_stream(
        &self,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Box<dyn PeerStream>, String> {
        let replicas = self.replicas().ok_or("the node is starting")?;
        let epoch = caller.broker_epoch.ok_or("the caller has not registered")?;
        let now = TokioClock::monotonic();
        let link = replicas.lead_link(caller.node, epoch, purpose, now);
        Ok(Box::new(Leading::new(link)))
    }

    fn open_stream(&self, to: NodeId, purpose: Purpose) -> Option<Box<dyn PeerStream>> {
        let now = TokioClock::monotonic();
        let link = self.replicas()?.follow_link(to, purpose, now);
        Some(Box::new(Following::new(link)))
    }

    fn suspect(&self, node: NodeId, asked: Monotonic) {
        if let Some(broker) = self.broker.get() {
            broker.suspect(node, asked);
        }
    }

    fn found(&self, node: NodeId) {
        if let Some(broker) = self.broker.get() {
            broker.found(node);
        }
    }

    fn lost(&self, node: NodeId) {
        if let Some(broker) = self.broker.get() {
            broker.lost(node);
        }
    }

    fn silent(&self, node: NodeId) {
        if let Some(broker) = self.broker.get() {
            broker.misses(node);
        }
    }
}
