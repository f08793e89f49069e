//! The world: time, links, failures, and the owner of the machines.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, PartitionEpoch};

use super::super::{at, key, node as id};
use super::check::Ledger;
use super::control::{State, Transaction};
use super::node::{Feed, Leading, Log, Message, Node, Role, Tenure};
use crate::back_off::Mixer;
use crate::credits::{Credits, Room};
use crate::divergence::EpochStart;
use crate::follower::{
    AppendHead, Attached, Follower, FollowerAction, FollowerTerm, LocalLog, Reset, Verdict,
};
use crate::leader::{Counts, Decision, Leader, LeaderAction, LeaderTerm, Marks};
use crate::session::{Attach, AttachOutcome, LeaderLog, Refusal};
use crate::timing::Timing;

const STEP: Duration = Duration::from_millis(10);
const SESSION: Duration = Duration::from_secs(2);

/// A direction of a link.
#[derive(Default)]
struct Wire {
    queue: VecDeque<(Monotonic, Message)>,
}

/// A pair of nodes: cut until then, and when both ends notice.
#[derive(Clone, Copy, Default)]
struct Pair {
    cut_until: Monotonic,
    notices_at: Option<Monotonic>,
    up: bool,
}

pub(super) struct World {
    pub(super) now: Monotonic,
    pub(super) state: State,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) ledger: Ledger,
    random: Mixer,
    /// Every version there was, for nodes that hear of it late.
    history: Vec<State>,
    wires: BTreeMap<(NodeId, NodeId), Wire>,
    pairs: BTreeMap<(NodeId, NodeId), Pair>,
    /// Nodes cut off from the controller until then.
    isolated: BTreeMap<NodeId, Monotonic>,
    transactions: Vec<(Monotonic, Transaction)>,
    decisions: Vec<(Monotonic, NodeId, PartitionEpoch, Decision)>,
    syncs: Vec<(Monotonic, NodeId, BrokerEpoch, LeaderEpoch, u64)>,
    next_session: u64,
    next_value: u64,
    calm: bool,
    /// What a step has found that only it could see.
    pub(super) broken: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Mixer::new(seed);
        let counts = if random.next().is_multiple_of(2) {
            Counts::Durable
        } else {
            Counts::Written
        };
        let ids: Vec<_> = (1..=3).map(id).collect();
        let state = State {
            version: 1,
            leader: Some(ids[0]),
            leader_epoch: LeaderEpoch::new(1),
            partition_epoch: PartitionEpoch(1),
            isr: ids.clone(),
            elr: Vec::new(),
            min_isr: 2,
            counts,
            nodes: ids.iter().map(|id| (*id, BrokerEpoch(1), false)).collect(),
        };
        let now = Monotonic::from_start(Duration::from_secs(1));
        let node = |id: &NodeId| Node {
            id: *id,
            up: true,
            wiped: false,
            log: Log::default(),
            broker_epoch: BrokerEpoch(1),
            image: State {
                version: 0,
                ..state.clone()
            },
            role: Role::Idle,
            granted_at: None,
            heartbeat_at: now,
            newest: Monotonic::default(),
        };
        let nodes = ids.iter().map(|id| (*id, node(id))).collect();
        let mut pairs = BTreeMap::new();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            pairs.insert(
                (ids[a], ids[b]),
                Pair {
                    up: true,
                    ..Pair::default()
                },
            );
        }
        Self {
            now,
            history: vec![state.clone()],
            state,
            nodes,
            ledger: Ledger::default(),
            random,
            wires: BTreeMap::new(),
            pairs,
            isolated: BTreeMap::new(),
            transactions: Vec::new(),
            decisions: Vec::new(),
            syncs: Vec::new(),
            next_session: 0,
            next_value: 0,
            calm: false,
            broken: None,
        }
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

    /// Nothing fails, nobody writes, and all must become well.
    pub(super) fn heal(&mut self, millis: u64) -> Result<(), String> {
        self.calm = true;
        self.isolated.clear();
        for pair in self.pairs.values_mut() {
            pair.cut_until = self.now;
        }
        let down: Vec<_> = self
            .nodes
            .values()
            .filter(|n| !n.up)
            .map(|n| n.id)
            .collect();
        down.into_iter().for_each(|id| self.restart(id));
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.step()?;
            if self.converged().is_ok() {
                return Ok(());
            }
        }
        self.converged().map_err(|what| format!("R12: {what}"))
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.next().is_multiple_of(one_in)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound.max(1)
    }

    fn soon(&mut self, millis: u64) -> Monotonic {
        let wait = Duration::from_millis(self.below(millis));
        self.now + wait
    }

    fn some_node(&mut self) -> NodeId {
        id(1 + u32::try_from(self.below(3)).unwrap())
    }

    fn fail(&mut self) {
        if self.chance(150) {
            let until = self.soon(3000);
            let at = usize::try_from(self.below(3)).unwrap();
            let notices_at = self.soon(300);
            if let Some(pair) = self.pairs.values_mut().nth(at) {
                pair.cut_until = until;
                pair.notices_at = pair.up.then_some(notices_at);
            }
        }
        if self.chance(300) {
            let (node, until) = (self.some_node(), self.soon(5000));
            self.isolated.insert(node, until);
        }
        let victim = self.some_node();
        if !self.nodes[&victim].up {
            if self.chance(150) {
                self.restart(victim);
            }
        } else if self.chance(400) {
            self.crash(victim);
        }
    }

    fn crash(&mut self, victim: NodeId) {
        let state = &self.state;
        let holders = state.isr.iter().chain(&state.elr).filter(|n| **n != victim);
        let spared = holders.filter(|n| !self.nodes[n].wiped).count();
        let wipe = spared >= 2 && self.chance(4);
        let survives = self.random.next();
        let durable = self.state.counts == Counts::Durable;
        let node = self.nodes.get_mut(&victim).unwrap();
        node.up = false;
        node.role = Role::Idle;
        if wipe {
            node.log = Log::default();
            node.wiped = true;
        } else if durable {
            let unsynced = node.log.end() - node.log.durable;
            let end = node.log.durable + survives % (unsynced + 1);
            node.log.cut(end);
            node.log.durable = end;
        }
        // The high watermark on disk is a hint, and old.
        node.log.high_watermark = node.log.high_watermark.saturating_sub(survives % 7);
        for ((a, b), pair) in &mut self.pairs {
            if *a == victim || *b == victim {
                pair.notices_at = pair.up.then_some(self.now);
            }
        }
        self.notice_links();
    }

    fn restart(&mut self, id: NodeId) {
        let wiped = std::mem::take(&mut self.nodes.get_mut(&id).unwrap().wiped);
        let epoch = BrokerEpoch(self.state.version + 1);
        self.change(|state| {
            state.out(id, wiped);
            for node in state.nodes.iter_mut().filter(|(node, ..)| *node == id) {
                *node = (id, epoch, true);
            }
        });
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        (node.up, node.broker_epoch, node.heartbeat_at) = (true, epoch, now);
    }

    /// One more version.
    fn change(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.state.version += 1;
        self.history.push(self.state.clone());
    }

    fn reaches_controller(&self, node: NodeId) -> bool {
        self.isolated
            .get(&node)
            .is_none_or(|until| *until <= self.now)
    }

    fn step(&mut self) -> Result<(), String> {
        self.now = self.now + STEP;
        self.control();
        self.notice_links();
        for id in [1, 2, 3].map(id) {
            if self.nodes[&id].up {
                self.hear(id);
            }
        }
        self.deliver();
        self.sync();
        let ticks = self.now.since_start().as_millis().is_multiple_of(100);
        for id in [1, 2, 3].map(id) {
            if self.nodes[&id].up {
                self.work(id, ticks)?;
            }
        }
        self.check()
    }

    fn control(&mut self) {
        let now = self.now;
        let due = |at: &Monotonic| *at <= now;
        let (ready, later) = std::mem::take(&mut self.transactions)
            .into_iter()
            .partition(|(at, _)| due(at));
        self.transactions = later;
        let ready: Vec<(Monotonic, Transaction)> = ready;
        for (_, transaction) in ready {
            let decision = if self.state.version == transaction.expected_version {
                let isr = transaction
                    .proposal
                    .new_isr
                    .iter()
                    .map(|(node, _)| *node)
                    .collect();
                self.change(|state| state.set_isr(isr));
                Decision::Committed(self.state.partition_epoch)
            } else {
                Decision::Unknown
            };
            if self.calm || !self.chance(3) {
                let at = self.soon(200);
                let epoch = transaction.proposal.partition_epoch;
                self.decisions.push((at, transaction.node, epoch, decision));
            }
        }
        for id in [1, 2, 3].map(id) {
            let reaches = self.reaches_controller(id) && self.nodes[&id].up;
            if reaches {
                self.nodes.get_mut(&id).unwrap().heartbeat_at = now;
            }
            let silent = now.since(self.nodes[&id].heartbeat_at) > SESSION;
            let fenced = self.state.fenced(id);
            let current = self.state.broker_epoch(id) == self.nodes[&id].broker_epoch;
            let caught_up = self.nodes[&id].image.version >= self.nodes[&id].broker_epoch.0;
            let set = |state: &mut State, fenced| {
                for node in state.nodes.iter_mut().filter(|(node, ..)| *node == id) {
                    node.2 = fenced;
                }
            };
            if silent && !fenced {
                self.change(|state| {
                    set(state, true);
                    state.out(id, false);
                });
            } else if reaches && fenced && current && caught_up {
                self.change(|state| {
                    set(state, false);
                    state.elect();
                });
            }
        }
    }

    fn notice_links(&mut self) {
        let now = self.now;
        let mut changed = Vec::new();
        for ((a, b), pair) in &mut self.pairs {
            let alive = self.nodes[a].up && self.nodes[b].up;
            if pair.notices_at.is_some_and(|at| at <= now) {
                (pair.notices_at, pair.up) = (None, false);
                changed.push((*a, *b, false));
            } else if !pair.up && pair.notices_at.is_none() && alive && pair.cut_until <= now {
                pair.up = true;
                changed.push((*a, *b, true));
            }
        }
        for (a, b, up) in changed {
            self.wires.remove(&(a, b));
            self.wires.remove(&(b, a));
            for (me, peer) in [(a, b), (b, a)] {
                self.link_changed(me, peer, up);
            }
        }
    }

    fn link_changed(&mut self, me: NodeId, peer: NodeId, up: bool) {
        let (now, mut out, mut done) = (self.now, Vec::new(), Vec::new());
        match &mut self.nodes.get_mut(&me).unwrap().role {
            Role::Following(follower) if follower.leader() == Some(peer) => {
                if up {
                    follower.link_up(now, &mut out);
                } else {
                    follower.link_down(now);
                }
            }
            Role::Leading(leading) if !up => {
                let of_peer = leading.feeds.iter().filter(|(_, feed)| feed.node == peer);
                let sessions: Vec<u64> = of_peer.map(|(session, _)| *session).collect();
                for session in sessions {
                    leading.feeds.remove(&session);
                    leading.machine.session_lost(session, &mut done);
                }
            }
            Role::Following(_) | Role::Leading(_) | Role::Idle => {}
        }
        self.follow(me, out);
        self.lead(me, done);
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let pair = self.pairs[&(from.min(to), from.max(to))];
        if !pair.up || pair.notices_at.is_some() {
            return;
        }
        let arrives = self.soon(30);
        let wire = self.wires.entry((from, to)).or_default();
        let after = wire
            .queue
            .back()
            .map_or(arrives, |(last, _)| arrives.max(*last));
        wire.queue.push_back((after, message));
    }

    fn deliver(&mut self) {
        let directions: Vec<_> = self.wires.keys().copied().collect();
        for (from, to) in directions {
            loop {
                let pair = self.pairs[&(from.min(to), from.max(to))];
                let wire = self.wires.entry((from, to)).or_default();
                let due = wire.queue.front().is_some_and(|(at, _)| *at <= self.now);
                if !due || pair.notices_at.is_some() {
                    break;
                }
                if let Some((_, message)) = wire.queue.pop_front() {
                    self.receive(to, from, message);
                }
            }
        }
    }

    fn sync(&mut self) {
        let now = self.now;
        let (ready, later) = std::mem::take(&mut self.syncs)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.syncs = later;
        let ready: Vec<(Monotonic, NodeId, BrokerEpoch, LeaderEpoch, u64)> = ready;
        for (_, id, broker_epoch, epoch, end) in ready {
            let node = self.nodes.get_mut(&id).unwrap();
            let same = match &node.role {
                Role::Leading(leading) => leading.machine.leader_epoch() == epoch,
                Role::Following(follower) => follower.leader_epoch() == epoch,
                Role::Idle => false,
            };
            if node.up && node.broker_epoch == broker_epoch && same {
                node.log.durable = node.log.durable.max(end.min(node.log.end()));
            }
        }
    }
}

#[path = "mail.rs"]
mod mail;
#[path = "owner.rs"]
mod owner;
