//! Produce and fetch as a client sees them, without sockets.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_broker::Answer;
use plimsoll_record_batch::{Batches, DecodeLimits};
use plimsoll_types::{ProducerEpoch, ProducerId};
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use plimsoll_wire::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use plimsoll_wire::{ErrorCode, Records, Request, Response};
use support::{BlockedWorkers, Harness, batch, block_on, response};

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 1000,
};

fn produce(topic: &str, acks: i16, records: Bytes) -> Request {
    Request::Produce(ProduceRequest {
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::from(records)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn produced(harness: &Harness, request: &Request) -> PartitionProduceResponse {
    let Response::Produce(mut response) = harness.call(9, request) else {
        unreachable!()
    };
    response.responses.remove(0).partition_responses.remove(0)
}

fn fetch(topic: &str, from: i64, max_wait_ms: i32, max_bytes: i32) -> Request {
    Request::Fetch(FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: from,
                partition_max_bytes: max_bytes,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn partition_of(response: Response) -> PartitionData {
    let Response::Fetch(mut response) = response else {
        unreachable!()
    };
    assert_eq!(response.error_code, 0);
    response.responses.remove(0).partitions.remove(0)
}

fn fetched(harness: &Harness, request: &Request) -> PartitionData {
    partition_of(harness.call(12, request))
}

/// Offset and value of every record.
fn values(data: &PartitionData) -> Vec<(u64, String)> {
    let bytes = data
        .records
        .as_ref()
        .expect("records are empty, not null")
        .to_bytes();
    let mut values = Vec::new();
    for batch in Batches::new(&bytes) {
        let records = batch.unwrap().records(&LIMITS).unwrap();
        for record in records.iter() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((record.offset.get(), value));
        }
    }
    values
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn idempotent(values: &[&str], id: u64, epoch: i16, sequence: i32) -> Bytes {
    use plimsoll_record_batch::{BatchBuilder, Compression, Producer, RecordToWrite};
    use plimsoll_types::{Offset, Timestamp};
    let producer = Producer {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
    };
    let mut builder = BatchBuilder::new(Compression::None).producer(producer);
    for value in values {
        let value = Some(value.as_bytes());
        let timestamp = Timestamp::from_millis(1_700_000_000_000);
        builder
            .push(&RecordToWrite {
                timestamp,
                key: None,
                value,
                headers: &[],
            })
            .unwrap();
    }
    builder.build(Offset::ZERO).unwrap()
}

#[test]
fn what_was_acknowledged_is_fetched_with_its_offsets() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let first = produced(&harness, &produce("t", -1, batch(&["a", "b"])));
    let second = produced(&harness, &produce("t", -1, batch(&["c"])));
    assert_eq!((first.error_code, first.base_offset), (0, 0));
    assert_eq!((second.error_code, second.base_offset), (0, 2));
    let data = fetched(&harness, &fetch("t", 0, 0, 1 << 20));
    let expected = [(0, "a"), (1, "b"), (2, "c")].map(|(at, value)| (at, value.to_owned()));
    assert_eq!(values(&data), expected);
    assert_eq!(data.high_watermark, 3);
}

#[test]
fn a_restart_keeps_records_and_producer_states() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    assert_eq!(
        produced(&harness, &produce("t", -1, idempotent(&["a"], 7, 0, 0))).error_code,
        0
    );
    let harness = harness.restart();
    let again = produced(&harness, &produce("t", -1, idempotent(&["a"], 7, 0, 0)));
    assert_eq!(
        (again.error_code, again.base_offset),
        (0, 0),
        "a duplicate, not appended again"
    );
    let next = produced(&harness, &produce("t", -1, idempotent(&["b"], 7, 0, 1)));
    assert_eq!((next.error_code, next.base_offset), (0, 1));
}

#[test]
fn sequences_are_held_to() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    assert_eq!(
        produced(&harness, &produce("t", -1, idempotent(&["a"], 7, 1, 0))).error_code,
        0
    );
    let hole = produced(&harness, &produce("t", -1, idempotent(&["c"], 7, 1, 2)));
    assert_eq!(hole.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
    let zombie = produced(&harness, &produce("t", -1, idempotent(&["z"], 7, 0, 1)));
    assert_eq!(zombie.error_code, ErrorCode::InvalidProducerEpoch.code());
}

#[test]
fn a_parked_fetch_wakes_with_the_high_watermark() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let request = fetch("t", 0, 60_000, 1 << 20);
    let mut parked = pin!(harness.begin(12, &request));
    assert!(poll_once(parked.as_mut()).is_pending());
    assert_eq!(
        produced(&harness, &produce("t", -1, batch(&["a"]))).error_code,
        0
    );
    let data = partition_of(response(&request, 12, block_on(parked)));
    assert_eq!(values(&data).len(), 1);
}

#[test]
fn a_parked_fetch_ends_empty_at_its_deadline() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let request = fetch("t", 0, 500, 1 << 20);
    let mut parked = pin!(harness.begin(12, &request));
    assert!(poll_once(parked.as_mut()).is_pending());
    harness.clock.advance(Duration::from_millis(500));
    let data = partition_of(response(&request, 12, block_on(parked)));
    assert_eq!(values(&data), []);
    assert_eq!(data.error_code, 0);
}

#[test]
fn the_first_batch_comes_whole_however_small_the_limit() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let large = "x".repeat(100_000);
    assert_eq!(
        produced(&harness, &produce("t", -1, batch(&[&large]))).error_code,
        0
    );
    assert_eq!(
        produced(&harness, &produce("t", -1, batch(&["small"]))).error_code,
        0
    );
    let data = fetched(&harness, &fetch("t", 0, 0, 1));
    assert_eq!(values(&data), [(0, large)]);
}

