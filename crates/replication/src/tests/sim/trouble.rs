//! What goes wrong, and how all of it is mended.

use std::collections::BTreeSet;
use std::time::Duration;

use plimsoll_controller::rules::{self, Election, Reassign};
use plimsoll_types::NodeId;

use super::super::key;
use super::metadata::{LIMITS, partition};
use super::node::{End, Role};
use super::world::World;
use crate::back_off::Mixer;
use crate::leader::Counts;

/// Which kinds of trouble a seed has, and how often: once in so many steps; `None` for never.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    cuts: Option<u64>,
    isolation: Option<u64>,
    pauses: Option<u64>,
    crashes: Option<u64>,
    wipes: bool,
    power: bool,
    no_controller: Option<u64>,
    min_isr: Option<u64>,
    moves: Option<u64>,
    elections: Option<u64>,
    full_disks: Option<u64>,
    pub(super) retention: Option<u64>,
    pub(super) damage: bool,
    /// Proposals are held this long at most.
    pub(super) held_ms: u64,
    /// A leader writes in one of so many steps.
    pub(super) writes: u64,
    /// Proposals and answers to them get lost and come twice.
    pub(super) lossy: bool,
}

impl Plan {
    pub(super) fn draw(random: &mut Mixer) -> Self {
        let mut some = |rate: u64| {
            let n = random.next();
            (!n.is_multiple_of(3)).then_some(rate / 2 + (n >> 8) % rate)
        };
        Self {
            cuts: some(150),
            isolation: some(250),
            pauses: some(500),
            crashes: some(300),
            wipes: some(2).is_some(),
            power: some(2).is_some(),
            no_controller: some(600),
            min_isr: some(300),
            moves: some(400),
            elections: some(200),
            full_disks: some(600),
            retention: some(100),
            damage: some(2).is_some(),
            held_ms: some(3000).unwrap_or(300),
            writes: some(20).unwrap_or(3),
            lossy: true,
        }
    }

    /// Nothing goes wrong by itself.
    pub(super) fn none() -> Self {
        Self {
            cuts: None,
            isolation: None,
            pauses: None,
            crashes: None,
            wipes: false,
            power: false,
            no_controller: None,
            min_isr: None,
            moves: None,
            elections: None,
            full_disks: None,
            retention: None,
            damage: false,
            held_ms: 300,
            writes: 4,
            lossy: false,
        }
    }
}

impl World {
    fn strikes(&mut self, rate: Option<u64>) -> bool {
        rate.is_some_and(|rate| self.chance(rate))
    }

    pub(super) fn fail(&mut self) {
        let plan = self.plan.clone();
        if self.strikes(plan.cuts) {
            let until = self.soon(3000);
            let nth = self.below(self.pairs.len() as u64) as usize;
            let sides = self.below(3);
            if let Some(pair) = self.pairs.values_mut().nth(nth) {
                for side in [0, 1] {
                    if sides != 1 - side {
                        pair.cut[side as usize] = until;
                    }
                }
            }
        }
        if self.strikes(plan.isolation) {
            let (node, until) = (self.some_node(), self.soon(5000));
            self.isolated.insert(node, until);
        }
        if self.strikes(plan.pauses) {
            let (node, until) = (self.some_node(), self.soon(4000));
            self.nodes.get_mut(&node).unwrap().paused_until = until;
        }
        if self.strikes(plan.no_controller) {
            self.no_controller_until = self.soon(3000);
        }
        if self.strikes(plan.full_disks) {
            let (node, until) = (self.some_node(), self.soon(1500));
            self.nodes.get_mut(&node).unwrap().full_until = until;
        }
        let victim = self.some_node();
        if !self.nodes[&victim].up {
            if self.chance(100) {
                self.register(victim);
            }
        } else if self.strikes(plan.crashes) {
            self.crash(victim, &plan);
        }
        if plan.wipes && self.chance(30) {
            self.strike_a_joiner(&plan);
        }
        self.operate(&plan);
    }

    /// Whoever is just being taken in starts anew, on an empty disk.
    fn strike_a_joiner(&mut self, plan: &Plan) {
        let isr = &partition(self.image()).isr;
        let proposed = self.transactions.iter();
        let proposed = proposed.flat_map(|(_, transaction)| &transaction.proposal.new_isr);
        let joiner = proposed.map(|(node, _)| *node).find(|n| !isr.contains(n));
        if let Some(joiner) = joiner.filter(|joiner| self.nodes[joiner].up) {
            self.crash(
                joiner,
                &Plan {
                    wipes: true,
                    ..plan.clone()
                },
            );
            self.register(joiner);
        }
    }

