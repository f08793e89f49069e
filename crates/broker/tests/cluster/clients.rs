//! What clients are told while leaders change: errors that they know what to do about.

use std::time::{Duration, Instant};

use plimsoll_types::NodeId;
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use plimsoll_wire::list_groups::ListGroupsRequest;
use plimsoll_wire::metadata::{MetadataRequest, MetadataRequestTopic};
use plimsoll_wire::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use plimsoll_wire::{ErrorCode, Request, Response};

use crate::groups::commit;
use crate::replication::{produce_somewhere, same_everywhere};
use crate::support::batch;
use crate::world::{World, id};
use crate::{create, leader};

fn produce(world: &World, node: NodeId, acks: i16) -> ProduceResponse {
    let request = Request::Produce(ProduceRequest {
        acks,
        timeout_ms: 20_000,
        topic_data: vec![TopicProduceData {
            name: "orders".into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(vec![batch(&["a"])].into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    let Response::Produce(produced) = world.call(node, 10, &request) else {
        panic!("another response")
    };
    produced
}

/// Claims that a produce was refused for its leader, with a word on who leads and where.
fn sent_on(produced: &ProduceResponse, leader: NodeId) {
    let partition = &produced.responses[0].partition_responses[0];
    let code = ErrorCode::NotLeaderOrFollower.code();
    assert_eq!(partition.error_code, code, "{partition:?}");
    assert_eq!(partition.current_leader.leader_id, leader.to_wire());
    assert!(partition.current_leader.leader_epoch >= 0);
    let endpoints: Vec<_> = produced.node_endpoints.iter().collect();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert_eq!(endpoints[0].node_id, leader.to_wire());
    assert_eq!(*endpoints[0].host, *format!("node-{leader}"));
}

#[test]
fn produce_to_another_node_is_sent_on_to_the_leader() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let first = leader(&world, "orders", 0).unwrap();
    let other = (1..=3).map(id).find(|node| *node != first).unwrap();
    sent_on(&produce(&world, other, -1), first);
}

#[test]
fn produce_that_outlived_its_leader_is_sent_on_to_the_next_one() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let old = leader(&world, "orders", 0).unwrap();
    world.cut(old);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| produce(&world, old, -1));
        world.until("another one leads", |image| {
            let partition = image.partition("orders", 0).unwrap();
            partition.leader.is_some_and(|leader| leader != old)
        });
        world.heal(old);
        let produced = waiting.join().unwrap();
        sent_on(&produced, leader(&world, "orders", 0).unwrap());
    });
}

/// Whom a node names as the leader, and how long it thought about it.
fn told(world: &World, node: NodeId) -> (i32, Duration) {
    let request = Request::Metadata(MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("orders".into()),
            ..Default::default()
        }]),
        ..Default::default()
    });
    let begun = Instant::now();
    let Response::Metadata(told) = world.call(node, 9, &request) else {
        panic!("another response")
    };
    (told.topics[0].partitions[0].leader_id, begun.elapsed())
}

#[test]
fn who_asks_for_a_leader_that_has_just_gone_waits_for_the_next_one() {
    const PATIENCE: Duration = Duration::from_millis(300);
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let old = leader(&world, "orders", 0).unwrap();
    let others = || (1..=3).map(id).filter(|node| *node != old);
    let other = others().next().unwrap();
    // A connection was lost, and nothing else: the answer is late, and the same.
    world.broker(other).lost(old);
    let (named, took) = told(&world, other);
    assert!(
        named == old.to_wire() && took >= PATIENCE,
        "{named} {took:?}"
    );
    world.broker(other).lost(old);
    world.broker(other).found(old);
    assert_eq!(told(&world, other).0, old.to_wire());
    // The node is gone: an answer that names it has waited.
    world.cut(old);
    for node in others() {
        world.broker(node).lost(old);
        world.broker(node).suspect(old, world.now());
    }
    let (named, took) = told(&world, other);
    assert!(
        named != old.to_wire() || took >= PATIENCE,
        "{named} {took:?}"
    );
    world.until("another one leads", |image| {
        let partition = image.partition("orders", 0).unwrap();
        partition.leader.is_some_and(|leader| leader != old)
    });
    assert_ne!(told(&world, other).0, old.to_wire());
}

#[test]
fn reader_that_knows_of_more_than_the_leader_waits_for_it() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let all = [id(1), id(2), id(3)];
    same_everywhere(&world, "orders", 0, &all, plimsoll_types::Offset::new(1));
    let leader = leader(&world, "orders", 0).unwrap();
    for follower in all.into_iter().filter(|node| *node != leader) {
        world.cut(follower);
    }
    // In the log, and not known to be committed: as the tail of a log is for a new leader.
    let produced = produce(&world, leader, 1);
    let partition = &produced.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 1));
    assert_eq!(fetch(&world, leader, 2), 0, "perhaps it was committed");
    assert_eq!(
        fetch(&world, leader, 3),
        ErrorCode::OffsetOutOfRange.code(),
        "it never was"
    );
}

#[test]
fn reader_that_waits_at_a_leader_is_sent_on_when_it_leads_no_more() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let old = leader(&world, "orders", 0).unwrap();
    world.cut(old);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fetch_within(&world, old, 1, 60_000));
        world.until("another one leads", |image| {
            let partition = image.partition("orders", 0).unwrap();
            partition.leader.is_some_and(|leader| leader != old)
        });
        world.heal(old);
        let code = ErrorCode::NotLeaderOrFollower.code();
        assert_eq!(waiting.join().unwrap(), code);
    });
}

/// The error of a fetch, which finds no records.
fn fetch(world: &World, node: NodeId, offset: i64) -> i16 {
    fetch_within(world, node, offset, 10)
}

fn fetch_within(world: &World, node: NodeId, offset: i64, max_wait_ms: i32) -> i16 {
    let request = Request::Fetch(FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "orders".into(),
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    let Response::Fetch(fetched) = world.call(node, 12, &request) else {
        panic!("another response")
    };
    let partition = &fetched.responses[0].partitions[0];
    let bytes = partition.records.as_ref().map_or(0, |found| found.len());
    assert_eq!(bytes, 0);
    partition.error_code
}

#[test]
fn every_node_lists_the_groups_that_it_keeps() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    commit(&world, id(1), 1);
    let mut found = 0;
    for node in 1..=3 {
        let request = Request::ListGroups(ListGroupsRequest::default());
        let Response::ListGroups(listed) = world.call(id(node), 4, &request) else {
            panic!("another response")
        };
        assert_eq!(listed.error_code, 0, "node {node}");
        found += listed.groups.len();
    }
    assert_eq!(found, 1, "the one that keeps the group lists it");
}
