//! Consuming by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_client::{
    At, Client, ClientConfig, ClientError, Consumer, ConsumerConfig, OutOfRange, StartAt,
};
use plimsoll_record_batch::{BatchBuilder, Compression, RecordToWrite};
use plimsoll_types::{Offset, Timestamp, TopicName, TopicPartition};
use plimsoll_wire::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use plimsoll_wire::{ApiKey, ErrorCode, Request};

use crate::fake::{Act, Fake};

const LONG: Duration = Duration::from_secs(10);

pub(crate) fn partition(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition,
    }
}

pub(crate) async fn client(fake: &Fake) -> Client {
    let config = ClientConfig {
        retry_backoff: Duration::from_millis(1),
        unknown_topic_grace: Duration::from_millis(5),
        ..ClientConfig::new([&fake.address])
    };
    Client::connect(config).await.expect("connects")
}

/// Puts a batch of values into a partition, stamped `time`.
pub(crate) fn fill(fake: &Fake, partition: usize, values: &[&str], time: i64) {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for value in values {
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(time),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .expect("small");
    }
    let mut topics = fake.state.topics.lock();
    let log = &mut topics.get_mut("t").expect("there")[partition];
    let base = log
        .iter()
        .map(|batch| u64::from(crate::fake::parse(batch).records))
        .sum();
    log.push(builder.build(Offset::new(base)).expect("small"));
}

async fn consumer(fake: &Fake, starts: &[(u32, StartAt)]) -> Consumer {
    let config = ConsumerConfig {
        max_poll_records: 3,
        ..ConsumerConfig::new()
    };
    let mut consumer = Consumer::new(client(fake).await, config);
    consumer.assign(
        starts
            .iter()
            .map(|(index, start)| (partition(*index), *start)),
    );
    consumer
}

/// Polls until everything is handed out.
async fn read_all(consumer: &mut Consumer) -> BTreeMap<u32, Vec<(u64, String)>> {
    let mut read: BTreeMap<u32, Vec<(u64, String)>> = BTreeMap::new();
    while !consumer.are_all_at_end() {
        for record in consumer.poll(LONG).await.expect("reads") {
            let value = String::from_utf8_lossy(&record.value.expect("has one")).into_owned();
            let partition = read.entry(record.partition).or_default();
            partition.push((record.offset.get(), value));
        }
    }
    read
}

