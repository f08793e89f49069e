//! One partition's next state in the making.
//!
//! Every rule that touches an ISR or a leader says here what happened; what follows from it (who
//! leads, who may lead, which epoch begins, whether a reassignment has ended) is decided in
//! [`Change::finish`] and nowhere else.

use crate::image::{Image, Partition};
use crate::record::{Assignment, Record};
use plimsoll_types::{NodeId, PartitionEpoch, PartitionKey};
use std::collections::{BTreeMap, BTreeSet};

/// Most partition records that one call of a rule makes. At some 60 bytes each that is half a
/// megabyte of the metadata log.
pub const MAX_CHANGES: usize = 8192;

/// What a node may have lost of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing that counted.
    Nothing,
    /// The end of its log, or a part of it.
    Some,
    /// All of it: there is nothing left to ask for.
    Everything,
}

/// How many partitions each node leads, with those that the rule at work gives out.
pub(super) struct Loads<'a> {
    image: &'a Image,
    given: BTreeMap<NodeId, u32>,
}

impl<'a> Loads<'a> {
    pub(super) const fn of(image: &'a Image) -> Self {
        Self {
            image,
            given: BTreeMap::new(),
        }
    }

    fn leaderships_of(&self, node: NodeId) -> u32 {
        let given = self.given.get(&node).copied().unwrap_or(0);
        self.image.leaderships_of(node).saturating_add(given)
    }
}

/// See the module.
pub(super) struct Change<'a> {
    image: &'a Image,
    key: PartitionKey,
    configured_min_isr: u32,
    /// As the partition is.
    pub old: &'a Partition,
    /// As it becomes.
    pub next: Assignment,
    /// Whom not to make the leader.
    pub avoid: BTreeSet<NodeId>,
    unclean: bool,
    keeps_last_known: bool,
}

impl<'a> Change<'a> {
    pub(super) fn of(image: &'a Image, key: PartitionKey) -> Option<Self> {
        let old = image.partition_by_key(key)?;
        let topic = image.topic_by_id(key.topic).map(AsRef::as_ref);
        Some(Self {
            image,
            key,
            configured_min_isr: image.configured_min_isr(topic),
            old,
            next: old.assignment(),
            avoid: BTreeSet::new(),
            unclean: false,
            keeps_last_known: false,
        })
    }

    pub(super) const fn key(&self) -> PartitionKey {
        self.key
    }

    /// `node` is in sync no more.
    pub(super) fn leaves(&mut self, node: NodeId, loss: Loss) {
        let next = &mut self.next;
        let was_in_sync = next.isr.contains(&node);
        let was_eligible = was_in_sync || next.elr.contains(&node);
        next.isr.retain(|member| *member != node);
        match loss {
            Loss::Nothing if was_in_sync => next.elr.push(node),
            Loss::Nothing => {}
            Loss::Some => {
                // C5.
                next.elr.retain(|member| *member != node);
                if was_eligible && !next.last_known_elr.contains(&node) {
                    next.last_known_elr.push(node);
                }
            }
            Loss::Everything => {
                next.elr.retain(|member| *member != node);
                next.last_known_elr.retain(|member| *member != node);
            }
        }
        if next.leader == Some(node) {
            next.leader = None;
        }
    }

    /// Exactly `isr` are in sync, as their leader says.
    pub(super) fn in_sync(&mut self, isr: Vec<NodeId>) {
        let before = self.next.isr.clone();
        for node in before.into_iter().filter(|node| !isr.contains(node)) {
            self.leaves(node, Loss::Nothing);
        }
        self.next.isr = isr;
    }

    /// Those who left with what they may have lost are remembered though enough seem to be in sync:
    /// of these the next may say in a moment that its machine went down at the same time.
    pub(super) const fn keeps_last_known(&mut self) {
        self.keeps_last_known = true;
    }

    /// Whoever leads is to be chosen anew.
    pub(super) const fn vacate(&mut self) {
        self.next.leader = None;
    }

    /// `node` leads although it may lack records; what others have beyond it is lost.
    pub(super) fn lead_unclean(&mut self, node: NodeId) {
        self.next.leader = Some(node);
        self.next.isr = vec![node];
        self.next.elr.clear();
        self.next.last_known_elr.clear();
        self.unclean = true;
    }

    /// Whether `node` could be given this leadership in good order.
    pub(super) fn could_lead(&self, node: NodeId) -> bool {
        !self.avoid.contains(&node) && self.image.is_usable(node)
    }

    /// How many in sync it takes to commit, with the replicas as they become.
    pub(super) fn least_in_sync(&self) -> usize {
        let next = &self.next;
        let count = |without: &[NodeId]| {
            let stays = |node: &&NodeId| !without.contains(node);
            next.replicas.iter().filter(stays).count()
        };
        let configured = usize::try_from(self.configured_min_isr).unwrap_or(usize::MAX);
        let least = count(&next.adding).min(count(&next.removing));
        configured.min(least).max(1)
    }