    /// What a person does, at the wrong time.
    fn operate(&mut self, plan: &Plan) {
        if self.strikes(plan.min_isr) {
            let value = 1 + self.below(3);
            if !self.may_lose && self.unreported() > 0 {
                // Lowered, it lets the rest go; raised, it ends the ELR.
                return;
            }
            self.set_config("min.insync.replicas", &value.to_string());
        }
        if self.strikes(plan.moves) {
            let replicas = match self.below(5) {
                0 => None,
                out => {
                    let away = i32::try_from(out).unwrap();
                    Some((1..=4).filter(|n| *n != away).collect())
                }
            };
            let wish = Reassign {
                key: key(),
                replicas,
            };
            self.rule(|image| rules::reassign(image, &LIMITS, &wish));
        }
        if self.strikes(plan.elections) {
            self.rule(|image| rules::elect(image, key(), Election::Preferred, &[]));
        }
        if self.strikes(plan.elections) {
            let node = self.some_node();
            self.rule(|image| {
                let (of, ill) = (super::metadata::epoch_of(image, node), BTreeSet::new());
                rules::resign_leaderships(image, node, of, &ill)
            });
        }
    }

    /// How many have lost records and not yet told the controller.
    fn unreported(&self) -> usize {
        let now = partition(self.image());
        let counts = |node: &NodeId| now.isr.contains(node) || now.elr.contains(node);
        let lost = self
            .nodes
            .values()
            .filter(|node| node.end != End::Harmless || node.damaged && counts(&node.id));
        lost.count()
    }

    /// Whether somebody else is left with all that is committed, whatever is decided next. As
    /// long as fewer than min ISR are lost and not known to be, somebody whole stays in ISR or ELR
    /// whoever else leaves.
    pub(super) fn is_spare(&self, victim: NodeId) -> bool {
        if self.unreported() + 1 >= self.image().min_isr(key()) {
            return false;
        }
        let whole = |node: &&NodeId| {
            let other = &self.nodes[*node];
            **node != victim && other.end == End::Harmless && !other.damaged
        };
        let now = partition(self.image());
        let sets = self.transactions.iter().map(|(_, transaction)| {
            let isr = &transaction.proposal.new_isr;
            isr.iter().map(|(node, _)| *node).collect::<Vec<_>>()
        });
        let committed: Vec<NodeId> = now.isr.iter().chain(now.elr.iter()).copied().collect();
        let mut asked = Vec::new();
        for node in self.nodes.values() {
            if let Role::Leading(leading) = &node.role
                && let Some(pending) = leading.machine.pending()
            {
                asked.push(pending.new_isr.iter().map(|(node, _)| *node).collect());
            }
        }
        let mut all = sets.chain(asked).chain([committed]);
        all.all(|set| set.iter().any(|node| whole(&node)))
    }

    fn crash(&mut self, victim: NodeId, plan: &Plan) {
        let spare = self.may_lose || self.is_spare(victim);
        let wipe = plan.wipes && spare && self.chance(4);
        let power = plan.power && self.chance(2);
        let written = self.counts == Counts::Written;
        let survives = self.below(1 << 20);
        let node = self.nodes.get_mut(&victim).unwrap();
        (node.up, node.paused_until) = (false, self.now);
        node.role = Role::Idle;
        node.seen.1 = 0;
        if wipe {
            node.log = super::node::Log::default();
            (node.end, node.damaged) = (End::Wiped, false);
        } else if power && (!written || spare) {
            self.lose_power(victim, survives);
        }
        // The high watermark on disk is a hint, and old.
        let log = &mut self.nodes.get_mut(&victim).unwrap().log;
        let hint = log.high_watermark.saturating_sub(survives % 7);
        log.high_watermark = hint.max(log.start);
    }

    /// What was not synced is gone, but for a part of it.
    pub(super) fn lose_power(&mut self, victim: NodeId, survives: u64) {
        let written = self.counts == Counts::Written;
        let node = self.nodes.get_mut(&victim).unwrap();
        (node.up, node.role, node.seen.1) = (false, Role::Idle, 0);
        let unsynced = node.log.end() - node.log.durable;
        let end = node.log.durable + survives % (unsynced + 1);
        node.log.cut(end);
        node.log.durable = end;
        if written && node.end == End::Harmless {
            node.end = End::Lossy;
        }
    }

    /// Nothing fails from now on.
    pub(super) fn mend(&mut self) {
        let now = self.now;
        self.isolated.clear();
        self.no_controller_until = now;
        self.pairs.values_mut().for_each(|pair| pair.cut = [now; 2]);
        for node in self.nodes.values_mut() {
            (node.paused_until, node.full_until) = (now, now);
        }
    }

    /// Whoever is down starts, as far as the controller lets it.
    pub(super) fn restart_all(&mut self) {
        let down: Vec<_> = self
            .nodes
            .values()
            .filter(|n| !n.up)
            .map(|n| n.id)
            .collect();
        let looks = self.now.since_start() > Duration::ZERO
            && self.now.since_start().as_millis().is_multiple_of(100);
        for id in down.into_iter().filter(|_| looks) {
            self.register(id);
        }
    }
}
