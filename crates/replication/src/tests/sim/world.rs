//! The whole world and its steps.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_controller::Image;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId};

use super::super::node as id;
use super::check::Ledger;
use super::links::Pair;
use super::metadata::{Answer, Transaction, cluster};
use super::node::{End, Log, Message, Node, Role};
use super::trouble::Plan;
use crate::back_off::Mixer;
use crate::leader::Counts;

pub(super) const STEP: Duration = Duration::from_millis(10);
/// How long a node may be silent before it is fenced.
pub(super) const SESSION: Duration = Duration::from_secs(2);

/// A sync under way: whose, of which process and log, and up to where.
pub(super) struct Sync {
    pub(super) node: NodeId,
    pub(super) process: BrokerEpoch,
    pub(super) cuts: u64,
    pub(super) end: u64,
}

pub(super) struct World {
    pub(super) now: Monotonic,
    pub(super) counts: Counts,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) ledger: Ledger,
    /// What may fail in this seed.
    pub(super) plan: Plan,
    /// Whether committed records may be lost, if that is said.
    pub(super) may_lose: bool,
    /// Every version of the metadata, for nodes that hear of it late.
    pub(super) history: Vec<Image>,
    /// By (to, from): messages, with the generation of their link.
    pub(super) wires: BTreeMap<(NodeId, NodeId), super::links::Wire>,
    pub(super) pairs: BTreeMap<(NodeId, NodeId), Pair>,
    /// Nodes cut off from the controller until then.
    pub(super) isolated: BTreeMap<NodeId, Monotonic>,
    pub(super) no_controller_until: Monotonic,
    pub(super) transactions: Vec<(Monotonic, Transaction)>,
    pub(super) answers: Vec<(Monotonic, Answer)>,
    pub(super) syncs: Vec<(Monotonic, Sync)>,
    pub(super) next_session: u64,
    pub(super) next_value: u64,
    /// Who led each epoch, as which process.
    pub(super) led: BTreeMap<LeaderEpoch, (NodeId, BrokerEpoch)>,
    pub(super) calm: bool,
    /// What a step has found that only it could see.
    pub(super) broken: Option<String>,
    random: Mixer,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Mixer::new(seed);
        let counts = if random.next().is_multiple_of(2) {
            Counts::Durable
        } else {
            Counts::Written
        };
        let may_lose = seed % 5 == 4;
        let recovery = if may_lose { "balanced" } else { "none" };
        let min_isr = if random.next().is_multiple_of(4) {
            1
        } else {
            2
        };
        let image = cluster(counts, min_isr, recovery);
        let plan = Plan::draw(&mut random);
        let now = Monotonic::from_start(Duration::from_secs(1));
        let node = |n: u8| {
            let node = id(u32::from(n));
            let node = Node {
                id: node,
                up: true,
                end: End::Harmless,
                dir: n * 50,
                log: Log::default(),
                broker_epoch: super::metadata::epoch_of(&image, node),
                image: image.clone(),
                heard: 1,
                applied: false,
                role: Role::Idle,
                granted_at: None,
                heartbeat_at: now,
                paused_until: now,
                full_until: now,
                newest: Monotonic::default(),
                damaged: false,
                deaf_until: now,
                seen: (LeaderEpoch::new(0), 0, false),
            };
            (node.id, node)
        };
        let nodes: BTreeMap<_, _> = (1..=4).map(node).collect();
        let ids: Vec<_> = nodes.keys().copied().collect();
        let below = |high: &NodeId| {
            ids.iter()
                .filter(|low| **low < *high)
                .map(|low| (*low, *high))
                .collect::<Vec<_>>()
        };
        let pairs = ids
            .iter()
            .flat_map(below)
            .map(|pair| (pair, Pair::default()));
        Self {
            now,
            counts,
            pairs: pairs.collect(),
            nodes,
            ledger: Ledger::default(),
            plan,
            may_lose,
            history: vec![image],
            wires: BTreeMap::new(),
            isolated: BTreeMap::new(),
            no_controller_until: now,
            transactions: Vec::new(),
            answers: Vec::new(),
            syncs: Vec::new(),
            next_session: 0,
            next_value: 0,
            led: BTreeMap::new(),
            calm: false,
            broken: None,
            random,
        }
    }

    /// A world in which nothing fails by itself.
    pub(super) fn still(seed: u64, counts: Counts, recovery: &str) -> Self {
        let mut world = Self::new(seed);
        (world.plan, world.counts) = (Plan::none(), counts);
        world.may_lose = recovery != "none";
        world.history = vec![cluster(counts, 2, recovery)];
        world
    }

    /// Time passes.
    pub(super) fn play(&mut self, millis: u64) -> Result<(), String> {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.step()?;
        }
        Ok(())
    }

    /// Everything may fail.
    pub(super) fn trouble(&mut self, millis: u64) -> Result<(), String> {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.fail();
            self.step()?;
        }
        Ok(())
    }

    /// Nothing fails, nobody writes, and all must become well. How long that took.
    pub(super) fn heal(&mut self, millis: u64) -> Result<u64, String> {
        self.calm = true;
        self.mend();
        let began = self.now;
        let end = began + Duration::from_millis(millis);
        while self.now < end {
            self.restart_all();
            self.step()?;
            let looks = self.now.since_start().as_millis().is_multiple_of(50);
            if looks && self.converged().is_ok() {
                self.check_all()?;
                return Ok(self.now.since(began).as_millis() as u64);
            }
        }
        self.converged().map_err(|what| format!("R12: {what}"))?;
        Ok(millis)
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn chance(&mut self, one_in: u64) -> bool {
        self.random.next().is_multiple_of(one_in)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound.max(1)
    }

    pub(super) fn soon(&mut self, millis: u64) -> Monotonic {
        let wait = Duration::from_millis(self.below(millis));
        self.now + wait
    }

    pub(super) fn some_node(&mut self) -> NodeId {
        id(1 + u32::try_from(self.below(4)).unwrap())
    }

    pub(super) fn is_awake(&self, node: NodeId) -> bool {
        let node = &self.nodes[&node];
        node.up && node.paused_until <= self.now
    }

    pub(super) fn reaches_controller(&self, node: NodeId) -> bool {
        self.isolated
            .get(&node)
            .is_none_or(|until| *until <= self.now)
    }

    fn step(&mut self) -> Result<(), String> {
        self.now = self.now + STEP;
        self.control();
        self.notice_links();
        let ids = self.ids();
        for id in &ids {
            if self.is_awake(*id) {
                self.hear(*id);
            }
        }
        self.deliver();
        self.sync();
        self.answer();
        let ticks = self.now.since_start().as_millis().is_multiple_of(100);
        for id in &ids {
            if self.is_awake(*id) {
                self.work(*id, ticks)?;
            }
        }
        if ticks {
            self.check_all()
        } else {
            self.check()
        }
    }

    fn sync(&mut self) {
        let now = self.now;
        let waiting = std::mem::take(&mut self.syncs);
        let (ready, later) = waiting.into_iter().partition(|(at, _)| *at <= now);
        self.syncs = later;
        let ready: Vec<(Monotonic, Sync)> = ready;
        for (_, sync) in ready {
            let node = self.nodes.get_mut(&sync.node).unwrap();
            let log = &mut node.log;
            if node.up && node.broker_epoch == sync.process && log.cuts == sync.cuts {
                log.durable = log.durable.max(sync.end.min(log.end()));
            }
        }
    }

    /// The controller's answers arrive.
    fn answer(&mut self) {
        let now = self.now;
        let waiting = std::mem::take(&mut self.answers);
        let (ready, later) = waiting.into_iter().partition(|(at, _)| *at <= now);
        self.answers = later;
        let ready: Vec<(Monotonic, Answer)> = ready;
        for (_, answer) in ready {
            let mut out = Vec::new();
            let awake = self.is_awake(answer.node);
            let node = self.nodes.get_mut(&answer.node).unwrap();
            if let Role::Leading(leading) = &mut node.role
                && awake
            {
                let machine = &mut leading.machine;
                machine.decided(answer.partition_epoch, answer.decision, now, &mut out);
            }
            self.lead(answer.node, out);
        }
    }

    /// A message is put on the wire, if its sender still has a link.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let side = usize::from(from > to);
        let pair = &self.pairs[&(from.min(to), from.max(to))];
        if !pair.open[side] {
            return;
        }
        let generation = pair.generation;
        let arrives = self.soon(30);
        let queue = self.wires.entry((to, from)).or_default();
        let after = queue
            .back()
            .map_or(arrives, |(last, ..)| arrives.max(*last));
        queue.push_back((after, generation, message));
    }
}
