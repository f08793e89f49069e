//! Everything there is: nodes on their machines, and how they start, end and go on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_broker::{
    Advertised, Broker, BrokerConfig, GroupConfig, Machine as BrokerMachine, Membership,
};
use plimsoll_controller::{Limits, NodeDefaults, Partition};
use plimsoll_segment_log::{DataDir, FlushPool, NodeIdentity};
use plimsoll_types::{Monotonic, NodeId};

use crate::disk::SimDisk;
use crate::faults::{self, Count};
use crate::history::History;
use crate::kernel::{Kernel, Owner, Step};
use crate::links;
use crate::machine::{Machine, SimClock, SimWorkers};
use crate::marks;
use crate::net::{Line, Net, Process};
use crate::operate::Orders;
use crate::peace::words;
use crate::quorum::Quorum;
use crate::run::Plan;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Between two rounds of a process's chores.
const CHORES: Duration = Duration::from_millis(500);
/// The topic that clients use.
pub(crate) const TOPIC: &str = "t";

/// A node's machine: what stays when its process is gone.
pub(crate) struct Host {
    pub(crate) machine: Arc<Machine>,
    pub(crate) disk: SimDisk,
    pub(crate) path: PathBuf,
    life: u32,
    running: Option<Running>,
}

struct Running {
    owner: Owner,
    flushers: Arc<FlushPool>,
    flushing: Arc<AtomicBool>,
    _data: Arc<DataDir>,
}

impl Host {
    /// An empty disk in place of the one there was. No process may be running.
    pub(crate) fn wipe(&mut self) {
        // What cannot be removed is found by the next start, which says so.
        let _gone = std::fs::remove_dir_all(&self.path);
        self.disk = SimDisk::new(&self.path);
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) net: Arc<Net>,
    pub(crate) quorum: Arc<Quorum>,
    pub(crate) history: Arc<History>,
    pub(crate) hosts: Mutex<BTreeMap<u32, Host>>,
    pub(crate) count: Count,
    pub(crate) marks: Count,
    pub(crate) orders: Orders,
    /// Nodes that lost their disk or a sync since all was whole.
    pub(crate) hurt: Mutex<BTreeSet<u32>>,
    pub(crate) story: Mutex<Vec<String>>,
    /// Removes what the nodes keep outside of their simulated disks.
    _root: tempfile::TempDir,
    meddle: bool,
    /// As [`Plan::unsynced`].
    pub(crate) unsynced: bool,
}

/// The directory that costs the least.
fn root() -> std::io::Result<tempfile::TempDir> {
    let builder = tempfile::Builder::new()
        .prefix("plimsoll-sim-")
        .tempdir_in("/dev/shm");
    builder.or_else(|_| tempfile::tempdir())
}

pub(crate) fn id(node: u32) -> NodeId {
    NodeId::new(node).expect("nodes have ids")
}

impl World {
    pub(crate) fn new(plan: &Plan) -> std::io::Result<Arc<Self>> {
        let kernel = Kernel::new(plan.seed);
        let net = Net::new(&kernel);
        let quorum = Quorum::new(&net, plan.nodes);
        let root = root()?;
        let host = |node: u32| {
            let path = root.path().join(node.to_string());
            Host {
                machine: Arc::default(),
                disk: SimDisk::new(&path),
                path,
                life: 0,
                running: None,
            }
        };
        let hosts = (1..=plan.nodes).map(|node| (node, host(node))).collect();
        let meddle = kernel.one_in(3) && faults::wanted(plan, "meddle");
        Ok(Arc::new(Self {
            kernel,
            net,
            quorum,
            history: Arc::default(),
            hosts: Mutex::new(hosts),
            count: Count::default(),
            marks: Count::default(),
            orders: Orders::default(),
            hurt: Mutex::default(),
            story: Mutex::default(),
            _root: root,
            meddle,
            unsynced: plan.unsynced,
        }))
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&self, what: &str) {
        let at = self.kernel.now().as_secs_f64();
        self.story.lock().push(format!("{at:>9.3} s  {what}"));
    }

