//! Three brokers as one cluster: they elect, fence and take over.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "these nodes run in real time, as no clock is shared by all of their threads"
)]

mod clients;
mod control;
mod disks;
mod groups;
mod links;
mod moves;
mod replication;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use plimsoll_broker::Trust;
use plimsoll_types::NodeId;
use plimsoll_wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use plimsoll_wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use plimsoll_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use plimsoll_wire::{ErrorCode, Request, Response};
use world::{World, id};

pub(crate) fn create(world: &World, node: NodeId, name: &str) -> i16 {
    create_replicated(world, node, name, 3)
}

pub(crate) fn create_replicated(world: &World, node: NodeId, name: &str, replicas: i16) -> i16 {
    let request = Request::CreateTopics(CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: 3,
            replication_factor: replicas,
            configs: vec![CreatableTopicConfig {
                name: "min.insync.replicas".into(),
                value: Some(replicas.min(2).to_string().into()),
            }],
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    });
    let Response::CreateTopics(created) = world.call(node, 7, &request) else {
        panic!("another response")
    };
    let code = created.topics[0].error_code;
    if code == 0 {
        world.until("the topic is everywhere", |image| {
            image.topic(name).is_some()
        });
    }
    code
}

fn metadata(world: &World, node: NodeId, name: &str) -> MetadataResponse {
    let request = Request::Metadata(MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }]),
        ..Default::default()
    });
    let Response::Metadata(metadata) = world.call(node, 12, &request) else {
        panic!("another response")
    };
    metadata
}

fn leader(world: &World, name: &str, partition: u32) -> Option<NodeId> {
    world.image().partition(name, partition)?.leader
}

#[test]
fn topic_made_at_any_node_is_known_and_led_everywhere() {
    let world = World::of(3);
    for node in 1..=3 {
        assert_eq!(create(&world, id(node), &format!("topic-{node}")), 0);
    }
    assert_eq!(
        create(&world, id(1), "topic-3"),
        ErrorCode::TopicAlreadyExists.code(),
        "it is judged by what is committed"
    );
    world.until("all topics are everywhere", |image| {
        image.topic_count() == 3
    });
    for node in 1..=3 {
        let told = metadata(&world, id(node), "topic-2");
        assert_eq!(told.brokers.len(), 3);
        let partitions = &told.topics[0].partitions;
        let leaders: std::collections::BTreeSet<_> = partitions
            .iter()
            .map(|partition| partition.leader_id)
            .collect();
        assert_eq!(leaders.len(), 3, "each node leads one: {leaders:?}");
        assert_eq!(
            told.controller_id,
            metadata(&world, id(1), "topic-2").controller_id
        );
    }
}

#[test]
fn node_that_falls_silent_is_fenced_and_its_partitions_are_led_by_others() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let controller = world.broker(id(1)).active_controller().unwrap();
    let silent = (1..=3).map(id).find(|node| *node != controller).unwrap();
    let lost: Vec<u32> = (0..3)
        .filter(|partition| leader(&world, "orders", *partition) == Some(silent))
        .collect();
    assert_eq!(lost.len(), 1);
    world.cut(silent);
    let took = world.until("others lead", |image| {
        let Some(orders) = image.topic("orders") else {
            return false;
        };
        let mut partitions = orders.partitions.iter();
        partitions.all(|partition| partition.leader.is_some_and(|leader| leader != silent))
    });
    assert!(took < Duration::from_secs(6), "took {took:?}");
    assert!(world.image().node(silent).unwrap().fenced);
    assert_eq!(
        world.broker(silent).trust(),
        Trust::None,
        "it stopped before the others took over"
    );
    let partition = i32::try_from(lost[0]).unwrap();
    assert_eq!(
        produce(&world, silent, "orders", partition, 1),
        ErrorCode::NotLeaderOrFollower.code()
    );
    world.heal(silent);
    world.until("it is trusted again", |image| {
        image.node(silent).is_some_and(|node| !node.fenced)
    });
}

#[test]
fn cluster_goes_on_without_its_controller() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let controller = world.broker(id(1)).active_controller().unwrap();
    let other = (1..=3).map(id).find(|node| *node != controller).unwrap();
    world.cut(controller);
    world.until("others lead", |image| {
        let Some(orders) = image.topic("orders") else {
            return false;
        };
        let mut partitions = orders.partitions.iter();
        partitions.all(|partition| partition.leader.is_some_and(|leader| leader != controller))
    });
    assert_eq!(create(&world, other, "more"), 0);
    let more = world.image().topic("more").unwrap().partitions[0].clone();
    assert!(more.replicas.contains(&controller) && !more.isr.contains(&controller));
    assert_ne!(world.broker(other).active_controller(), Some(controller));
}

#[test]
fn node_that_stops_hands_its_leaderships_over_first() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let leaving = id(2);
    support::block_on(world.broker(leaving).drain());
    let image = world.broker(leaving).image();
    assert!(image.node(leaving).unwrap().fenced);
    for partition in &image.topic("orders").unwrap().partitions {
        assert!(partition.leader.is_some_and(|leader| leader != leaving));
    }
}

pub(crate) fn produce(world: &World, node: NodeId, topic: &str, partition: i32, acks: i16) -> i16 {
    let request = Request::Produce(ProduceRequest {
        acks,
        timeout_ms: 5000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(vec![support::batch(&["a"])].into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    let Response::Produce(produced) = world.call(node, 9, &request) else {
        panic!("another response")
    };
    produced.responses[0].partition_responses[0].error_code
}
