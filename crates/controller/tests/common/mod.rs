//! What every test of the rules begins with.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use plimsoll_controller::rules::{self, AlterPartition, IsrChange, RegisterNode, Shutdown};
use plimsoll_controller::{Image, Limits, Partition, Record, Refusal};
use plimsoll_types::{BrokerEpoch, NodeId, PartitionKey, TopicId};

pub const LIMITS: Limits = Limits {
    default_partitions: 2,
    default_replication: 1,
    max_partitions_per_node: 50,
};

pub fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("in range")
}

pub fn topic_id(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

/// An image with nodes 1 and up, all alive.
pub fn cluster(nodes: u32) -> Image {
    let mut image = Image::default();
    for id in 1..=nodes {
        start(&mut image, &registration(id, 1));
    }
    image
}

pub fn registration(id: u32, incarnation: u8) -> RegisterNode {
    let dir = u8::try_from(id).expect("few nodes");
    RegisterNode::new(node(id), [incarnation; 16], [dir; 16], Shutdown::Clean)
}

/// Registers and unfences.
pub fn start(image: &mut Image, registration: &RegisterNode) {
    let records = rules::register_node(image, registration);
    apply(image, records);
    unfence(image, registration.node);
}

pub fn unfence(image: &mut Image, node: NodeId) {
    let records = rules::unfence_node(image, node, epoch(image, node));
    apply(image, records);
}

pub fn fence(image: &mut Image, node: NodeId) {
    let records = rules::fence_node(image, node, epoch(image, node));
    apply(image, records);
}

pub fn epoch(image: &Image, node: NodeId) -> BrokerEpoch {
    image.node(node).expect("registered").broker_epoch
}

pub fn apply(image: &mut Image, records: Result<Vec<Record>, Refusal>) {
    for record in records.expect("allowed") {
        image.apply(&record).expect("made for this image");
    }
}

pub fn nodes(ids: &[u32]) -> Vec<NodeId> {
    ids.iter().map(|id| node(*id)).collect()
}

/// The first partition of the topic number 1.
pub const KEY: PartitionKey = PartitionKey {
    topic: TopicId::from_bytes([1; 16]),
    index: 0,
};

pub fn partition(image: &Image) -> &Partition {
    image.partition_by_key(KEY).expect("there")
}

/// Creates topic number 1 with one partition on these nodes.
pub fn create_on(image: &mut Image, replicas: &[i32], configs: &[(&str, &str)]) {
    let wish = rules::CreateTopic {
        assignments: vec![rules::ManualAssignment {
            partition: 0,
            brokers: replicas.to_vec(),
        }],
        configs: configs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned())))
            .collect(),
        ..rules::CreateTopic::named("t", topic_id(1))
    };
    let records = rules::create_topic(image, &LIMITS, &wish);
    apply(image, records);
}

/// The leader's proposal that `isr` be in sync, as it is made now.
pub fn proposal(image: &Image, isr: &[u32]) -> AlterPartition {
    let partition = partition(image);
    let leader = partition.leader.expect("led");
    AlterPartition {
        node: leader,
        broker_epoch: epoch(image, leader),
        changes: vec![IsrChange {
            key: KEY,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: isr
                .iter()
                .map(|id| (node(*id), epoch(image, node(*id))))
                .collect(),
        }],
    }
}

pub fn propose(image: &mut Image, isr: &[u32]) {
    let altered = rules::alter_partition(image, &proposal(image, isr)).expect("current");
    apply(image, Ok(altered.records));
}

/// Creates `name` with a count of partitions.
pub fn create(image: &mut Image, name: &str, id: u8, partitions: i32) {
    let wish = rules::CreateTopic {
        partitions,
        ..rules::CreateTopic::named(name, topic_id(id))
    };
    let records = rules::create_topic(image, &LIMITS, &wish);
    apply(image, records);
}
