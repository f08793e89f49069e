//! What a node tells of itself, deleting records, and identities for producers.

mod support;

use std::sync::Arc;

use plimsoll_wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use plimsoll_wire::describe_cluster::DescribeClusterRequest;
use plimsoll_wire::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use plimsoll_wire::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use plimsoll_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use plimsoll_wire::{ErrorCode, Records, Request, Response};
use support::{Harness, Inline, batch};

#[test]
fn the_cluster_is_described_in_every_version() {
    let harness = Harness::new();
    for version in 0..=2 {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: version > 0,
            endpoint_type: 1,
            ..Default::default()
        };
        let response = harness.call(version, &Request::DescribeCluster(request));
        let Response::DescribeCluster(response) = response else {
            unreachable!()
        };
        assert_eq!(response.error_code, 0);
        assert_eq!(&*response.cluster_id, "test-cluster");
        assert_eq!((response.controller_id, response.brokers.len()), (1, 1));
        let operations = if version > 0 { 8096 } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, operations);
    }
    let controllers = DescribeClusterRequest {
        endpoint_type: 2,
        ..Default::default()
    };
    let response = harness.call(2, &Request::DescribeCluster(controllers));
    let Response::DescribeCluster(response) = response else {
        unreachable!()
    };
    assert_eq!(
        response.error_code,
        ErrorCode::MismatchedEndpointType.code()
    );
}

#[test]
fn log_dirs_tell_what_is_asked_for() {
    let harness = Harness::new();
    for name in ["a", "b"] {
        harness.create_topic(name, &[]);
    }
    let described = |version, topics| {
        let request = Request::DescribeLogDirs(DescribeLogDirsRequest { topics });
        let Response::DescribeLogDirs(mut response) = harness.call(version, &request) else {
            unreachable!()
        };
        assert_eq!((response.error_code, response.results.len()), (0, 1));
        response.results.remove(0)
    };
    for version in 1..=4 {
        let all = described(version, None);
        let names: Vec<_> = all.topics.iter().map(|topic| &*topic.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(all.usable_bytes > 0, version == 4);
    }
    let b = DescribableLogDirTopic {
        topic: "b".into(),
        partitions: vec![0, 7],
    };
    let some = described(4, Some(vec![b]));
    assert_eq!((some.topics.len(), some.topics[0].partitions.len()), (1, 1));
    assert!(described(4, Some(vec![])).topics.is_empty());
}

fn producer_id(
    harness: &Harness,
    transactional_id: Option<&str>,
    timeout: i32,
) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: transactional_id.map(Into::into),
        transaction_timeout_ms: timeout,
        ..Default::default()
    };
    let response = harness.call(4, &Request::InitProducerId(request));
    let Response::InitProducerId(response) = response else {
        unreachable!()
    };
    response
}

#[test]
fn producer_ids_are_never_given_twice_also_after_a_restart() {
    let mut harness = Harness::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for _ in 0..1_100 {
            let given = producer_id(&harness, None, -1);
            assert_eq!((given.error_code, given.producer_epoch), (0, 0));
            assert!(seen.insert(given.producer_id));
        }
        harness = harness.restart();
    }
}

#[test]
fn transactions_are_refused_and_their_timeouts_checked_first() {
    let harness = Harness::new();
    let cases = [
        (Some(""), 1000, ErrorCode::InvalidRequest),
        (Some("tx"), 0, ErrorCode::InvalidTransactionTimeout),
        (Some("tx"), i32::MAX, ErrorCode::InvalidTransactionTimeout),
        (
            Some("tx"),
            60_000,
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
    ];
    for (id, timeout, expected) in cases {
        let refused = producer_id(&harness, id, timeout);
        assert_eq!(
            (refused.error_code, refused.producer_id),
            (expected.code(), -1)
        );
    }
    let half = InitProducerIdRequest {
        producer_id: 5,
        ..Default::default()
    };
    let response = harness.call(4, &Request::InitProducerId(half));
    let Response::InitProducerId(response) = response else {
        unreachable!()
    };
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
}

fn delete_records(harness: &Harness, topic: &str, partition_index: i32, offset: i64) -> (i16, i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index,
                offset,
            }],
        }],
        timeout_ms: 1000,
    };
    let response = harness.call(2, &Request::DeleteRecords(request));
    let Response::DeleteRecords(response) = response else {
        unreachable!()
    };
    let row = &response.topics[0].partitions[0];
    (row.error_code, row.low_watermark)
}

#[test]
fn records_that_may_not_be_deleted_are_not() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    harness.create_topic("compacted", &[("cleanup.policy", "compact")]);
    let cases = [
        ("none", 0, 0, ErrorCode::UnknownTopicOrPartition),
        ("t", 1, 0, ErrorCode::UnknownTopicOrPartition),
        ("t", 0, 1_000_000, ErrorCode::OffsetOutOfRange),
        ("t", 0, -2, ErrorCode::OffsetOutOfRange),
        ("compacted", 0, 0, ErrorCode::PolicyViolation),
        ("__consumer_offsets", 0, 0, ErrorCode::InvalidTopicException),
    ];
    for (topic, partition, offset, expected) in cases {
        let row = delete_records(&harness, topic, partition, offset);
        assert_eq!(row, (expected.code(), -1), "{topic} {offset}");
    }
    assert_eq!(delete_records(&harness, "t", 0, 0), (0, 0));
}

#[test]
fn deleted_records_stay_deleted_also_after_a_restart() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    for values in [["a", "b"], ["c", "d"]] {
        let records = Some(Records::from(batch(&values)));
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                name: "t".into(),
                partition_data: vec![PartitionProduceData { index: 0, records }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = harness.call(9, &Request::Produce(request));
        let Response::Produce(response) = response else {
            unreachable!()
        };
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    assert_eq!(delete_records(&harness, "t", 0, 3), (0, 3));
    assert_eq!(
        delete_records(&harness, "t", 0, 1),
        (0, 3),
        "below the log start is done already"
    );
    let harness = harness.restart();
    assert_eq!(delete_records(&harness, "t", 0, 0), (0, 3));
    assert_eq!(
        delete_records(&harness, "t", 0, -1),
        (0, 4),
        "all that is committed"
    );
}

/// While the logs are being opened none are there yet, and a log that is gone would pass for one
/// that never was.
#[test]
fn which_logs_there_are_is_not_forgotten_while_they_are_opened() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::from(batch(&["a"]))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    harness.call(9, &Request::Produce(request));
    let dir = Arc::clone(&harness.dir);
    assert_eq!(harness.broker.close(), 0);
    drop(harness);
    let known = || std::fs::read_to_string(dir.path().join("logs.known")).unwrap();
    let before = known();
    assert_eq!(before.lines().count(), 2, "{before}");

    let again = Harness::before_recovery(Arc::clone(&dir), Arc::new(Inline));
    again.broker.maintain();
    assert_eq!(known(), before);
    again.broker.recover();
    again.broker.maintain();
    assert_eq!(known(), before);
    assert_eq!(again.broker.close(), 0);
    drop(again);

    // Nor is a loss forgotten that nobody was told of.
    let log = dir.path().join(before.lines().next().unwrap());
    std::fs::remove_dir_all(log).unwrap();
    let last = Harness::on(Arc::clone(&dir));
    last.broker.maintain();
    assert_eq!(known(), before);
}
