//! Groups that another node keeps once their coordinator is gone.

use std::time::{Duration, Instant};

use plimsoll_types::NodeId;
use plimsoll_wire::find_coordinator::FindCoordinatorRequest;
use plimsoll_wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use plimsoll_wire::offset_fetch::OffsetFetchRequest;
use plimsoll_wire::{ErrorCode, Request, Response};

use crate::create;
use crate::world::{World, id};

/// Asks again until the answer has no error; errors must be those that clients ask again after.
fn retried<T>(mut ask: impl FnMut() -> Result<T, i16>) -> T {
    let begun = Instant::now();
    loop {
        let code = match ask() {
            Ok(answer) => return answer,
            Err(code) => code,
        };
        let retriable = [
            ErrorCode::CoordinatorLoadInProgress,
            ErrorCode::CoordinatorNotAvailable,
            ErrorCode::NotCoordinator,
        ];
        assert!(retriable.iter().any(|known| known.code() == code), "{code}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{code}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn coordinator(world: &World, ask: NodeId) -> NodeId {
    let request = Request::FindCoordinator(FindCoordinatorRequest {
        key: "g".into(),
        ..Default::default()
    });
    retried(|| {
        let Response::FindCoordinator(found) = world.call(ask, 3, &request) else {
            panic!("another response")
        };
        NodeId::from_wire(found.node_id).ok_or(found.error_code)
    })
}

pub(crate) fn commit(world: &World, ask: NodeId, offset: i64) {
    let request = Request::OffsetCommit(OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "orders".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                ..Default::default()
            }],
        }],
        ..Default::default()
    });
    retried(|| {
        let node = coordinator(world, ask);
        let Response::OffsetCommit(committed) = world.call(node, 7, &request) else {
            panic!("another response")
        };
        match committed.topics[0].partitions[0].error_code {
            0 => Ok(()),
            code => Err(code),
        }
    });
}

fn committed(world: &World, ask: NodeId) -> i64 {
    let request = Request::OffsetFetch(OffsetFetchRequest {
        group_id: "g".into(),
        topics: None,
        ..Default::default()
    });
    retried(|| {
        let node = coordinator(world, ask);
        let Response::OffsetFetch(fetched) = world.call(node, 7, &request) else {
            panic!("another response")
        };
        match fetched.error_code {
            0 => Ok(fetched.topics[0].partitions[0].committed_offset),
            code => Err(code),
        }
    })
}

#[test]
fn commits_outlive_their_coordinator() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    commit(&world, id(1), 41);
    assert_eq!(committed(&world, id(2)), 41);
    let keeper = coordinator(&world, id(1));
    world.cut(keeper);
    world.until("another node keeps the group", |image| {
        let topic = image.topic("__consumer_offsets").unwrap();
        let mut partitions = topic.partitions.iter();
        partitions.all(|partition| partition.leader.is_some_and(|leader| leader != keeper))
    });
    let other = (1..=3).map(id).find(|node| *node != keeper).unwrap();
    assert_eq!(committed(&world, other), 41);
    commit(&world, other, 42);
    assert_eq!(committed(&world, other), 42);
}
