//! The node's side of its links to other nodes: the port, the threads, and who answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_broker::Broker;
use plimsoll_cli::{Code, Failure};
use plimsoll_server::peer::{
    Caller, Identity, PeerConfig, PeerNetwork, PeerService, PeerStream, Purpose,
};
use plimsoll_server::{Listener, SocketConfig};
use plimsoll_types::NodeId;
use plimsoll_wire::peer::{self as message, FailureCode, Reply, Request};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::address;
use crate::config::Config;
use crate::http::cannot_listen;

/// What the threads are called; see `panics`.
pub(crate) const PEER_THREAD: &str = "plimsoll-peer";
/// Threads of their own, so that replication and heartbeats do not wait behind clients' requests.
const THREADS: usize = 2;
/// Where the metadata log lies in the data directory.
const METADATA_DIR: &str = "metadata";

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
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(THREADS)
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

    /// There is a broker, and so a metadata log that was read.
    pub(crate) fn attach(&self, broker: &Broker) {
        let holds_any = broker.image().version() > 0;
        self.service.lock().has_metadata = Some(holds_any);
        self.network
            .identify_as(|identity| identity.has_metadata = holds_any);
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
        match state.has_metadata {
            Some(has_metadata) => Reply::Identity(message::Identity {
                cluster_id: state.cluster_id.clone(),
                node: self.me,
                has_metadata,
            }),
            None => Reply::failed(FailureCode::NotReady, "the metadata log is being read"),
        }
    }
}

#[async_trait]
impl PeerService for Service {
    async fn answer(&self, _caller: &Caller, request: Bytes) -> Bytes {
        let reply = match Request::decode(request) {
            Ok(Request::Identify) => self.identify(),
            Ok(Request::Probe) => Reply::Alive,
            Ok(_) => Reply::failed(
                FailureCode::NotReady,
                "this node is not in a cluster of several",
            ),
            Err(error) => Reply::failed(FailureCode::Unsupported, error.to_string()),
        };
        reply.encode()
    }

    fn accept_stream(
        &self,
        _caller: &Caller,
        _purpose: Purpose,
    ) -> Result<Box<dyn PeerStream>, String> {
        Err("this node has no replicas to follow".to_owned())
    }

    fn open_stream(&self, _to: NodeId, _purpose: Purpose) -> Option<Box<dyn PeerStream>> {
        None
    }

    fn suspect(&self, node: NodeId) {
        warn!(event = "peer_gone", peer = %node, "its port refuses connections");
    }
}