    pub(crate) fn nodes(&self) -> Vec<u32> {
        self.hosts.lock().keys().copied().collect()
    }

    pub(crate) fn is_up(&self, node: u32) -> bool {
        self.net.process(node).is_some()
    }

    pub(crate) fn owner(&self, node: u32) -> Option<Owner> {
        self.net.process(node).map(|process| process.owner)
    }

    /// Starts a node's next process.
    pub(crate) fn start(self: &Arc<Self>, node: u32) {
        if self.is_up(node) {
            return;
        }
        let mut hosts = self.hosts.lock();
        let Some(host) = hosts.get_mut(&node) else {
            return;
        };
        host.life += 1;
        let owner = Owner {
            node,
            life: host.life,
        };
        self.kernel.begin(owner);
        let identity = NodeIdentity {
            cluster_id: "sim".to_owned(),
            node_id: id(node),
        };
        let data = match DataDir::open(&host.path, &identity) {
            Ok(data) => Arc::new(data),
            Err(error) => {
                self.tell(&format!("node {node} cannot start: {error}"));
                return;
            }
        };
        let flushers = Arc::new(FlushPool::manual());
        let machine = BrokerMachine {
            clock: Arc::new(SimClock {
                kernel: Arc::clone(&self.kernel),
                machine: Arc::clone(&host.machine),
            }),
            workers: Arc::new(SimWorkers {
                kernel: Arc::clone(&self.kernel),
                machine: Arc::clone(&host.machine),
                owner,
            }),
            disk: Arc::new(host.disk.clone()),
            flushers: Arc::clone(&flushers),
        };
        let (log, snapshot) = self.quorum.open(node, host.life);
        let membership = Membership {
            log,
            snapshot,
            peers: Arc::new(Line {
                me: node,
                owner,
                net: Arc::clone(&self.net),
            }),
            peer_address: node.to_string(),
        };
        let broker = match Broker::open_in_cluster(config(node), &data, machine, membership) {
            Ok(broker) => broker,
            Err(error) => {
                self.tell(&format!("node {node} cannot start: {error}"));
                return;
            }
        };
        host.running = Some(Running {
            owner,
            flushers,
            flushing: Arc::default(),
            _data: data,
        });
        drop(hosts);
        let process = Process { owner, broker };
        self.net.put(node, process.clone());
        self.tell(&format!("node {node} starts, life {}", owner.life));
        let spawn = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            self.kernel.spawn(owner, work);
        };
        let broker = Arc::clone(&process.broker);
        spawn(Box::pin(broker.run_metadata()));
        let (starting, world) = (Arc::clone(&process.broker), Arc::clone(self));
        let links = process.clone();
        spawn(Box::pin(async move {
            // In a node's own order.
            let kernel = &world.kernel;
            for part in starting.run_cluster() {
                kernel.spawn(owner, part);
            }
            starting.join().await;
            let (net, meddle) = (Arc::clone(&world.net), world.meddle);
            kernel.spawn(owner, links::run(net, node, links, meddle));
            starting.recover();
            kernel.spawn(owner, starting.run_groups());
            kernel.spawn(
                owner,
                Arc::clone(&world).keep_house(owner, Arc::clone(&starting)),
            );
        }));
    }

    /// Ends a node's process as `kill -9` does.
    pub(crate) fn kill(&self, node: u32) {
        let Some(process) = self.net.take(node) else {
            return;
        };
        self.take_marks(&process);
        self.quorum.close(node);
        self.kernel.kill(process.owner);
        let running = self
            .hosts
            .lock()
            .get_mut(&node)
            .and_then(|host| host.running.take());
        drop((process, running));
        // Its connections are closed by its machine: the others find out at once.
        for (other, process) in self.net.processes() {
            if self.net.is_open(node, other) && self.net.is_open(other, node) {
                process.broker.lost(id(node));
                let asked = Monotonic::from_start(self.kernel.now());
                process.broker.suspect(id(node), asked);
            }
        }
    }

    /// Tells of every change of the leaders and of who is in sync.
    pub(crate) async fn watch(self: Arc<Self>, partitions: u32) {
        let mut known: BTreeMap<u32, (u64, Option<Arc<Partition>>)> = BTreeMap::new();
        loop {
            self.kernel.sleep(LOOK / 10).await;
            for (_, process) in self.net.processes() {
                let image = process.broker.image();
                for index in 0..partitions {
                    let Some(now) = image.partition(TOPIC, index) else {
                        continue;
                    };
                    let version = image.version();
                    let (seen, before) = known.entry(index).or_default();
                    if version > *seen {
                        self.changed(index, before.as_deref(), now);
                        (*seen, *before) = (version, Some(Arc::clone(now)));
                    }
                }
            }
        }
    }

    fn changed(&self, index: u32, before: Option<&Partition>, now: &Partition) {
        let told = before.map(|before| in_words(index, before));
        let text = in_words(index, now);
        if told.as_ref() != Some(&text) {
            self.tell(&text);
        }
        if let Some(before) = before {
            let runs = |node: NodeId| {
                let owner = self.owner(node.get());
                owner.is_some_and(|owner| !self.kernel.is_paused(owner))
            };
            for mark in marks::between(before, now, runs) {
                self.marks.one(mark);
            }
        }
    }

    /// Has a process do the chores that a node has threads for.
    async fn keep_house(self: Arc<Self>, owner: Owner, broker: Arc<Broker>) {
        let machine = self
            .hosts
            .lock()
            .get(&owner.node)
            .map(|host| Arc::clone(&host.machine));
        let Some(machine) = machine else { return };
        loop {
            self.kernel
                .sleep(CHORES + machine.disk_takes(&self.kernel))
                .await;
            broker.scrub();
            broker.tick();
            if self.kernel.one_in(10) {
                broker.maintain();
            }
        }
    }

    /// Has disks do what they were asked to, each after a while.
    fn flush(&self) {
        for host in self.hosts.lock().values() {
            let Some(running) = &host.running else {
                continue;
            };
            if running.flushers.waiting() == 0 || running.flushing.swap(true, Ordering::Relaxed) {
                continue;
            }
            let (flushers, flushing) =
                (Arc::clone(&running.flushers), Arc::clone(&running.flushing));
            let takes = host.machine.disk_takes(&self.kernel);
            self.kernel.after(running.owner, takes, move || {
                flushing.store(false, Ordering::Relaxed);
                flushers.flush_next();
            });
        }
    }

    /// Lets the world go on until then, or until `done`.
    pub(crate) fn run_until(&self, at: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let mut look = self.kernel.now();
        while self.kernel.now() < at {
            if self.kernel.now() >= look {
                if done(self) {
                    return true;
                }
                look = self.kernel.now() + LOOK;
            }
            if self.kernel.step() == Step::Over {
                break;
            }
            self.flush();
        }
        done(self)
    }
}

