//! Partitions that move to other nodes, and leaders that are elected by hand.

use plimsoll_types::{NodeId, Offset};
use plimsoll_wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use plimsoll_wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use plimsoll_wire::describe_quorum::{DescribeQuorumRequest, PartitionData, TopicData};
use plimsoll_wire::elect_leaders::ElectLeadersRequest;
use plimsoll_wire::list_partition_reassignments::ListPartitionReassignmentsRequest;
use plimsoll_wire::{ErrorCode, Request, Response};

use crate::create;
use crate::replication::{produce_somewhere, same_everywhere};
use crate::world::{World, id};

fn reassign(world: &World, replicas: Option<Vec<i32>>) -> i16 {
    let request = Request::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: vec![ReassignableTopic {
            name: "orders".into(),
            partitions: vec![ReassignablePartition {
                partition_index: 0,
                replicas,
            }],
        }],
        ..Default::default()
    });
    let Response::AlterPartitionReassignments(altered) = world.call(id(1), 1, &request) else {
        panic!("another response")
    };
    altered.responses[0].partitions[0].error_code
}

fn led_by(world: &World) -> NodeId {
    let image = world.image();
    image.partition("orders", 0).unwrap().leader.unwrap()
}

/// Deletes what is before `offset`; the answer's error.
fn delete_before(world: &World, leader: NodeId, offset: i64) -> i16 {
    let request = Request::DeleteRecords(DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "orders".into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
            }],
        }],
        timeout_ms: 10_000,
    });
    let Response::DeleteRecords(deleted) = world.call(leader, 2, &request) else {
        panic!("another response")
    };
    deleted.topics[0].partitions[0].error_code
}

#[test]
fn scenario_42_what_was_deleted_stays_deleted_when_the_leader_goes() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    for _ in 0..3 {
        produce_somewhere(&world, "orders", 0);
    }
    let old = led_by(&world);
    assert_eq!(delete_before(&world, old, 2), 0);
    // It is gone with the answer.
    world.cut(old);
    world.until("another leads", |image| {
        let leader = image.partition("orders", 0).unwrap().leader;
        leader.is_some_and(|leader| leader != old)
    });
    let leader = led_by(&world);
    let replica = world.broker(leader).catalog().partition("orders", 0);
    assert!(replica.unwrap().watermarks().log_start() >= Offset::new(2));
    world.heal(old);
    produce_somewhere(&world, "orders", 0);
    world.until("the old leader has it deleted and the rest", |image| {
        let replica = world.broker(old).catalog().partition("orders", 0);
        let marks = replica.unwrap().watermarks().snapshot();
        let whole = marks.log_start >= Offset::new(2) && marks.high_watermark == Offset::new(4);
        whole && image.partition("orders", 0).unwrap().isr.len() == 3
    });
}

#[test]
fn records_that_were_deleted_are_gone_on_every_node() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    for _ in 0..3 {
        produce_somewhere(&world, "orders", 0);
    }
    let leader = led_by(&world);
    assert_eq!(delete_before(&world, leader, 2), 0);
    for node in [id(1), id(2), id(3)] {
        let replica = world.broker(node).catalog().partition("orders", 0).unwrap();
        assert!(replica.watermarks().log_start() >= Offset::new(2), "{node}");
    }
}

fn ongoing(world: &World) -> usize {
    let request = Request::ListPartitionReassignments(ListPartitionReassignmentsRequest {
        topics: None,
        ..Default::default()
    });
    let Response::ListPartitionReassignments(listed) = world.call(id(1), 0, &request) else {
        panic!("another response")
    };
    listed.topics.len()
}

#[test]
fn partition_moves_to_other_nodes_with_all_it_holds() {
    let world = World::of(4);
    assert_eq!(create(&world, id(1), "orders"), 0);
    for _ in 0..3 {
        produce_somewhere(&world, "orders", 0);
    }
    let held = world
        .image()
        .partition("orders", 0)
        .unwrap()
        .replicas
        .to_vec();
    let all = [id(1), id(2), id(3), id(4)];
    let spare = all.into_iter().find(|node| !held.contains(node)).unwrap();
    let target = [held[1], held[2], spare];
    let wire = target.iter().map(|node| node.to_wire()).collect();
    assert_eq!(
        reassign(&world, None),
        ErrorCode::NoReassignmentInProgress.code()
    );
    assert_eq!(reassign(&world, Some(wire)), 0);
    world.until("it moved", |image| {
        let partition = image.partition("orders", 0).unwrap();
        *partition.replicas == target && partition.isr.len() == 3
    });
    assert_eq!(ongoing(&world), 0);
    produce_somewhere(&world, "orders", 0);
    same_everywhere(&world, "orders", 0, &target, Offset::new(4));
    let catalog = world.broker(held[0]).catalog();
    world.until("the old replica is given up", |_| {
        catalog
            .topic("orders")
            .is_some_and(|topic| !topic.is_here(0))
    });
}

#[test]
fn quorum_and_elections_are_told_as_kafka_does() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let request = Request::ElectLeaders(ElectLeadersRequest {
        topic_partitions: None,
        timeout_ms: 10_000,
        ..Default::default()
    });
    let Response::ElectLeaders(elected) = world.call(id(2), 2, &request) else {
        panic!("another response")
    };
    assert_eq!(elected.error_code, 0);
    assert!(
        elected.replica_election_results.is_empty(),
        "all lead already"
    );

    let request = Request::DescribeQuorum(DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![PartitionData { partition_index: 0 }],
        }],
    });
    // Whoever is asked, it is the leader that knows how far the others are.
    for asked in [1, 2, 3] {
        let Response::DescribeQuorum(quorum) = world.call(id(asked), 2, &request) else {
            panic!("another response")
        };
        let partition = &quorum.topics[0].partitions[0];
        let controller = world.broker(id(1)).active_controller().unwrap();
        assert_eq!(partition.leader_id, controller.to_wire());
        assert_eq!(partition.current_voters.len(), 3);
        for voter in &partition.current_voters {
            assert!(voter.log_end_offset >= 0, "{asked} says {voter:?}");
        }
        assert_eq!(quorum.nodes.len(), 3);
    }
}