fn numbered(first: u64, values: &[&str]) -> Vec<(u64, String)> {
    (first..)
        .zip(values.iter().map(|value| (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn all_partitions_are_read_to_their_end() {
    let fake = Fake::start(&[("t", 2)]).await;
    fill(&fake, 0, &["a", "b", "c", "d"], 1);
    fill(&fake, 0, &["e"], 2);
    fill(&fake, 1, &["x", "y"], 1);
    let starts = [(0, StartAt::Earliest), (1, StartAt::Earliest)];
    let mut consumer = consumer(&fake, &starts).await;
    let read = read_all(&mut consumer).await;
    assert_eq!(read[&0], numbered(0, &["a", "b", "c", "d", "e"]));
    assert_eq!(read[&1], numbered(0, &["x", "y"]));
    assert_eq!(consumer.positions()[&partition(0)].get(), 5);
    assert_eq!(
        consumer.high_watermark(&partition(1)).map(Offset::get),
        Some(2)
    );
}

#[tokio::test]
async fn each_start_begins_where_it_says() {
    let fake = Fake::start(&[("t", 1)]).await;
    fill(&fake, 0, &["a", "b"], 100);
    fill(&fake, 0, &["c", "d"], 200);
    let cases = [
        (
            StartAt::Offset(Offset::new(1)),
            numbered(1, &["b", "c", "d"]),
        ),
        (
            StartAt::Timestamp(Timestamp::from_millis(150)),
            numbered(2, &["c", "d"]),
        ),
        (StartAt::Latest, vec![]),
        (StartAt::Timestamp(Timestamp::from_millis(201)), vec![]),
    ];
    for (start, expected) in cases {
        let mut consumer = consumer(&fake, &[(0, start)]).await;
        let mut read = Vec::new();
        while !consumer.is_at_end(&partition(0)) {
            let records = consumer
                .poll(Duration::from_millis(20))
                .await
                .expect("reads");
            read.extend(records.into_iter().map(|record| {
                let value = String::from_utf8_lossy(&record.value.expect("has one")).into_owned();
                (record.offset.get(), value)
            }));
        }
        assert_eq!(read, expected, "{start:?}");
    }
}

#[tokio::test]
async fn a_seek_discards_what_was_fetched() {
    let fake = Fake::start(&[("t", 1)]).await;
    fill(&fake, 0, &["a", "b", "c", "d", "e"], 1);
    let mut consumer = consumer(&fake, &[(0, StartAt::Earliest)]).await;
    assert_eq!(consumer.poll(LONG).await.expect("reads").len(), 3);
    consumer
        .seek(&partition(0), StartAt::Offset(Offset::new(1)))
        .expect("assigned");
    let again = consumer.poll(LONG).await.expect("reads");
    assert_eq!(again[0].offset.get(), 1);
    let stranger = consumer.seek(&partition(7), StartAt::Latest);
    assert!(matches!(stranger, Err(ClientError::NotAssigned { .. })));
}

#[tokio::test]
async fn a_position_outside_the_log_is_an_error_or_goes_on_as_told() {
    let fake = Fake::start(&[("t", 1)]).await;
    fill(&fake, 0, &["a"], 1);
    let start = [(0, StartAt::Offset(Offset::new(9)))];
    let mut strict = consumer(&fake, &start).await;
    let error = strict.poll(LONG).await.expect_err("outside");
    assert!(matches!(error, ClientError::OutOfRange { offset, .. } if offset.get() == 9));

    let config = ConsumerConfig {
        out_of_range: OutOfRange::Earliest,
        ..ConsumerConfig::new()
    };
    let mut lenient = Consumer::new(client(&fake).await, config);
    lenient.assign([(partition(0), start[0].1)]);
    assert_eq!(lenient.poll(LONG).await.expect("reads")[0].offset.get(), 0);
}

#[tokio::test]
async fn leaders_that_move_and_connections_that_break_are_ridden_out() {
    let fake = Fake::start(&[("t", 1)]).await;
    fill(&fake, 0, &["a", "b"], 1);
    let mut fetches = 0;
    fake.hook(move |_, request| {
        let Request::Fetch(fetch) = request else {
            return Act::Behave;
        };
        fetches += 1;
        match fetches {
            1 => Act::Close,
            2 => Act::Answer(Box::new(
                FetchResponse {
                    responses: vec![FetchableTopicResponse {
                        topic: fetch.topics[0].topic.clone(),
                        partitions: vec![PartitionData {
                            error_code: ErrorCode::NotLeaderOrFollower.code(),
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                }
                .into(),
            )),
            _ => Act::Behave,
        }
    });
    let mut consumer = consumer(&fake, &[(0, StartAt::Earliest)]).await;
    let read = read_all(&mut consumer).await;
    assert_eq!(read[&0], numbered(0, &["a", "b"]));
}

#[tokio::test]
async fn damaged_batches_are_an_error_and_never_handed_out() {
    let fake = Fake::start(&[("t", 1)]).await;
    fill(&fake, 0, &["a", "b"], 1);
    {
        let mut topics = fake.state.topics.lock();
        let batch = &mut topics.get_mut("t").expect("there")[0][0];
        let mut damaged = batch.to_vec();
        *damaged.last_mut().expect("not empty") ^= 1;
        *batch = Bytes::from(damaged);
    }
    let mut consumer = consumer(&fake, &[(0, StartAt::Earliest)]).await;
    for _ in 0..2 {
        let error = consumer.poll(LONG).await.expect_err("damaged");
        assert!(matches!(error, ClientError::Batch { .. }), "{error}");
    }
}

#[tokio::test]
async fn partitions_that_do_not_exist_are_an_error() {
    let fake = Fake::start(&[("t", 1)]).await;
    let mut consumer = consumer(&fake, &[(4, StartAt::Offset(Offset::ZERO))]).await;
    let error = consumer.poll(LONG).await.expect_err("no such partition");
    assert!(matches!(
        error,
        ClientError::NoPartition {
            partition: 4,
            partitions: 1,
            ..
        }
    ));
}

#[tokio::test]
async fn offsets_are_looked_up_at_both_ends() {
    let fake = Fake::start(&[("t", 2)]).await;
    fill(&fake, 1, &["a", "b"], 1);
    let client = client(&fake).await;
    let wanted = BTreeMap::from([
        (partition(0), At::Latest),
        (partition(1), At::Latest),
        (partition(9), At::Latest),
    ]);
    let found = client.offsets(&wanted).await.expect("asked");
    let end = |index| found[&partition(index)].as_ref().expect("found").offset;
    assert_eq!(end(0), Some(Offset::ZERO));
    assert_eq!(end(1), Some(Offset::new(2)));
    assert!(matches!(
        found[&partition(9)],
        Err(ClientError::NoPartition { .. })
    ));
    assert_eq!(fake.count(ApiKey::ListOffsets), 1, "one request a leader");
}
