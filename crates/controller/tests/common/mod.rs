//! What every test of the rules begins with.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use plimsoll_controller::{Image, Limits, Record, Refusal, rules};
use plimsoll_types::{NodeId, TopicId};

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

/// An image with nodes 1 and up.
pub fn cluster(nodes: u32) -> Image {
    let mut image = Image::default();
    for id in 1..=nodes {
        let register = registration(id, 1);
        let records = rules::register_node(&image, &register);
        apply(&mut image, records);
    }
    image
}

pub fn registration(id: u32, incarnation: u8) -> rules::RegisterNode {
    rules::RegisterNode {
        node: node(id),
        incarnation: [incarnation; 16],
        rack: None,
        listeners: vec![],
    }
}

pub fn apply(image: &mut Image, records: Result<Vec<Record>, Refusal>) {
    for record in records.expect("allowed") {
        image.apply(&record).expect("made for this image");
    }
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