#[test]
fn offsets_outside_of_the_log_are_told_apart_from_its_end() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    assert_eq!(
        produced(&harness, &produce("t", -1, batch(&["a"]))).error_code,
        0
    );
    assert_eq!(fetched(&harness, &fetch("t", 1, 0, 1024)).error_code, 0);
    let beyond = fetched(&harness, &fetch("t", 2, 0, 1024));
    assert_eq!(beyond.error_code, ErrorCode::OffsetOutOfRange.code());
    let negative = fetched(&harness, &fetch("t", -5, 0, 1024));
    assert_eq!(negative.error_code, ErrorCode::OffsetOutOfRange.code());
}

#[test]
fn a_damaged_batch_is_refused_and_nothing_is_written() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let mut bytes = batch(&["a"]).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let refused = produced(&harness, &produce("t", -1, bytes.into()));
    assert_eq!(refused.error_code, ErrorCode::CorruptMessage.code());
    let two = [batch(&["a"]), batch(&["b"])].concat();
    let refused = produced(&harness, &produce("t", -1, two.into()));
    assert_eq!(refused.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(fetched(&harness, &fetch("t", 0, 0, 1024)).high_watermark, 0);
}

#[test]
fn limits_and_rules_of_the_topic_hold() {
    let harness = Harness::new();
    harness.create_topic("small", &[("max.message.bytes", "100")]);
    let refused = produced(&harness, &produce("small", -1, batch(&[&"x".repeat(100)])));
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge.code());
    harness.create_topic("keyed", &[("cleanup.policy", "compact")]);
    let refused = produced(&harness, &produce("keyed", -1, batch(&["no key"])));
    assert_eq!(refused.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(refused.record_errors.len(), 1);
    harness.create_topic("timed", &[("message.timestamp.type", "LogAppendTime")]);
    let stamped = produced(&harness, &produce("timed", -1, batch(&["a"])));
    assert_eq!(
        (stamped.error_code, stamped.log_append_time_ms),
        (0, 1_700_000_000_000)
    );
}

