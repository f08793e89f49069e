//! Records on several nodes: acknowledged by all, and there after their leader is gone.

use std::time::{Duration, Instant};

use plimsoll_types::{NodeId, Offset};
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use plimsoll_wire::{ErrorCode, Request, Response};

use crate::world::{World, id};
use crate::{create, produce};

/// Produces to whoever leads, as a client that looks for the leader again after each failure.
/// Says how long it took.
pub(crate) fn produce_somewhere(world: &World, topic: &str, partition: u32) -> Duration {
    let begun = Instant::now();
    let index = i32::try_from(partition).unwrap();
    let mut last = None;
    while begun.elapsed() < Duration::from_secs(20) {
        let image = world.image();
        let leader = image.partition(topic, partition).and_then(|p| p.leader);
        last = leader.map(|leader| produce(world, leader, topic, index, -1));
        if last == Some(0) {
            return begun.elapsed();
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("no record was taken: {last:?}");
}

pub(crate) fn in_sync(world: &World, topic: &str, partition: u32, count: usize) {
    world.until("the replicas are in sync", |image| {
        let partition = image.partition(topic, partition);
        partition.is_some_and(|partition| partition.isr.len() == count)
    });
}

/// Waits until the replicas on `nodes` hold the same bytes below the same high watermark.
pub(crate) fn same_everywhere(
    world: &World,
    topic: &str,
    partition: i32,
    nodes: &[NodeId],
    end: Offset,
) {
    let begun = Instant::now();
    loop {
        let digests: Vec<_> = nodes
            .iter()
            .filter_map(|node| {
                let catalog = world.broker(*node).catalog();
                let replica = catalog.partition(topic, partition).ok()?;
                let marks = replica.watermarks().snapshot();
                let whole = marks.high_watermark == end && marks.log_end == end;
                let digest = replica.digest(Offset::ZERO, end).ok()??;
                whole.then_some((digest.digest, digest.batches))
            })
            .collect();
        let same = digests.windows(2).all(|pair| pair[0] == pair[1]);
        if digests.len() == nodes.len() && same {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{digests:?} {:?}",
            world
                .broker(nodes[0])
                .replicas()
                .unwrap()
                .statuses(Default::default())
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn acknowledged_records_are_on_every_node_and_outlive_their_leader() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    for _ in 0..10 {
        produce_somewhere(&world, "orders", 0);
    }
    let all = [id(1), id(2), id(3)];
    let ten = Offset::new(10);
    same_everywhere(&world, "orders", 0, &all, ten);

    let image = world.image();
    let leader = image.partition("orders", 0).unwrap().leader.unwrap();
    world.cut(leader);
    let took = produce_somewhere(&world, "orders", 0);
    assert!(took < Duration::from_secs(8), "took {took:?}");
    let others: Vec<_> = all.into_iter().filter(|node| *node != leader).collect();
    let eleven = Offset::new(11);
    same_everywhere(&world, "orders", 0, &others, eleven);

    world.heal(leader);
    in_sync(&world, "orders", 0, 3);
    produce_somewhere(&world, "orders", 0);
    same_everywhere(&world, "orders", 0, &all, Offset::new(12));
}

#[test]
fn consumer_reads_a_follower_up_to_what_is_committed() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let all = [id(1), id(2), id(3)];
    same_everywhere(&world, "orders", 0, &all, Offset::new(1));
    let leader = world.image().partition("orders", 0).unwrap().leader;
    let follower = all.into_iter().find(|node| Some(*node) != leader).unwrap();
    let (code, bytes) = fetch(&world, follower, 11, 0);
    assert!(code == 0 && bytes > 0, "{code} {bytes}");
    assert_eq!(fetch(&world, follower, 11, 1), (0, 0), "its end");
    assert_eq!(
        fetch(&world, follower, 11, 5),
        (0, 0),
        "not there yet, as far as it knows"
    );
    let (code, _) = fetch(&world, follower, 10, 0);
    assert_eq!(
        code,
        ErrorCode::NotLeaderOrFollower.code(),
        "an older client"
    );
}

/// What a leader told before it died may be more than the next one knows to be committed yet.
#[test]
fn consumer_beyond_what_a_leader_knows_to_be_committed_waits() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    produce_somewhere(&world, "orders", 0);
    let all = [id(1), id(2), id(3)];
    same_everywhere(&world, "orders", 0, &all, Offset::new(1));
    let leader = world
        .image()
        .partition("orders", 0)
        .unwrap()
        .leader
        .unwrap();
    let follower = all.into_iter().find(|node| *node != leader).unwrap();
    // The high watermark stands until the follower is out of those in sync, a second at least.
    world.cut(follower);
    assert_eq!(produce(&world, leader, "orders", 0, 1), 0);
    assert_eq!(
        fetch(&world, leader, 11, 2),
        (0, 0),
        "written, not committed"
    );
    let (code, _) = fetch(&world, leader, 11, 3);
    assert_eq!(code, ErrorCode::OffsetOutOfRange.code(), "never written");
}

fn fetch(world: &World, node: NodeId, version: i16, offset: i64) -> (i16, usize) {
    let request = Request::Fetch(FetchRequest {
        replica_id: -1,
        max_wait_ms: 10,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "orders".into(),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    let Response::Fetch(fetched) = world.call(node, version, &request) else {
        panic!("another response")
    };
    let partition = &fetched.responses[0].partitions[0];
    let bytes = partition
        .records
        .as_ref()
        .map_or(0, |records| records.to_bytes().len());
    (partition.error_code, bytes)
}
