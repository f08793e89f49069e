//! What the partitions say, kept so that one can ask by node and by state.
//!
//! Always: every entry follows from the partitions; a change costs what it touches.

use super::Partition;
use crate::sorted_map::SortedMap;
use plimsoll_types::{NodeId, PartitionKey, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

type Placed = SortedMap<(NodeId, PartitionKey), ()>;
type Set = SortedMap<PartitionKey, ()>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    hosted: Placed,
    led: Placed,
    leaderless: Set,
    under_replicated: Set,
    reassigning: Set,
    counts: Arc<BTreeMap<NodeId, Counts>>,
    partitions: usize,
}

/// What one node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    replicas: u32,
    in_sync: u32,
    leaderships: u32,
}

impl Index {
    pub(super) fn added(&mut self, key: PartitionKey, partition: &Partition) {
        self.partitions += 1;
        self.place(key, None, Some(partition));
    }

    pub(super) fn removed(&mut self, key: PartitionKey, partition: &Partition) {
        self.partitions = self.partitions.saturating_sub(1);
        self.place(key, Some(partition), None);
    }

    pub(super) fn changed(&mut self, key: PartitionKey, before: &Partition, after: &Partition) {
        self.place(key, Some(before), Some(after));
    }

    fn place(&mut self, key: PartitionKey, old: Option<&Partition>, new: Option<&Partition>) {
        let held = |p: Option<&Partition>| p.map_or_else(Vec::new, |p| p.replicas.to_vec());
        let (before, after) = (held(old), held(new));
        for node in before.iter().filter(|node| !after.contains(node)) {
            self.hosted.remove(&(*node, key));
            self.count(*node, [-1, 0, 0]);
        }
        for node in after.iter().filter(|node| !before.contains(node)) {
            self.hosted.insert((*node, key), ());
            self.count(*node, [1, 0, 0]);
        }
        let in_sync = |p: Option<&Partition>| p.map_or_else(Vec::new, |p| p.isr.to_vec());
        let (before, after) = (in_sync(old), in_sync(new));
        for node in before.iter().filter(|node| !after.contains(node)) {
            self.count(*node, [0, -1, 0]);
        }
        for node in after.iter().filter(|node| !before.contains(node)) {
            self.count(*node, [0, 1, 0]);
        }
        let led = |p: Option<&Partition>| p.and_then(|p| p.leader);
        let (before, after) = (led(old), led(new));
        if before != after {
            if let Some(node) = before {
                self.led.remove(&(node, key));
                self.count(node, [0, 0, -1]);
            }
            if let Some(node) = after {
                self.led.insert((node, key), ());
                self.count(node, [0, 0, 1]);
            }
        }
        let is = |p: Option<&Partition>, test: fn(&Partition) -> bool| p.is_some_and(test);
        let tests: [(&mut Set, fn(&Partition) -> bool); 3] = [
            (&mut self.leaderless, |p| p.leader.is_none()),
            (&mut self.under_replicated, |p| {
                p.isr.len() < p.replicas.len()
            }),
            (&mut self.reassigning, Partition::is_reassigning),
        ];
        for (set, test) in tests {
            match (is(old, test), is(new, test)) {
                (false, true) => {
                    set.insert(key, ());
                }
                (true, false) => {
                    set.remove(&key);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    fn count(&mut self, node: NodeId, [replicas, in_sync, leaderships]: [i32; 3]) {
        let counts = Arc::make_mut(&mut self.counts);
        let held = counts.entry(node).or_default();
        held.replicas = held.replicas.saturating_add_signed(replicas);
        held.in_sync = held.in_sync.saturating_add_signed(in_sync);
        held.leaderships = held.leaderships.saturating_add_signed(leaderships);
        if *held == Counts::default() {
            counts.remove(&node);
        }
    }

    pub(super) fn hosted_by(&self, node: NodeId) -> impl Iterator<Item = PartitionKey> {
        of_node(&self.hosted, node)
    }

    pub(super) fn led_by(&self, node: NodeId) -> impl Iterator<Item = PartitionKey> {
        of_node(&self.led, node)
    }

    pub(super) fn leaderless(&self) -> impl Iterator<Item = PartitionKey> {
        self.leaderless.iter().map(|(key, ())| *key)
    }

    pub(super) fn under_replicated(&self) -> impl Iterator<Item = PartitionKey> {
        self.under_replicated.iter().map(|(key, ())| *key)
    }

    pub(super) fn reassigning(&self) -> impl Iterator<Item = PartitionKey> {
        self.reassigning.iter().map(|(key, ())| *key)
    }

    pub(super) fn replicas_on(&self, node: NodeId) -> u32 {
        self.counts.get(&node).map_or(0, |held| held.replicas)
    }

    pub(super) fn in_sync_on(&self, node: NodeId) -> u32 {
        self.counts.get(&node).map_or(0, |held| held.in_sync)
    }

    pub(super) fn leaderships_of(&self, node: NodeId) -> u32 {
        self.counts.get(&node).map_or(0, |held| held.leaderships)
    }

    pub(super) const fn partitions(&self) -> usize {
        self.partitions
    }
}

fn of_node(placed: &Placed, node: NodeId) -> impl Iterator<Item = PartitionKey> {
    let first = PartitionKey {
        topic: TopicId::ABSENT,
        index: 0,
    };
    placed
        .range_from(&(node, first))
        .map(|(at, ())| *at)
        .take_while(move |(of, _)| *of == node)
        .map(|(_, key)| key)
}
