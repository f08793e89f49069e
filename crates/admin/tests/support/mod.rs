//! A node's HTTP side on a socket of its own, and a client of few words.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses its own part of this"
)]

pub mod cluster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_admin::{Admin, Bounds, Build, serve};
use plimsoll_broker::{
    Advertised, Answer, Broker, BrokerConfig, Clock, Connection, DataDir, GroupConfig, Machine,
    NodeIdentity, Workers,
};
use plimsoll_controller::{Limits, NodeDefaults};
use plimsoll_types::{Monotonic, NodeId, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A clock that stands still until a test moves it.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    async fn sleep_until(&self, _at: Monotonic) {
        std::future::pending::<()>().await;
    }
}

struct Inline;

#[async_trait::async_trait]
impl Workers for Inline {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

pub struct Node {
    pub admin: Arc<Admin>,
    pub clock: Arc<ManualClock>,
    pub address: SocketAddr,
    pub data: Arc<DataDir>,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

impl Node {
    pub async fn start() -> Self {
        Self::within(Bounds::default()).await
    }

    pub async fn within(bounds: Bounds) -> Self {
        let clock = Arc::new(ManualClock::default());
        let build = Build {
            version: "1.2.3",
            commit: None,
        };
        let admin = Admin::new(build, clock.clone(), true);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(serve(admin.clone(), listener, bounds, stopped));
        let dir = TempDir::new().expect("a directory");
        let identity = NodeIdentity {
            cluster_id: "test-cluster".to_owned(),
            node_id: NodeId::new(1).expect("in range"),
        };
        let data = Arc::new(DataDir::open(dir.path(), &identity).expect("a new directory"));
        Self {
            admin,
            clock,
            address,
            data,
            dir,
            stop: Some(stop),
            serving,
        }
    }

    pub fn open_broker(&self) -> Arc<Broker> {
        self.open_broker_with(config())
    }

    pub fn open_broker_with(&self, config: BrokerConfig) -> Arc<Broker> {
        let workers = Arc::new(Inline);
        let machine = Machine::new(self.clock.clone(), workers, 1).expect("a thread");
        Broker::open(config, &self.data, machine).expect("opens")
    }

    /// A node that takes traffic, with one topic of two partitions.
    pub async fn ready(self) -> Self {
        let broker = self.open_broker();
        broker.recover();
        self.create_topic(&broker, "t", 2).await;
        self.admin.attach(broker);
        self.admin.set_accepting(true);
        self
    }

    pub async fn create_topic(&self, broker: &Arc<Broker>, name: &str, partitions: i32) {
        let connection = Arc::new(Connection::new(1, self.address));
        let frame = create_topic_frame(name, partitions);
        let answer = broker.answer(&connection, frame.into()).await;
        assert!(matches!(answer, Answer::Reply(_)));
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path).await
    }

    pub async fn ask(&self, method: &str, path: &str) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        ask_on(&mut stream, method, path).await
    }

    /// Gives an order, with these header lines.
    pub async fn order(&self, path: &str, headers: &str) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
        );
        exchange(&mut stream, &request).await
    }

    /// Ends the serving and returns once it has ended.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.expect("no panic").expect("no error");
    }
}

pub async fn ask_on(stream: &mut TcpStream, method: &str, path: &str) -> Answered {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    exchange(stream, &request).await
}

async fn exchange(stream: &mut TcpStream, request: &str) -> Answered {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answered {
        status: status.expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// CreateTopics in version 2, written by hand: this crate does not use the one that writes it.
fn create_topic_frame(name: &str, partitions: i32) -> Vec<u8> {
    let mut frame = Vec::new();
    let (api, version, correlation, no_client) = (19_i16, 2_i16, 7_i32, -1_i16);
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend(no_client.to_be_bytes());
    frame.extend(1_i32.to_be_bytes());
    let length = i16::try_from(name.len()).expect("short");
    frame.extend(length.to_be_bytes());
    frame.extend(name.as_bytes());
    frame.extend(partitions.to_be_bytes());
    let (replicas, assignments, configs) = (1_i16, 0_i32, 0_i32);
    frame.extend(replicas.to_be_bytes());
    frame.extend(assignments.to_be_bytes());
    frame.extend(configs.to_be_bytes());
    let (timeout_ms, validate_only) = (60_000_i32, 0_u8);
    frame.extend(timeout_ms.to_be_bytes());
    frame.push(validate_only);
    frame
}

pub fn config() -> BrokerConfig {
    BrokerConfig {
        node: NodeId::new(1).expect("in range"),
        cluster_id: "test-cluster".to_owned(),
        rack: None,
        advertised: Advertised {
            host: "127.0.0.1".to_owned(),
            port: 9092,
        },
        topic_defaults: NodeDefaults::default(),
        limits: Limits {
            default_partitions: 1,
            default_replication: 1,
            max_partitions_per_node: 100,
        },
        auto_create_topics: true,
        fetch_max_bytes: 1 << 20,
        max_decompressed_bytes: 64 << 20,
        groups: GroupConfig {
            offsets_partitions: 1,
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            max_members: 100,
            max_offset_metadata_bytes: 4096,
            offsets_retention: Duration::from_secs(3600),
        },
        producer_id_expiration: Duration::from_secs(86_400),
        max_open_segments: 100,
        disk_reserve_bytes: 0,
        scrub_bytes_per_second: 1 << 20,
        scrub_interval: Duration::from_secs(3600),
        cluster: plimsoll_broker::ClusterConfig::agreed(),
        flush_threads: 1,
        recovery_threads: 1,
        settings: Vec::new(),
    }
}
