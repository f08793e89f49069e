//! Several brokers in one process, on real threads and a real clock, that reach each other by
//! calls.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_broker::{
    Advertised, Answer, Broker, BrokerConfig, Clock, Connection, Machine, Membership, PeerError,
    Peers, Workers,
};
use plimsoll_controller::Image;
use plimsoll_quorum::Limits;
use plimsoll_quorum::raft::{self, Options, Start, Target, Timing, Transport, TransportError};
use plimsoll_segment_log::disk::{Faults, FaultyDisk, RealDisk};
use plimsoll_segment_log::{DataDir, FlushPool, NodeIdentity};
use plimsoll_types::{Monotonic, NodeId, Timestamp};
use plimsoll_wire::peer::{Reply, Request as PeerRequest};
use plimsoll_wire::{Request, Response, encode_request};
use tempfile::TempDir;

use crate::links;
use crate::support::{block_on, config, response};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn id(node: u32) -> NodeId {
    NodeId::new(node).unwrap()
}

/// The process's clock. One thread wakes who sleeps.
struct RealClock {
    start: Instant,
    sleepers: Arc<Mutex<Vec<(Instant, Waker)>>>,
}

impl RealClock {
    fn new() -> Arc<Self> {
        let sleepers: Arc<Mutex<Vec<(Instant, Waker)>>> = Arc::default();
        let kept = Arc::downgrade(&sleepers);
        std::thread::spawn(move || {
            while let Some(sleepers) = kept.upgrade() {
                let now = Instant::now();
                let due: Vec<_> = sleepers
                    .lock()
                    .extract_if(.., |(at, _)| *at <= now)
                    .collect();
                due.into_iter().for_each(|(_, waker)| waker.wake());
                drop(sleepers);
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Arc::new(Self {
            start: Instant::now(),
            sleepers,
        })
    }
}

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_start(self.start.elapsed() + Duration::from_secs(1))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    async fn sleep_until(&self, at: Monotonic) {
        let at = self.start + at.since_start() - Duration::from_secs(1);
        std::future::poll_fn(|cx| {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.sleepers.lock().push((at, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A thread for each piece of work.
struct Threads;

#[async_trait]
impl Workers for Threads {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let done: Arc<Mutex<(bool, Option<Waker>)>> = Arc::default();
        let told = Arc::clone(&done);
        std::thread::spawn(move || {
            work();
            let waker = {
                let mut done = told.lock();
                done.0 = true;
                done.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        std::future::poll_fn(|cx| {
            let mut done = done.lock();
            if done.0 {
                return Poll::Ready(());
            }
            done.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Who is there, and who may talk to whom.
#[derive(Default)]
pub(crate) struct Net {
    quorums: Mutex<BTreeMap<NodeId, raft::Quorum>>,
    brokers: Mutex<BTreeMap<NodeId, Arc<Broker>>>,
    cut: Mutex<BTreeSet<NodeId>>,
    pub(crate) over: AtomicBool,
}

impl Net {
    pub(crate) fn there(&self) -> Vec<Arc<Broker>> {
        self.brokers.lock().values().cloned().collect()
    }

    pub(crate) fn is_open(&self, a: NodeId, b: NodeId) -> bool {
        let cut = self.cut.lock();
        !cut.contains(&a) && !cut.contains(&b)
    }
}

struct Line {
    me: NodeId,
    net: Arc<Net>,
}

#[async_trait]
impl Transport for Line {
    async fn call(
        &self,
        to: Target,
        request: Bytes,
        _timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let refused = || TransportError::Unreachable("cut".to_owned());
        let to = to.node.ok_or_else(refused)?;
        let quorum = self.net.quorums.lock().get(&to).cloned();
        match quorum.filter(|_| self.net.is_open(self.me, to)) {
            Some(quorum) => Ok(quorum.handle(request).await),
            None => Err(refused()),
        }
    }
}

#[async_trait]
impl Peers for Line {
    async fn call(
        &self,
        to: NodeId,
        request: PeerRequest,
        _timeout: Duration,
    ) -> Result<Reply, PeerError> {
        let broker = self.net.brokers.lock().get(&to).cloned();
        match broker.filter(|_| self.net.is_open(self.me, to)) {
            Some(broker) => Ok(broker.answer_peer(self.me, request).await),
            None => Err(PeerError::Unreachable("cut".to_owned())),
        }
    }

    fn addresses(&self, _nodes: Vec<(NodeId, String)>) {}
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One node: its broker and the thread that drives it.
pub(crate) struct Member {
    pub(crate) broker: Arc<Broker>,
    stop: Arc<AtomicBool>,
    driver: Option<JoinHandle<()>>,
    data: Arc<DataDir>,
    dir: TempDir,
}

/// A cluster of nodes 1 to n, all of them voters.
pub(crate) struct World {
    pub(crate) net: Arc<Net>,
    clock: Arc<RealClock>,
    links: Option<JoinHandle<()>>,
    pub(crate) members: BTreeMap<NodeId, Member>,
    faults: Mutex<BTreeMap<NodeId, Faults>>,
    voters: BTreeMap<NodeId, String>,
    begun: Instant,
}

impl World {
    pub(crate) fn of(nodes: u32) -> Self {
        let mut world = Self {
            net: Arc::default(),
            clock: RealClock::new(),
            links: None,
            members: BTreeMap::new(),
            faults: Mutex::default(),
            voters: BTreeMap::new(),
            begun: Instant::now(),
        };
        world.voters = (1..=nodes)
            .map(|node| (id(node), node.to_string()))
            .collect();
        let opened: Vec<_> = (1..=nodes)
            .map(|node| world.open(id(node), TempDir::new().unwrap()))
            .collect();
        for (broker, data, dir) in opened {
            let node = broker.config().node;
            world.net.brokers.lock().insert(node, Arc::clone(&broker));
            world.members.insert(node, drive(broker, data, dir));
        }
        let (net, clock) = (Arc::clone(&world.net), Arc::clone(&world.clock));
        world.links = Some(std::thread::spawn(move || links::run(&net, &*clock)));
        world.until("every node is trusted", |image| {
            image.nodes().filter(|node| !node.fenced).count() == nodes as usize
        });
        world
    }

    /// What can be wrong with a node's disk.
    pub(crate) fn faults(&self, node: NodeId) -> Faults {
        self.faults.lock().entry(node).or_default().clone()
    }

    /// Ends a node as a crash would; its directory stays.
    pub(crate) fn stop(&mut self, node: NodeId) -> TempDir {
        self.cut(node);
        let mut member = self.members.remove(&node).unwrap();
        member.stop.store(true, Ordering::Relaxed);
        member.driver.take().map(JoinHandle::join).unwrap().unwrap();
        self.net.brokers.lock().remove(&node);
        let quorum = self.net.quorums.lock().remove(&node).unwrap();
        quorum.shutdown();
        let Member {
            broker, data, dir, ..
        } = member;
        drop(broker);
        // Threads of the node, and the links, let go of it by and by.
        let begun = Instant::now();
        let mut held = Some(data);
        while let Some(data) = held.take() {
            if let Err(data) = Arc::try_unwrap(data) {
                held = Some(data);
                assert!(begun.elapsed() < PATIENCE, "somebody holds the directory");
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        dir
    }

    /// Starts a node again on what it left.
    pub(crate) fn start(&mut self, node: NodeId, dir: TempDir) {
        self.heal(node);
        let (broker, data, dir) = self.open(node, dir);
        self.net.brokers.lock().insert(node, Arc::clone(&broker));
        self.members.insert(node, drive(broker, data, dir));
    }

    fn open(&self, node: NodeId, dir: TempDir) -> (Arc<Broker>, Arc<DataDir>, TempDir) {
        let voters = &self.voters;
        let identity = NodeIdentity {
            cluster_id: "test-cluster".to_owned(),
            node_id: node,
        };
        let data = Arc::new(DataDir::open(dir.path(), &identity).unwrap());
        let line = || Line {
            me: node,
            net: Arc::clone(&self.net),
        };
        let start = Start::Voters {
            voters: voters.clone(),
            form: node == id(1) && !dir.path().join("metadata").exists(),
        };
        let options = Options {
            me: node,
            start,
            limits: Limits::default(),
            timing: Timing::default(),
            transport: Arc::new(line()),
        };
        let log = raft::open(&dir.path().join("metadata"), options).unwrap();
        let kept = log.quorum.clone();
        self.net.quorums.lock().insert(node, kept);
        let config = BrokerConfig {
            node,
            advertised: Advertised {
                host: format!("node-{node}"),
                port: 9092,
            },
            ..config()
        };
        let membership = Membership {
            snapshot: log.snapshot.clone(),
            log: Arc::new(log),
            peers: Arc::new(line()),
            peer_address: node.to_string(),
        };
        let faults = self.faults(node);
        let machine = Machine {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            workers: Arc::new(Threads),
            disk: Arc::new(FaultyDisk::new(Arc::new(RealDisk), faults)),
            flushers: Arc::new(FlushPool::new(2).unwrap()),
        };
        let broker = Broker::open_in_cluster(config, &data, machine, membership).unwrap();
        (broker, data, dir)
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.clock.now()
    }

    /// The metadata, as a node that is there has it.
    pub(crate) fn image(&self) -> Arc<Image> {
        let cut = self.net.cut.lock().clone();
        let mut there = self.members.iter().filter(|(node, _)| !cut.contains(node));
        let (_, member) = there.next().unwrap();
        member.broker.image()
    }

    /// Waits until the metadata of every node that is there is as `wanted`; says how long it took.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Image) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let cut = self.net.cut.lock().clone();
            let mut there = self.members.iter().filter(|(node, _)| !cut.contains(node));
            if there.all(|(_, member)| wanted(&member.broker.image())) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: not after {:?}",
                self.begun.elapsed()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub(crate) fn broker(&self, node: NodeId) -> &Arc<Broker> {
        &self.members[&node].broker
    }

    /// Cuts a node off from all others; its clients still reach it.
    pub(crate) fn cut(&self, node: NodeId) {
        self.net.cut.lock().insert(node);
    }

    pub(crate) fn heal(&self, node: NodeId) {
        self.net.cut.lock().remove(&node);
    }

    pub(crate) fn call(&self, node: NodeId, version: i16, request: &Request) -> Response {
        let connection = Arc::new(Connection::new(1, "127.0.0.1:4711".parse().unwrap()));
        let frame = encode_request(version, 7, Some("test"), request)
            .concat()
            .slice(4..);
        let answer: Answer = block_on(self.broker(node).answer(&connection, frame));
        response(request, version, answer)
    }
}

fn drive(broker: Arc<Broker>, data: Arc<DataDir>, dir: TempDir) -> Member {
    let stop = Arc::new(AtomicBool::new(false));
    let (driven, stopped) = (Arc::clone(&broker), Arc::clone(&stop));
    let driver = std::thread::spawn(move || {
        driven.recover();
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut work: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
            Box::pin(driven.run_metadata()),
            Box::pin(driven.run_groups()),
        ];
        work.extend(driven.run_cluster());
        let joining = Arc::clone(&driven);
        work.push(Box::pin(async move { joining.join().await }));
        while !stopped.load(Ordering::Relaxed) {
            work.retain_mut(|part| part.as_mut().poll(&mut cx).is_pending());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    Member {
        broker,
        stop,
        driver: Some(driver),
        data,
        dir,
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            member.stop.store(true, Ordering::Relaxed);
        }
        self.net.cut.lock().extend(self.members.keys().copied());
        for member in self.members.values_mut() {
            if let Some(driver) = member.driver.take() {
                let _ = driver.join();
            }
            let _ = (&member.data, &member.dir);
        }
        self.net.over.store(true, Ordering::Relaxed);
        if let Some(links) = self.links.take() {
            let _ = links.join();
        }
        self.net.brokers.lock().clear();
        let quorums = std::mem::take(&mut *self.net.quorums.lock());
        for quorum in quorums.values() {
            quorum.shutdown();
        }
    }
}
