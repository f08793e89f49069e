//! A cluster in one process, and the harm that can be done to it.
//!
//! Each node is a whole one on a runtime of its own, so that killing one leaves nothing of it
//! running but threads that end by themselves.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use plimsoll_admin::{Order as Harm, Orders};
use plimsoll_cli::{Code, Failure};
use plimsoll_segment_log::disk::{Faults, FaultyDisk};
use plimsoll_server::peer::{PeerNetwork, Way};
use plimsoll_types::NodeId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::address;
use crate::config::Config;
use crate::flip::Flip;
use crate::node::Node;
use crate::report;
use crate::run::runtime;

/// How long a killed node's threads get to give its directory back.
const GIVEN_BACK: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(50);

/// Which ways a cut goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Nothing gets from the first node to the second.
    There,
    /// Nothing gets through between them.
    Both,
}

/// A node of a dev cluster, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevNode {
    /// Its id.
    pub node: u32,
    /// Whether it runs.
    pub is_up: bool,
    /// Where clients connect.
    pub kafka: String,
    /// Where other nodes connect.
    pub peer: String,
    /// Where HTTP is served.
    pub http: String,
}

/// A cluster in this process.
pub struct DevCluster {
    members: BTreeMap<u32, Member>,
    this: Weak<Self>,
}

struct Member {
    config: Config,
    /// What is wrong with its disk; outlives the node.
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Where it lives, or last did.
    told: Told,
}

struct Running {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<(), Failure>>,
    network: Arc<PeerNetwork>,
    runtime: Handle,
}

#[derive(Clone, Default)]
struct Told {
    kafka: String,
    peer: String,
    http: String,
}

enum Order {
    Stop,
    Kill,
    Report,
    /// Take orders for harm over HTTP, and hand them on.
    Obey(Arc<dyn Orders>),
    /// Flip a bit of a log.
    Flip(Flip),
}

type Started = Result<(Told, Arc<PeerNetwork>, Handle), Failure>;

impl Member {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the node on a thread of its own.
    fn spawn(&self) -> Result<Starting, Failure> {
        let (orders, ordered) = mpsc::channel(4);
        let (started, starting) = sync_channel(1);
        let config = self.config.clone();
        let thread = std::thread::Builder::new()
            .name(format!("plimsoll-node-{}", config.node))
            .spawn(move || live(&config, &started, ordered))
            .map_err(|error| Failure::new(Code::Start, format!("no thread for it: {error}")))?;
        Ok(Starting {
            orders,
            thread,
            started: starting,
        })
    }

    fn has_started(&self, starting: Starting) -> Result<(), Failure> {
        let started = starting.started.recv();
        let gone = || Failure::new(Code::Start, "a bug: a node's thread panicked");
        let (told, network, runtime) = started.map_err(|_| gone())??;
        let mut state = self.lock();
        state.told = told;
        state.running = Some(Running {
            orders: starting.orders,
            thread: starting.thread,
            network,
            runtime,
        });
        Ok(())
    }
}

struct Starting {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<(), Failure>>,
    started: Receiver<Started>,
}

/// A node's life, on a thread of its own.
fn live(
    config: &Config,
    started: &SyncSender<Started>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), Failure> {
    let runtime = match runtime(config.threads) {
        Ok(runtime) => runtime,
        Err(failure) => {
            drop(started.send(Err(failure)));
            return Ok(());
        }
    };
    let done = runtime.block_on(async {
        let node = tokio::select! {
            node = Node::start(config) => node,
            // Told to stop before it began.
            _ = orders.recv() => return Ok(()),
        };
        let node = match node {
            Ok(node) => node,
            Err(failure) => {
                drop(started.send(Err(failure)));
                return Ok(());
            }
        };
        let told = Told {
            kafka: node.bootstrap().to_owned(),
            peer: node.network().address().to_string(),
            http: address::local(node.http_address()).to_string(),
        };
        let network = Arc::clone(node.network());
        drop(started.send(Ok((told, network, Handle::current()))));
        loop {
            match orders.recv().await {
                Some(Order::Report) => report::log_partitions(node.broker()),
                Some(Order::Obey(master)) => node.obey(master),
                Some(Order::Flip(flip)) => flip.carry_out(node.broker()),
                Some(Order::Stop) => return node.stop().await,
                Some(Order::Kill) | None => {
                    node.kill();
                    return Ok(());
                }
            }
        }
    });
    runtime.shutdown_background();
    done
}

