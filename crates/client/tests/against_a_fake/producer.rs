//! Producing to a broker that fails in the ways brokers do.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_client::{
    Acks, Client, ClientConfig, ClientError, Producer, ProducerConfig, ProducerRecord, partition_of,
};
use plimsoll_record_batch::{Batch, Compression, DecodeLimits};
use plimsoll_types::TopicName;
use plimsoll_wire::produce::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use plimsoll_wire::{ApiKey, ErrorCode, Request};

use crate::fake::{Act, Fake};

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 10_000,
};

fn topic() -> TopicName {
    TopicName::new("t").expect("legal")
}

async fn client(fake: &Fake) -> Client {
    let config = ClientConfig {
        retry_backoff: Duration::from_millis(1),
        unknown_topic_grace: Duration::from_millis(5),
        ..ClientConfig::new([&fake.address])
    };
    Client::connect(config).await.expect("connects")
}

/// The values in a partition, in order.
fn values(fake: &Fake, partition: usize) -> Vec<String> {
    let topics = fake.state.topics.lock();
    let mut values = Vec::new();
    for bytes in &topics["t"][partition] {
        let batch = Batch::parse(bytes).expect("whole");
        for record in &batch.records(&LIMITS).expect("in limits") {
            let value = record.expect("reads").value.expect("has one");
            values.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    values
}

/// An answer that refuses every partition of the request.
fn refusal(request: &Request, code: ErrorCode) -> Act {
    let Request::Produce(produce) = request else {
        return Act::Behave;
    };
    let responses = produce.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| PartitionProduceResponse {
                index: data.index,
                error_code: code.code(),
                base_offset: -1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let answer = ProduceResponse {
        responses: responses.collect(),
        ..Default::default()
    };
    Act::Answer(Box::new(answer.into()))
}

#[tokio::test]
async fn records_arrive_in_order_and_their_offsets_are_told() {
    for compression in Compression::ALL {
        let fake = Fake::start(&[("t", 1)]).await;
        let config = ProducerConfig {
            compression,
            batch_bytes: 300,
            ..ProducerConfig::new()
        };
        let producer = Producer::new(client(&fake).await, config);
        let mut deliveries = Vec::new();
        let sent: Vec<_> = (0..100).map(|n| format!("value {n}")).collect();
        for value in &sent {
            let record = ProducerRecord::new(topic(), value.clone());
            deliveries.push(producer.send(record).await.expect("taken"));
        }
        producer.flush().await;
        let mut offsets = Vec::new();
        for delivery in deliveries {
            let delivered = delivery.wait().await.expect("delivered");
            offsets.push(delivered.offset.expect("told").get());
        }
        assert_eq!(offsets, (0..100).collect::<Vec<_>>(), "{compression}");
        assert_eq!(values(&fake, 0), sent, "{compression}");
    }
}

#[tokio::test]
async fn keys_lead_to_their_partition() {
    let fake = Fake::start(&[("t", 4)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for n in 0..40 {
        let key = format!("key {n}");
        let partition = partition_of(key.as_bytes(), 4);
        expected.entry(partition).or_default().push(key.clone());
        let record = ProducerRecord::new(topic(), key.clone()).with_key(key);
        producer.send(record).await.expect("taken");
    }
    producer.flush().await;
    for (partition, keys) in expected {
        assert_eq!(values(&fake, partition as usize), keys);
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_no_duplicate() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let mut produced = 0;
    fake.hook(move |_, request| {
        if request.api() == ApiKey::Produce {
            produced += 1;
        }
        if produced == 1 && request.api() == ApiKey::Produce {
            Act::CloseAfter
        } else {
            Act::Behave
        }
    });
    let record = ProducerRecord::new(topic(), "once");
    let delivery = producer.send(record).await.expect("taken");
    let delivered = delivery
        .wait()
        .await
        .expect("delivered by the second attempt");
    assert_eq!(delivered.offset.map(|offset| offset.get()), Some(0));
    assert_eq!(values(&fake, 0), ["once"]);
    assert_eq!(fake.count(ApiKey::Produce), 2);
}

#[tokio::test]
async fn order_survives_connections_that_break_all_the_time() {
    let fake = Fake::start(&[("t", 1)]).await;
    let config = ProducerConfig {
        batch_bytes: 128,
        linger: Duration::ZERO,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client(&fake).await, config);
    let mut produced = 0;
    fake.hook(move |_, request| {
        if request.api() != ApiKey::Produce {
            return Act::Behave;
        }
        produced += 1;
        match produced % 5 {
            1 => Act::CloseAfter,
            3 => Act::Close,
            _ => Act::Behave,
        }
    });
    let sent: Vec<_> = (0..120).map(|n| format!("value {n}")).collect();
    for value in &sent {
        producer
            .send(ProducerRecord::new(topic(), value.clone()))
            .await
            .expect("taken");
    }
    producer.flush().await;
    assert_eq!(values(&fake, 0), sent);
}

#[tokio::test]
async fn refusals_that_may_pass_are_tried_again() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let mut left = 3;
    fake.hook(move |_, request| {
        if request.api() != ApiKey::Produce || left == 0 {
            return Act::Behave;
        }
        left -= 1;
        refusal(request, ErrorCode::NotLeaderOrFollower)
    });
    let asked_before = fake.count(ApiKey::Metadata);
    let delivery = producer
        .send(ProducerRecord::new(topic(), "a"))
        .await
        .expect("taken");
    delivery.wait().await.expect("delivered in the end");
    assert!(
        fake.count(ApiKey::Metadata) > asked_before + 1,
        "asks for the leader again"
    );
}

#[tokio::test]
async fn a_refusal_for_good_fails_its_records_and_no_others() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let mut refused = false;
    fake.hook(move |_, request| {
        if request.api() != ApiKey::Produce || refused {
            return Act::Behave;
        }
        refused = true;
        refusal(request, ErrorCode::InvalidRecord)
    });
    let send = async |value: &str| {
        let record = ProducerRecord::new(topic(), value.to_owned());
        producer.send(record).await.expect("taken").wait().await
    };
    let error = send("bad").await.expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::InvalidRecord));
    send("good").await.expect("under a new identity");
    assert_eq!(values(&fake, 0), ["good"]);
    assert_eq!(fake.count(ApiKey::InitProducerId), 2);
}

#[tokio::test]
async fn records_whose_time_is_up_have_failed_with_the_reason() {
    let fake = Fake::start(&[("t", 1)]).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(80),
        linger: Duration::ZERO,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client(&fake).await, config);
    fake.hook(|_, request| match request.api() {
        ApiKey::Produce => refusal(request, ErrorCode::NotEnoughReplicas),
        _ => Act::Behave,
    });
    let delivery = producer
        .send(ProducerRecord::new(topic(), "a"))
        .await
        .expect("taken");
    let error = delivery.wait().await.expect_err("never enough");
    assert!(error.is_gave_up());
    assert_eq!(error.code(), Some(ErrorCode::NotEnoughReplicas), "{error}");
}

#[tokio::test]
async fn without_acks_records_count_once_written() {
    let fake = Fake::start(&[("t", 1)]).await;
    let config = ProducerConfig {
        acks: Acks::None,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client(&fake).await, config);
    let delivery = producer
        .send(ProducerRecord::new(topic(), "a"))
        .await
        .expect("taken");
    let delivered = delivery.wait().await.expect("written");
    assert_eq!(delivered.offset, None);
    assert_eq!(fake.count(ApiKey::InitProducerId), 0);
}

#[tokio::test]
async fn a_topic_or_partition_that_does_not_exist_is_an_error() {
    let fake = Fake::start(&[("t", 2)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let nowhere = TopicName::new("nowhere").expect("legal");
    let refused = producer.send(ProducerRecord::new(nowhere, "a")).await;
    let error = refused.expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    let mut record = ProducerRecord::new(topic(), "a");
    record.partition = Some(2);
    let refused = producer.send(record).await;
    assert!(matches!(
        refused,
        Err(ClientError::NoPartition { partitions: 2, .. })
    ));
}

#[tokio::test]
async fn a_record_larger_than_allowed_is_refused_at_once() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(client(&fake).await, ProducerConfig::new());
    let refused = producer
        .send(ProducerRecord::new(topic(), vec![0; 2 << 20]))
        .await;
    assert!(matches!(refused, Err(ClientError::RecordTooLarge { .. })));
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_drains() {
    let fake = Fake::start(&[("t", 1)]).await;
    let config = ProducerConfig {
        buffer_bytes: 4_000,
        batch_bytes: 1_000,
        max_record_bytes: 1_000,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client(&fake).await, config);
    for _ in 0..100 {
        let record = ProducerRecord::new(topic(), vec![b'x'; 300]);
        producer.send(record).await.expect("room comes free");
    }
    producer.flush().await;
    assert_eq!(values(&fake, 0).len(), 100);
}

#[tokio::test]
async fn records_without_a_key_spread_over_the_partitions() {
    let fake = Fake::start(&[("t", 4)]).await;
    let config = ProducerConfig {
        batch_bytes: 200,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client(&fake).await, config);
    for n in 0..200 {
        producer
            .send(ProducerRecord::new(topic(), format!("value {n}")))
            .await
            .expect("taken");
    }
    producer.flush().await;
    let counts: Vec<_> = (0..4)
        .map(|partition| values(&fake, partition).len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
