//! What the HTTP side knows: the broker once there is one, the gates, the pulses.

use crate::cluster::{Cluster, ClusterView, Colleagues, Linked};
use crate::metrics::Source;
use crate::orders::Orders;
use crate::watch::Watch;
use bytes::Bytes;
use plimsoll_broker::{Broker, Clock, Trust};
use plimsoll_types::{Monotonic, Timestamp};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The program that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from, if known.
    pub commit: Option<&'static str>,
}

/// The HTTP side's state; shared with whoever boots and stops the node.
pub struct Admin {
    pub(crate) build: Build,
    clock: Arc<dyn Clock>,
    broker: OnceLock<Arc<Broker>>,
    view: OnceLock<Arc<dyn ClusterView>>,
    colleagues: OnceLock<Arc<dyn Colleagues>>,
    operator: OnceLock<Arc<dyn Orders>>,
    chaos: OnceLock<Arc<dyn Orders>>,
    /// What all nodes said last.
    pub(crate) cluster: Cluster,
    accepting: AtomicBool,
    stopping: AtomicBool,
    pulses: RwLock<Vec<Arc<Pulse>>>,
    sources: RwLock<Vec<Arc<dyn Source>>>,
    watch: Mutex<Watch>,
    /// One scrape at a time.
    scrapes: Arc<Semaphore>,
    /// Whether `/metrics` has series for each partition.
    pub(crate) partition_metrics: bool,
}

/// Something that must hold for a node to take traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub open: bool,
    /// How far it is, for people.
    pub detail: String,
}

/// A loop's sign of life.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    max_silence: Duration,
    last_beat_ms: AtomicU64,
}

impl Pulse {
    /// The loop is alive at `now`.
    pub fn beat(&self, now: Monotonic) {
        self.last_beat_ms
            .store(millis(now.since_start()), Ordering::Relaxed);
    }

    /// For how long it has been silent at `now`, if that is too long.
    fn silence(&self, now: Monotonic) -> Option<Duration> {
        let last = Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed));
        let silence = now.since(Monotonic::from_start(last));
        (silence > self.max_silence).then_some(silence)
    }
}

impl Admin {
    /// The state of a node that is about to start.
    #[must_use]
    pub fn new(build: Build, clock: Arc<dyn Clock>, partition_metrics: bool) -> Arc<Self> {
        Arc::new(Self {
            build,
            clock,
            broker: OnceLock::new(),
            view: OnceLock::new(),
            colleagues: OnceLock::new(),
            operator: OnceLock::new(),
            chaos: OnceLock::new(),
            cluster: Cluster::default(),
            accepting: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            pulses: RwLock::default(),
            sources: RwLock::default(),
            watch: Mutex::default(),
            scrapes: Arc::new(Semaphore::new(1)),
            partition_metrics,
        })
    }

    /// There is a broker now; it may still be recovering. A second one is not taken.
    /// From now on this node asks the others about the cluster, and answers them.
    pub fn attach(self: &Arc<Self>, broker: Arc<Broker>) {
        let admin = Arc::downgrade(self);
        broker.answer_with(move |question| {
            let admin = admin.upgrade();
            admin.map_or_else(Bytes::new, |admin| admin.answer_query(&question))
        });
        let linked = Arc::new(Linked(Arc::clone(&broker)));
        self.set_operator(Arc::clone(&linked) as Arc<dyn Orders>);
        self.set_colleagues(linked);
        // The first one stands: a node has one broker from its start to its end.
        drop(self.view.set(Arc::clone(&broker) as Arc<dyn ClusterView>));
        drop(self.broker.set(broker));
    }

    /// What is known of the cluster comes from here; for nodes without a broker.
    pub fn attach_view(&self, view: Arc<dyn ClusterView>) {
        drop(self.view.set(view));
    }

    /// There is a way to the other nodes. A second one is not taken, here and below.
    pub fn set_colleagues(&self, colleagues: Arc<dyn Colleagues>) {
        drop(self.colleagues.set(colleagues));
    }

    /// Somebody carries out the operator's orders.
    pub fn set_operator(&self, operator: Arc<dyn Orders>) {
        drop(self.operator.set(operator));
    }

    /// Somebody carries out the orders of `chaos`.
    pub fn set_chaos(&self, chaos: Arc<dyn Orders>) {
        drop(self.chaos.set(chaos));
    }

    pub(crate) fn view(&self) -> Option<&Arc<dyn ClusterView>> {
        self.view.get()
    }

    pub(crate) fn colleagues(&self) -> Option<&Arc<dyn Colleagues>> {
        self.colleagues.get()
    }

    pub(crate) fn operator(&self) -> Option<&Arc<dyn Orders>> {
        self.operator.get()
    }