    /// The record that makes it so, with all that follows; `None` when nothing is different.
    pub(super) fn finish(mut self, loads: &mut Loads<'_>) -> Option<Record> {
        let fenced = |node: &NodeId| !self.image.is_alive(*node);
        let fenced: Vec<NodeId> = self.next.isr.iter().copied().filter(fenced).collect();
        for node in fenced {
            self.leaves(node, Loss::Nothing);
        }
        self.end_reassignment();
        if self.next.leader.is_none() {
            self.choose_leader(loads);
        }
        self.settle_elr();
        let (old, next) = (self.old, &mut self.next);
        let taken_out = old.replicas.iter().any(|r| !next.replicas.contains(r));
        if next.leader != old.leader || taken_out || self.unclean {
            // C1.
            next.leader_epoch = old.leader_epoch.next();
        }
        if self.unclean {
            next.unclean_epoch = Some(next.leader_epoch);
        }
        next.recovering =
            (next.recovering || self.unclean) && next.isr.len() < 2 && next.replicas.len() > 1;
        debug_assert!(next.leader.iter().all(|l| next.isr.contains(l)), "C2");
        if *next == old.assignment() {
            return None;
        }
        next.partition_epoch = PartitionEpoch(old.partition_epoch.0 + 1);
        if let Some(leader) = next.leader.filter(|_| next.leader != old.leader) {
            *loads.given.entry(leader).or_default() += 1;
        }
        Some(Record::PartitionChanged {
            id: self.key.topic,
            partition: self.key.index,
            state: self.next,
        })
    }

    /// A reassignment ends when all it brings in are in sync, and enough of what stays.
    fn end_reassignment(&mut self) {
        let next = &mut self.next;
        if next.adding.is_empty() && next.removing.is_empty() {
            return;
        }
        let stays = |node: &NodeId| !next.removing.contains(node);
        let target: Vec<NodeId> = next.replicas.iter().copied().filter(stays).collect();
        let isr: Vec<NodeId> = next.isr.iter().copied().filter(stays).collect();
        let configured = usize::try_from(self.configured_min_isr).unwrap_or(usize::MAX);
        let enough = isr.len() >= configured.min(target.len()).max(1);
        if !enough || !next.adding.iter().all(|node| isr.contains(node)) {
            return;
        }
        next.adding.clear();
        next.removing.clear();
        self.keep_only(target);
    }

    /// Whoever is not in `replicas` is none any more; their order is that of preference.
    pub(super) fn keep_only(&mut self, replicas: Vec<NodeId>) {
        let next = &mut self.next;
        let stays = |node: &NodeId| replicas.contains(node);
        for nodes in [&mut next.isr, &mut next.elr, &mut next.last_known_elr] {
            nodes.retain(stays);
        }
        next.leader = next.leader.filter(stays);
        next.replicas = replicas;
    }

    fn choose_leader(&mut self, loads: &Loads<'_>) {
        if let Some(leader) = self.best_of(&self.next.isr, loads) {
            self.next.leader = Some(leader);
        } else if let Some(leader) = self.best_of(&self.next.elr, loads) {
            debug_assert!(
                self.next.isr.is_empty(),
                "its members are alive, and one would lead"
            );
            self.next.elr.retain(|node| *node != leader);
            self.next.isr = vec![leader];
            self.next.leader = Some(leader);
        } else if self.next.elr.is_empty()
            && let [only] = self.next.replicas[..]
            && self.next.last_known_elr == [only]
            && self.image.is_alive(only)
        {
            // Its directory is there and no other replica ever was: nobody has more.
            self.lead_unclean(only);
        }
    }

    /// The preferred leader, or else who leads least. One that drains only where all do.
    fn best_of(&self, nodes: &[NodeId], loads: &Loads<'_>) -> Option<NodeId> {
        let preferred = self.next.replicas.first();
        let rank = |node: &NodeId| {
            let place = self.next.replicas.iter().position(|r| r == node);
            let away = self.next.removing.contains(node);
            let least = (away, loads.leaderships_of(*node), place);
            (!self.could_lead(*node), preferred != Some(node), least)
        };
        let alive = nodes.iter().copied();
        let alive = alive.filter(|node| self.image.is_alive(*node));
        alive.min_by_key(rank)
    }

    fn settle_elr(&mut self) {
        let enough = self.next.isr.len() >= self.least_in_sync();
        let keeps_last_known = self.keeps_last_known;
        let Assignment {
            isr,
            elr,
            last_known_elr,
            ..
        } = &mut self.next;
        if enough {
            // C3: what is committed from here on, they need not have.
            elr.clear();
            if !keeps_last_known {
                last_known_elr.clear();
            }
        }
        if enough && !keeps_last_known {
            return;
        }
        elr.retain(|node| !isr.contains(node));
        last_known_elr.retain(|node| !isr.contains(node) && !elr.contains(node));
    }
}

/// The records of these partitions' changes, as many as one transaction takes.
pub(super) fn changes<'a>(
    image: &'a Image,
    keys: impl IntoIterator<Item = PartitionKey>,
    mut happened: impl FnMut(&mut Change<'a>),
) -> Vec<Record> {
    let mut loads = Loads::of(image);
    let keys = keys.into_iter();
    let records = keys.filter_map(|key| {
        let mut change = Change::of(image, key)?;
        happened(&mut change);
        change.finish(&mut loads)
    });
    records.take(MAX_CHANGES).collect()
}

/// The partitions on `node`, those that it leads first: they are down until they are led again.
pub(super) fn led_first(image: &Image, node: NodeId) -> impl Iterator<Item = PartitionKey> {
    let followed = image.partitions_on(node).filter(move |key| {
        let partition = image.partition_by_key(*key);
        partition.is_some_and(|partition| partition.leader != Some(node))
    });
    image.partitions_led_by(node).chain(followed)
}