#[test]
fn a_client_cannot_set_the_append_time_and_a_wrong_greatest_timestamp_is_put_right() {
    use plimsoll_record_batch::{stamp_log_append_time, stamp_max_timestamp};
    use plimsoll_types::Timestamp;
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let mut claimed = batch(&["a"]).to_vec();
    stamp_log_append_time(&mut claimed, Timestamp::from_millis(5));
    let refused = produced(&harness, &produce("t", -1, claimed.into()));
    assert_eq!(refused.error_code, ErrorCode::InvalidTimestamp.code());
    let mut wrong = batch(&["a"]).to_vec();
    stamp_max_timestamp(&mut wrong, Timestamp::from_millis(5));
    assert_eq!(
        produced(&harness, &produce("t", -1, wrong.into())).error_code,
        0
    );
    let data = fetched(&harness, &fetch("t", 0, 0, 1024));
    let bytes = data.records.unwrap().to_bytes();
    let stored = Batches::new(&bytes).next().unwrap().unwrap();
    assert_eq!(stored.header().max_timestamp.as_millis(), 1_700_000_000_000);
}

#[test]
fn acks_zero_has_no_answer_and_a_failure_closes() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let quiet = block_on(harness.begin(9, &produce("t", 0, batch(&["a"]))));
    assert!(matches!(quiet, Answer::Nothing));
    let closed = block_on(harness.begin(9, &produce("missing", 0, batch(&["a"]))));
    assert!(matches!(closed, Answer::Close(_)));
    let acks = produced(&harness, &produce("t", 5, batch(&["a"])));
    assert_eq!(acks.error_code, ErrorCode::InvalidRequiredAcks.code());
}

#[test]
fn requests_take_effect_in_the_order_of_their_first_polls() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let requests: Vec<_> = (0..5)
        .map(|at| produce("t", -1, idempotent(&["x"], 9, 0, at)))
        .collect();
    let mut answers: Vec<_> = requests
        .iter()
        .map(|request| Box::pin(harness.begin(9, request)))
        .collect();
    let polled: Vec<_> = answers
        .iter_mut()
        .map(|answer| poll_once(answer.as_mut()))
        .collect();
    for ((answer, polled), (at, request)) in
        answers.into_iter().zip(polled).zip((0..).zip(&requests))
    {
        let answer = match polled {
            Poll::Ready(answer) => answer,
            Poll::Pending => block_on(answer),
        };
        let Response::Produce(done) = response(request, 9, answer) else {
            unreachable!()
        };
        let done = &done.responses[0].partition_responses[0];
        assert_eq!((done.error_code, done.base_offset), (0, at));
    }
}

#[test]
fn what_is_no_request_closes_and_an_unknown_api_versions_version_is_answered() {
    let harness = Harness::new();
    let garbage = harness
        .broker
        .answer(&harness.connection, Bytes::from_static(&[0, 0, 0]));
    assert!(matches!(block_on(garbage), Answer::Close(_)));
    let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff]);
    let broker = Arc::clone(&harness.broker);
    let answer = block_on(broker.answer(&harness.connection, frame));
    let Response::ApiVersions(versions) =
        response(&Request::ApiVersions(Default::default()), 0, answer)
    else {
        unreachable!()
    };
    assert_eq!(versions.error_code, ErrorCode::UnsupportedVersion.code());
    assert!(versions.api_keys.iter().any(|api| api.api_key == 18));
}

#[test]
fn one_request_of_a_connection_is_taken_at_a_time_but_for_produce_and_fetch() {
    use plimsoll_wire::metadata::MetadataRequest;
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let connection = &harness.connection;
    let metadata = Request::Metadata(MetadataRequest::default());
    // A parked fetch lets those behind it pass.
    let mut parked = pin!(harness.begin_on(connection, 12, &fetch("t", 0, 60_000, 1024)));
    assert!(poll_once(parked.as_mut()).is_pending());
    assert!(poll_once(pin!(harness.begin_on(connection, 9, &metadata))).is_ready());
    // Anything else that waits does not.
    let held = BlockedWorkers::default();
    let blocked = Harness::with_workers(Arc::new(held.clone()));
    let connection = &blocked.connection;
    let mut first = Box::pin(blocked.begin_on(connection, 7, &Harness::creation("t", &[])));
    assert!(poll_once(first.as_mut()).is_pending());
    let mut behind = Box::pin(blocked.begin_on(connection, 9, &metadata));
    assert!(poll_once(behind.as_mut()).is_pending());
    held.release();
    assert!(matches!(block_on(first), Answer::Reply(_)));
    assert!(matches!(block_on(behind), Answer::Reply(_)));
}