    pub(crate) fn chaos(&self) -> Option<&Arc<dyn Orders>> {
        self.chaos.get()
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.clock.now()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Whether the Kafka listener takes connections.
    pub fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Ordering::Relaxed);
    }

    /// The node is going down: it is not ready from now on.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A pulse for a loop that beats at least every `max_silence`; it counts as beating now.
    pub fn pulse(&self, name: &'static str, max_silence: Duration) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            name,
            max_silence,
            last_beat_ms: AtomicU64::new(0),
        });
        pulse.beat(self.clock.now());
        write(&self.pulses).push(Arc::clone(&pulse));
        pulse
    }

    /// More metrics to tell, from components that are not the broker's.
    pub fn add_metrics(&self, source: Arc<dyn Source>) {
        write(&self.sources).push(source);
    }

    /// Compares what there is with what there was, for metrics. Once a second is often enough; takes
    /// long only when the metadata has changed. May block, shortly.
    pub fn look(&self) {
        let (Some(view), now) = (self.view(), self.now()) else {
            return;
        };
        let (image, me) = (view.image(), view.node());
        self.watch().look(&image, me, now);
        let due = self.partition_metrics && self.watch().samples_at(now);
        if let Some(broker) = self.broker().filter(|_| due) {
            let marks = crate::v1::groups::marks(broker);
            self.watch().sample(marks, now);
        }
    }

    /// A panic while it was held left counts that are off by one at most.
    pub(crate) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn sources(&self) -> Vec<Arc<dyn Source>> {
        read(&self.sources).clone()
    }

    /// Waits for the scrape before this one to end.
    pub(crate) async fn scrape_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.scrapes).acquire_owned().await.ok()
    }

    pub(crate) fn broker(&self) -> Option<&Arc<Broker>> {
        self.broker.get()
    }

    /// Loops that are silent for too long, in words.
    pub(crate) fn stalled(&self) -> Vec<String> {
        let now = self.clock.now();
        let pulses = read(&self.pulses);
        let silent = pulses
            .iter()
            .filter_map(|pulse| Some((pulse.name, pulse.silence(now)?)));
        silent
            .map(|(name, silence)| format!("{name} has been silent for {} ms", silence.as_millis()))
            .collect()
    }

    /// What must hold for the node to take traffic, in the order in which it comes to hold.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let broker = self.broker();
        let gate = |name, open, detail: &str| Gate {
            name,
            open,
            detail: detail.to_owned(),
        };
        let metadata = match broker {
            Some(broker) => match broker.metadata_stopped() {
                None => gate("metadata", true, "read"),
                Some(reason) => gate("metadata", false, &format!("cannot be changed: {reason}")),
            },
            None => gate("metadata", false, "being read"),
        };
        let recovery = match broker {
            None => gate("recovery", false, "waits for the metadata"),
            Some(broker) => recovery_gate(broker),
        };
        let accepting = self.accepting.load(Ordering::Relaxed);
        let listener = match accepting {
            true => gate("kafka_listener", true, "takes connections"),
            false => gate("kafka_listener", false, "closed"),
        };
        let running = match self.stopping.load(Ordering::Relaxed) {
            true => gate("running", false, "stopping"),
            false => gate("running", true, "not asked to stop"),
        };
        let mut gates = vec![metadata];
        gates.extend(broker.map_or_else(waiting_gates, |broker| membership_gates(broker)));
        gates.extend([recovery, listener, running]);
        gates
    }
}

/// Being a member: there is a controller, it hears this process, and trusts it with replicas.
fn membership_gates(broker: &Broker) -> Vec<Gate> {
    let gate = |name, open, detail: String| Gate { name, open, detail };
    let me = broker.config().node;
    let controller = match broker.active_controller() {
        Some(node) => gate("controller", true, format!("node {node} leads the quorum")),
        None => gate(
            "controller",
            false,
            "no leader of the quorum is known".to_owned(),
        ),
    };
    let registered = match broker.trust() {
        Trust::Full => gate(
            "registered",
            true,
            "the controller hears this node".to_owned(),
        ),
        Trust::Doubtful => gate(
            "registered",
            true,
            "the controller is late to answer".to_owned(),
        ),
        Trust::None => gate(
            "registered",
            false,
            "no controller answers this node".to_owned(),
        ),
    };
    let unfenced = match broker.image().is_alive(me) {
        true => gate("unfenced", true, "trusted with replicas".to_owned()),
        false => gate("unfenced", false, "the controller keeps it out".to_owned()),
    };
    vec![controller, registered, unfenced]
}

fn waiting_gates() -> Vec<Gate> {
    let gate = |name| Gate {
        name,
        open: false,
        detail: "waits for the metadata".to_owned(),
    };
    ["controller", "registered", "unfenced"].map(gate).to_vec()
}

fn recovery_gate(broker: &Broker) -> Gate {
    let progress = broker.recovery();
    let count = |cell: &std::sync::atomic::AtomicUsize| cell.load(Ordering::Relaxed);
    let (done, total) = (count(&progress.done), count(&progress.total));
    let failed = count(&progress.failed);
    let open = broker.is_recovered();
    let state = if open { "done" } else { "recovering" };
    let offline = match failed {
        0 => String::new(),
        failed => format!(", {failed} offline"),
    };
    Gate {
        name: "recovery",
        open,
        detail: format!("{state}: {done} of {total} partitions opened{offline}"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A panic while one of these locks was held left a list as it was or one longer: both are fine.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
