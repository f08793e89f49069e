//! Whether all is well in the end: every replica in sync, level and equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_controller::{Image, Partition as Metadata};
use plimsoll_partition::{Describe, Partition};
use plimsoll_segment_log::Minimum;
use plimsoll_types::{Monotonic, NodeId, Offset};

use crate::client::records_of;
use crate::history::Number;
use crate::operate::led_by_drained;
use crate::world::{TOPIC, World};

impl World {
    /// A node's replica of a partition.
    fn replica(&self, node: u32, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        let process = self.net.process(node)?;
        process.broker.catalog().partition(topic, partition).ok()
    }

    /// What is not as it should be in peace; empty when all is well.
    pub(crate) fn unrest(&self, partitions: u32) -> Option<String> {
        let nodes = self.nodes();
        if let Some(down) = nodes.iter().find(|node| !self.is_up(**node)) {
            return Some(format!("node {down} is down"));
        }
        let image = self.net.process(*nodes.first()?)?.broker.image();
        let made = image.topic(TOPIC).map_or(0, |topic| topic.partitions.len());
        if made < usize::try_from(partitions).unwrap_or(usize::MAX) {
            return Some(format!("partition {made} is not known"));
        }
        // What the brokers keep for themselves must be well too.
        image.topics().find_map(|topic| {
            let mut all = (0..).zip(&topic.partitions);
            all.find_map(|(index, known)| self.unrest_of(&image, topic.name.as_ref(), index, known))
        })
    }

    fn unrest_of(
        &self,
        image: &Image,
        topic: &str,
        index: i32,
        known: &Metadata,
    ) -> Option<String> {
        let name = match topic {
            TOPIC => format!("partition {index}"),
            _ => format!("partition {index} of {topic}"),
        };
        let Some(leader) = known.leader else {
            return Some(format!("{name} has no leader"));
        };
        if let Some(what) = led_by_drained(image, known) {
            return Some(format!("{name} {what}"));
        }
        let orders = u32::try_from(index).ok().filter(|_| topic == TOPIC);
        if let Some(what) = orders.and_then(|index| self.orders.unmet(index, known)) {
            return Some(what);
        }
        let told = || self.positions(topic, &known.replicas, index);
        if known.isr.len() != known.replicas.len() {
            return Some(format!(
                "{name}: in sync are {:?} of {:?}, led by {leader}: {}",
                words(&known.isr),
                words(&known.replicas),
                told(),
            ));
        }
        let replicas = known.replicas.iter();
        let states: Vec<Option<Describe>> = replicas
            .map(|node| Some(self.replica(node.get(), topic, index)?.describe()))
            .collect();
        let ends: Vec<_> = states
            .iter()
            .map(|state| {
                let state = state.as_ref()?;
                Some((state.log_start, state.log_end, state.high_watermark))
            })
            .collect();
        let level = ends.iter().all(|end| {
            end.is_some_and(|(_, last, mark)| ends.first() == Some(end) && last == mark)
        });
        (!level).then(|| format!("{name}: {}", told()))
    }

    /// The high watermarks of the clients' topic, as far as some node knows.
    pub(crate) fn ends(&self, partitions: u32) -> BTreeMap<i32, i64> {
        let mut ends = BTreeMap::new();
        for partition in 0..i32::try_from(partitions).unwrap_or(0) {
            let nodes = self.nodes().into_iter();
            let marks = nodes.filter_map(|node| self.replica(node, TOPIC, partition));
            let mark = marks.map(|replica| replica.describe().high_watermark).max();
            let mark = mark.and_then(|mark| i64::try_from(mark.get()).ok());
            ends.insert(partition, mark.unwrap_or(0));
        }
        ends
    }

    /// What the nodes themselves say of replicas that are not well.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let now = Monotonic::from_start(self.kernel.now());
        let mut said = Vec::new();
        for (node, process) in self.net.processes() {
            let rows = process
                .broker
                .replicas()
                .map(|replicas| replicas.statuses(now));
            for row in rows.unwrap_or_default() {
                let Some(cause) = row.diagnosis.cause else {
                    continue;
                };
                said.push(format!(
                    "node {node} says of node {}, partition {}: {cause:?}: {}; {}",
                    row.node, row.key.index, row.diagnosis.evidence, row.diagnosis.action
                ));
            }
        }
        said
    }

    fn positions(&self, topic: &str, replicas: &[NodeId], partition: i32) -> String {
        let place = |node: &NodeId| {
            let state = self
                .replica(node.get(), topic, partition)
                .map(|replica| replica.describe());
            match state {
                None => format!("node {node} has no replica"),
                Some(state) => format!(
                    "node {node} {} from {} HW {} LEO {}{}",
                    state.role,
                    state.log_start,
                    state.high_watermark,
                    state.log_end,
                    state
                        .offline
                        .map_or_else(String::new, |why| format!(" offline: {why}"))
                ),
            }
        };
        replicas.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    /// The records of every partition, as its leader has them; and whether the others agree.
    pub(crate) fn read_logs(&self, partitions: u32) -> BTreeMap<i32, BTreeMap<i64, Number>> {
        let mut logs = BTreeMap::new();
        for partition in 0..i32::try_from(partitions).unwrap_or(0) {
            let mut first: Option<(u32, Vec<u8>)> = None;
            for node in self.nodes() {
                let Some(replica) = self.replica(node, TOPIC, partition) else {
                    continue;
                };
                let start = replica.describe().log_start.get();
                let start = i64::try_from(start).unwrap_or(i64::MAX);
                self.history
                    .begins(self.kernel.now(), node, partition, start);
                let bytes = content(&replica);
                match &first {
                    None => first = Some((node, bytes)),
                    Some((other, known)) if *known != bytes => {
                        let what = format!(
                            "nodes {other} and {node} hold other bytes of partition {partition}"
                        );
                        self.history.broke(self.kernel.now(), "diverged", what);
                    }
                    Some(_) => {}
                }
            }
            let records = first
                .map(|(_, bytes)| records_of(&bytes))
                .unwrap_or_default();
            let numbered = records
                .into_iter()
                .filter_map(|(at, number)| Some((at, number?)));
            logs.insert(partition, numbered.collect());
        }
        logs
    }

    /// A wake-up that the tick had to make good is a mistake, whatever came of it.
    pub(crate) fn check_counters(&self, violations: &mut Vec<String>) {
        for (node, process) in self.net.processes() {
            let Some(replicas) = process.broker.replicas() else {
                continue;
            };
            for (name, count) in replicas.counters().rows() {
                if count > 0 && matches!(name, "hw_missed_wakeups" | "missed_rings") {
                    violations.push(format!(
                        "node {node}: a wake-up was missed, {name} is {count}"
                    ));
                }
            }
        }
    }
}

pub(crate) fn words(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.get()).collect()
}

/// All bytes of a replica below its high watermark.
fn content(replica: &Partition) -> Vec<u8> {
    let state = replica.describe();
    let (mut at, end) = (state.log_start, state.high_watermark);
    let mut bytes = Vec::new();
    while at < end {
        let Ok(records) = replica.read(at, 1 << 20, Minimum::OneBatch) else {
            break;
        };
        if records.slices.next <= at {
            break;
        }
        at = Offset::new(records.slices.next.get());
        for part in records.slices.chunks {
            bytes.extend_from_slice(&part);
        }
    }
    bytes
}
