//! A node's process joining the cluster.

use crate::image::{Image, Partition, Topic};
use crate::record::{Listener, Record};
use crate::refusal::Refusal;
use plimsoll_types::{BrokerEpoch, NodeId, PartitionEpoch};

/// What a process says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    /// Its node.
    pub node: NodeId,
    /// Drawn at its start, so that a second registration of one process is told from a restart.
    pub incarnation: [u8; 16],
    /// Its failure zone.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
}

/// The records that register the process, none if it is registered already.
///
/// Invariant C1: every partition that the node's earlier process led gets a new leader epoch, so
/// that no process leads twice in one epoch. A process that came back may have lost what it had
/// not synced; records it then writes at the same offsets must not look like the old ones.
///
/// # Errors
/// None as yet; a rule that may refuse.
pub fn register_node(image: &Image, wish: &RegisterNode) -> Result<Vec<Record>, Refusal> {
    let known = image.node(wish.node);
    if known.is_some_and(|known| known.incarnation == wish.incarnation) {
        return Ok(Vec::new());
    }
    let epochs = image.nodes().map(|node| node.broker_epoch.0 + 1);
    let registered = Record::NodeRegistered {
        node: wish.node,
        broker_epoch: BrokerEpoch(epochs.fold(image.version() + 1, u64::max)),
        incarnation: wish.incarnation,
        listeners: wish.listeners.clone(),
        rack: wish.rack.clone(),
    };
    let mut records = vec![registered];
    for topic in image.topics() {
        for (partition, index) in topic.partitions.iter().zip(0..) {
            if partition.leader == Some(wish.node) {
                records.push(next_term(topic, index, partition));
            }
        }
    }
    Ok(records)
}

fn next_term(topic: &Topic, index: u32, partition: &Partition) -> Record {
    Record::LeaderChanged {
        id: topic.id,
        partition: index,
        leader: partition.leader,
        isr: partition.isr.to_vec(),
        leader_epoch: partition.leader_epoch.next(),
        partition_epoch: PartitionEpoch(partition.partition_epoch.0 + 1),
    }
}