fn in_words(index: u32, now: &Partition) -> String {
    let leader = now
        .leader
        .map_or("nobody".to_owned(), |node| node.to_string());
    let elr = match now.elr.is_empty() {
        true => String::new(),
        false => format!(", eligible {:?}", words(&now.elr)),
    };
    format!(
        "partition {index}: led by {leader} in epoch {}, in sync {:?}{elr}",
        now.leader_epoch.get(),
        words(&now.isr)
    )
}

fn config(node: u32) -> BrokerConfig {
    BrokerConfig {
        node: id(node),
        cluster_id: "sim".to_owned(),
        rack: None,
        advertised: Advertised {
            host: format!("node-{node}"),
            port: 9092,
        },
        topic_defaults: NodeDefaults::default(),
        limits: Limits {
            default_partitions: 1,
            default_replication: 3,
            max_partitions_per_node: 1000,
        },
        auto_create_topics: false,
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
        producer_id_expiration: Duration::from_secs(86400),
        max_open_segments: 100,
        disk_reserve_bytes: 1 << 20,
        scrub_bytes_per_second: 1 << 20,
        scrub_interval: Duration::from_secs(5),
        cluster: plimsoll_broker::ClusterConfig::agreed(),
        flush_threads: 1,
        recovery_threads: 1,
        settings: Vec::new(),
    }
}