impl DevCluster {
    /// Starts every node; returns when clients are served by all.
    pub(crate) fn start(configs: Vec<Config>) -> Result<Arc<Self>, Failure> {
        let members: BTreeMap<u32, Member> = configs
            .into_iter()
            .map(|mut config| {
                let node = config.node.get();
                let (state, faults) = (Mutex::default(), Faults::default());
                config.disk = Arc::new(FaultyDisk::new(config.disk, faults.clone()));
                config.scrub_often();
                let member = Member {
                    config,
                    faults,
                    state,
                };
                (node, member)
            })
            .collect();
        // All at once: none is ready before most are there.
        let starting: Vec<Starting> = members
            .values()
            .map(Member::spawn)
            .collect::<Result<_, _>>()?;
        let mut outcome = Ok(());
        for (member, starting) in members.values().zip(starting) {
            if outcome.is_ok() {
                outcome = member.has_started(starting);
            }
        }
        let cluster = Arc::new_cyclic(|this| Self {
            members,
            this: Weak::clone(this),
        });
        if outcome.is_err() {
            cluster.order_all(|| Order::Kill);
        }
        outcome.map(|()| cluster)
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<DevNode> {
        let all = self.members.iter().map(|(node, member)| {
            let state = member.lock();
            DevNode {
                node: *node,
                is_up: state.running.is_some(),
                kafka: state.told.kafka.clone(),
                peer: state.told.peer.clone(),
                http: state.told.http.clone(),
            }
        });
        all.collect()
    }

    fn member(&self, node: u32) -> Result<&Member, Failure> {
        self.members.get(&node).ok_or_else(|| {
            let all: Vec<String> = self.members.keys().map(u32::to_string).collect();
            let what = format!("there is no node {node}; there are {}", all.join(", "));
            Failure::new(Code::Usage, what)
        })
    }

    /// Kills a node as abruptly as a process can be: its sockets close, nothing is flushed or
    /// closed. Returns when its threads have ended. Blocks.
    ///
    /// # Errors
    /// When there is no such node, or it does not run.
    pub fn kill(&self, node: u32) -> Result<(), Failure> {
        let running = self.member(node)?.lock().running.take();
        let running =
            running.ok_or_else(|| Failure::new(Code::Usage, format!("node {node} is down")))?;
        // Cut at once, not when its thread gets to it.
        running.network.shutdown();
        drop(running.orders.try_send(Order::Kill));
        drop(running.orders);
        drop(running.thread.join());
        Ok(())
    }

    /// Starts a node that was killed; returns when it serves clients. Blocks.
    ///
    /// # Errors
    /// When there is no such node, it runs, or it does not start.
    pub fn restart(&self, node: u32) -> Result<(), Failure> {
        let member = self.member(node)?;
        if member.lock().running.is_some() {
            return Err(Failure::new(Code::Usage, format!("node {node} is up")));
        }
        let (_wait, never) = sync_channel::<()>(0);
        let attempts = GIVEN_BACK.as_millis() / AGAIN.as_millis();
        for _ in 0..attempts {
            match member
                .spawn()
                .and_then(|starting| member.has_started(starting))
            {
                // What was killed has threads that have not noticed yet.
                Err(failure) if matches!(failure.code, Code::DataDirLocked | Code::Listen) => {
                    debug_assert_eq!(never.recv_timeout(AGAIN), Err(RecvTimeoutError::Timeout));
                }
                outcome => return outcome,
            }
        }
        member.has_started(member.spawn()?)
    }

    /// Lets a node stand still for a while, as a stopped process does: every thread of its runtimes
    /// waits. What it had begun on its disk ends. Returns once all of them do. Blocks.
    ///
    /// # Errors
    /// When there is no such node, or it is down.
    pub fn pause(&self, node: u32, lasting: Duration) -> Result<(), Failure> {
        let member = self.member(node)?;
        let runtimes = {
            let state = member.lock();
            let running = state.running.as_ref();
            running.map(|running| [running.runtime.clone(), running.network.runtime().clone()])
        };
        let down = || Failure::new(Code::Usage, format!("node {node} is down"));
        let runtimes = runtimes.ok_or_else(down)?;
        let threads = |runtime: &Handle| runtime.metrics().num_workers();
        // Each waits for the others first, so that no thread takes two of these.
        let all = Arc::new(Barrier::new(
            runtimes.iter().map(threads).sum::<usize>() + 1,
        ));
        for runtime in runtimes.iter().flat_map(|one| vec![one; threads(one)]) {
            let all = Arc::clone(&all);
            runtime.spawn(async move {
                all.wait();
                let (_wait, never) = sync_channel::<()>(0);
                debug_assert_eq!(never.recv_timeout(lasting), Err(RecvTimeoutError::Timeout));
            });
        }
        all.wait();
        Ok(())
    }

    /// Cuts the network between two nodes.
    ///
    /// # Errors
    /// When there is no such node, or one of them is down.
    pub fn cut(&self, from: u32, to: u32, ways: Ways) -> Result<(), Failure> {
        let network = self.network(from)?;
        match ways {
            Ways::There => network.cut(self.id(to)?, Way::Out),
            Ways::Both => network.cut(self.id(to)?, Way::Both),
        }
        Ok(())
    }

    /// Ends every cut between two nodes.
    ///
    /// # Errors
    /// When there is no such node, or one of them is down.
    pub fn heal(&self, one: u32, other: u32) -> Result<(), Failure> {
        self.network(one)?.heal(self.id(other)?);
        self.network(other)?.heal(self.id(one)?);
        Ok(())
    }

    fn id(&self, node: u32) -> Result<NodeId, Failure> {
        self.member(node).map(|member| member.config.node)
    }

    fn network(&self, node: u32) -> Result<Arc<PeerNetwork>, Failure> {
        let state = self.member(node)?.lock();
        let running = state.running.as_ref();
        running
            .map(|running| Arc::clone(&running.network))
            .ok_or_else(|| Failure::new(Code::Usage, format!("node {node} is down")))
    }

    /// Has every node log the state of its partitions.
    pub(crate) fn report(&self) {
        self.order_all(|| Order::Report);
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for member in self.members.values() {
            if let Some(running) = &member.lock().running {
                drop(running.orders.try_send(order()));
            }
        }
    }

    /// Takes orders for harm from any node's HTTP port.
    pub(crate) fn let_harm(self: &Arc<Self>) {
        let this: Arc<dyn Orders> = Arc::clone(self) as Arc<dyn Orders>;
        for member in self.members.values() {
            if let Some(running) = &member.lock().running {
                drop(running.orders.try_send(Order::Obey(Arc::clone(&this))));
            }
        }
    }

    fn flip_bit(&self, node: u32, topic: &str, partition: u32) -> Result<String, Failure> {
        let (flip, done) = Flip::new(topic, partition);
        let state = self.member(node)?.lock();
        let running = state.running.as_ref();
        let running = running.map(|running| running.orders.clone());
        drop(state);
        let told = running.and_then(|orders| orders.blocking_send(Order::Flip(flip)).ok());
        let down = || Failure::new(Code::Usage, format!("node {node} is down"));
        told.ok_or_else(down)?;
        let flipped = done.recv().map_err(|_| down())?;
        flipped.map_err(|why| Failure::new(Code::Usage, why))
    }

    fn obey(&self, order: &Harm, node: u32) -> Result<String, Failure> {
        match order {
            Harm::Kill => self.kill(node).map(|()| format!("node {node} was killed")),
            Harm::Restart => self
                .restart(node)
                .map(|()| format!("node {node} runs again")),
            Harm::Pause { lasting } => {
                self.pause(node, *lasting)?;
                let s = lasting.as_secs_f64();
                Ok(format!("node {node} stands still for {s} s"))
            }
            Harm::Cut | Harm::Heal => {
                for other in self.members.keys().copied().filter(|other| *other != node) {
                    // A node that is down has no links to cut or heal.
                    let _ = match order {
                        Harm::Cut => self.cut(node, other, Ways::Both),
                        _ => self.heal(node, other),
                    };
                }
                self.network(node)?;
                let done = if *order == Harm::Cut {
                    "cut off"
                } else {
                    "linked again"
                };
                Ok(format!("node {node} is {done}"))
            }
            Harm::SlowDisk { by } => {
                self.member(node)?.faults.slow_down(*by);
                let ms = by.as_millis();
                Ok(format!(
                    "each sync of node {node}'s disk takes {ms} ms longer"
                ))
            }
            Harm::FillDisk => {
                self.member(node)?.faults.fill(true);
                Ok(format!("node {node}'s disk has no room for records"))
            }
            Harm::MendDisk => {
                self.member(node)?.faults.mend();
                Ok(format!("node {node}'s disk is well again"))
            }
            Harm::FlipBit { topic, partition } => self.flip_bit(node, topic, *partition),
            Harm::Drain | Harm::Resume | Harm::Decommission => {
                Err(Failure::usage("that is no harm: ask with plimsoll node"))
            }
        }
    }

    /// Stops every node and waits for their ends. Blocks.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        self.order_all(|| Order::Stop);
        let mut outcome = Ok(());
        for member in self.members.values() {
            let running = member.lock().running.take();
            if let Some(running) = running {
                drop(running.orders);
                let ended = running.thread.join();
                let panicked = || Failure::new(Code::Stopped, "a bug: a node's thread panicked");
                outcome = outcome.and(ended.unwrap_or_else(|_| Err(panicked())));
            }
        }
        outcome
    }
}

#[async_trait]
impl Orders for DevCluster {
    async fn carry_out(&self, order: Harm, node: NodeId) -> Result<String, String> {
        // It blocks, and the node that was asked may be the one that ends: not on its threads.
        let Some(this) = self.this.upgrade() else {
            return Err("the cluster is stopping".to_owned());
        };
        let (done, doing) = tokio::sync::oneshot::channel();
        let harm = move || {
            let outcome = this.obey(&order, node.get());
            if order == Harm::Restart && outcome.is_ok() {
                this.let_harm();
            }
            // Whoever asked may be gone by now.
            let _ = done.send(outcome.map_err(|failure| failure.message));
        };
        let thread = std::thread::Builder::new().name("plimsoll-chaos".to_owned());
        thread.spawn(harm).map_err(|error| error.to_string())?;
        doing
            .await
            .unwrap_or_else(|_| Err("a bug: it panicked".to_owned()))
    }
}
