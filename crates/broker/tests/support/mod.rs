//! A whole broker without sockets: frames in, frames out, on a clock that only tests move.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_broker::{
    Advertised, Answer, Broker, BrokerConfig, Clock, Connection, GroupConfig, Machine, Workers,
};
use plimsoll_controller::{Limits, NodeDefaults};
use plimsoll_record_batch::{BatchBuilder, Compression, RecordToWrite};
use plimsoll_segment_log::{DataDir, NodeIdentity};
use plimsoll_types::{Monotonic, NodeId, Offset, Timestamp};
use plimsoll_wire::{Request, Response, decode_response, encode_request};
use tempfile::TempDir;

/// A clock that stands still until a test moves it.
#[derive(Default)]
pub(crate) struct ManualClock(Mutex<ManualTime>);

#[derive(Default)]
struct ManualTime {
    now: Duration,
    sleepers: Vec<Waker>,
}

impl ManualClock {
    /// Moves time on and wakes who slept.
    pub(crate) fn advance(&self, by: Duration) {
        let sleepers = {
            let mut time = self.0.lock();
            time.now += by;
            std::mem::take(&mut time.sleepers)
        };
        sleepers.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_start(self.0.lock().now)
    }

    fn wall(&self) -> Timestamp {
        let ms = i64::try_from(self.0.lock().now.as_millis()).unwrap();
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    async fn sleep_until(&self, at: Monotonic) {
        std::future::poll_fn(|context| {
            let mut time = self.0.lock();
            if time.now >= at.since_start() {
                return Poll::Ready(());
            }
            time.sleepers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Blocking work done on the spot.
pub(crate) struct Inline;

#[async_trait]
impl Workers for Inline {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Work that waits to be let go.
#[derive(Clone, Default)]
pub(crate) struct BlockedWorkers(Arc<Mutex<Gate>>);

#[derive(Default)]
struct Gate {
    open: bool,
    waiting: Vec<Waker>,
}

impl BlockedWorkers {
    pub(crate) fn release(&self) {
        let waiting = {
            let mut gate = self.0.lock();
            gate.open = true;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl Workers for BlockedWorkers {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        std::future::poll_fn(|context| {
            let mut gate = self.0.lock();
            if gate.open {
                return Poll::Ready(());
            }
            gate.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
        work();
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A broker on a directory of its own.
pub(crate) struct Harness {
    pub(crate) broker: Arc<Broker>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) data: Arc<DataDir>,
    pub(crate) dir: Arc<TempDir>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(TempDir::new().unwrap()))
    }

    /// A broker whose blocking work is done as `workers` has it.
    pub(crate) fn with_workers(workers: Arc<dyn Workers>) -> Self {
        Self::start(Arc::new(TempDir::new().unwrap()), workers)
    }

    /// A broker on what an earlier one left.
    pub(crate) fn on(dir: Arc<TempDir>) -> Self {
        Self::start(dir, Arc::new(Inline))
    }

    fn start(dir: Arc<TempDir>, workers: Arc<dyn Workers>) -> Self {
        let harness = Self::before_recovery(dir, workers);
        harness.broker.recover();
        harness
    }

    /// A broker that has not opened its logs yet.
    pub(crate) fn before_recovery(dir: Arc<TempDir>, workers: Arc<dyn Workers>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let identity = NodeIdentity {
            cluster_id: "test-cluster".to_owned(),
            node_id: NodeId::new(1).unwrap(),
        };
        let data = Arc::new(DataDir::open(dir.path(), &identity).unwrap());
        let machine = Machine::new(clock.clone(), workers, 2).unwrap();
        let broker = Broker::open(config(), &data, machine).unwrap();
        let connection = Arc::new(Connection::new(1, "127.0.0.1:4711".parse().unwrap()));
        Self {
            broker,
            clock,
            connection,
            data,
            dir,
        }
    }

    /// Ends this broker as a stopping node does, and starts another on its directory.
    pub(crate) fn restart(self) -> Self {
        assert_eq!(self.broker.close(), 0);
        let dir = Arc::clone(&self.dir);
        drop(self);
        Self::on(dir)
    }

    /// What the broker makes of a request, on a connection of its own: nothing waits for it.
    pub(crate) fn begin(
        &self,
        version: i16,
        request: &Request,
    ) -> impl Future<Output = Answer> + use<> {
        let peer = self.connection.peer;
        self.begin_on(&Arc::new(Connection::new(2, peer)), version, request)
    }

    /// What the broker makes of a request on this connection.
    pub(crate) fn begin_on(
        &self,
        connection: &Arc<Connection>,
        version: i16,
        request: &Request,
    ) -> impl Future<Output = Answer> + use<> {
        let frame = encode_request(version, 7, Some("test"), request)
            .concat()
            .slice(4..);
        self.broker.answer(connection, frame)
    }

    /// The response to a request.
    pub(crate) fn call(&self, version: i16, request: &Request) -> Response {
        response(request, version, block_on(self.begin(version, request)))
    }

    /// The request that creates a topic of one partition.
    pub(crate) fn creation(name: &str, configs: &[(&str, &str)]) -> Request {
        use plimsoll_wire::create_topics::{
            CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
        };
        Request::CreateTopics(CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: 1,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(key, value)| CreatableTopicConfig {
                        name: (*key).into(),
                        value: Some((*value).into()),
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        })
    }

    pub(crate) fn create_topic(&self, name: &str, configs: &[(&str, &str)]) {
        let request = Self::creation(name, configs);
        let Response::CreateTopics(response) = self.call(7, &request) else {
            unreachable!()
        };
        assert_eq!(
            response.topics[0].error_code, 0,
            "{:?}",
            response.topics[0].error_message
        );
    }
}

/// Takes the response out of an answer.
pub(crate) fn response(request: &Request, version: i16, answer: Answer) -> Response {
    let Answer::Reply(encoded) = answer else {
        panic!("no reply but {answer:?}")
    };
    let frame = encoded.concat().slice(4..);
    let (correlation_id, response) =
        decode_response(request.api(), version, frame).expect("a response that can be read");
    assert_eq!(correlation_id, 7);
    response
}

/// One uncompressed batch with these values and no keys.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(1_700_000_000_000),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .unwrap();
    }
    builder.build(Offset::ZERO).unwrap()
}

pub(crate) fn config() -> BrokerConfig {
    BrokerConfig {
        node: NodeId::new(1).unwrap(),
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
            max_partitions_per_node: 10_000,
        },
        auto_create_topics: true,
        fetch_max_bytes: 1 << 20,
        max_decompressed_bytes: 64 << 20,
        groups: GroupConfig {
            offsets_partitions: 4,
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            max_members: 100,
            max_offset_metadata_bytes: 4096,
            offsets_retention: Duration::from_secs(3600),
        },
        producer_id_expiration: Duration::from_secs(86400),
        max_open_segments: 100,
        disk_reserve_bytes: 0,
        scrub_bytes_per_second: 64 << 20,
        scrub_interval: Duration::ZERO,
        cluster: plimsoll_broker::ClusterConfig::agreed(),
        flush_threads: 2,
        recovery_threads: 1,
        settings: Vec::new(),
    }
}
