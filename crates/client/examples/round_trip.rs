//! Goes through everything the client does, against a broker that runs: makes a topic, writes it
//! with every codec, reads it back by hand and as a group of two, and deletes it again.
//!
//! ```text
//! cargo run -p plimsoll-client --example round_trip -- localhost:9092
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use plimsoll_client::admin::{ConfigChange, NewTopic, Resource};
use plimsoll_client::{
    Acks, Admin, At, Client, ClientConfig, Consumer, ConsumerConfig, GroupConfig, GroupConsumer,
    Producer, ProducerConfig, ProducerRecord, StartAt,
};
use plimsoll_record_batch::Compression;
use plimsoll_types::{Offset, Timestamp, TopicName, TopicPartition};
use plimsoll_wire::ErrorCode;
use tokio::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PARTITIONS: u32 = 3;
const EACH: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let bootstrap = std::env::args()
        .nth(1)
        .ok_or("usage: round_trip HOST:PORT")?;
    let client = Client::connect(ClientConfig::new([bootstrap])).await?;
    let topic = TopicName::new(&format!("round-trip-{}", std::process::id()))?;
    let admin = Admin::new(client.clone());

    create(&admin, &topic).await?;
    let written = produce(&client, &topic).await?;
    consume(&client, &topic, written).await?;
    look_up(&client, &topic).await?;
    group(&client, &topic, written).await?;
    recompressed(&admin, &topic).await?;
    configure(&admin, &topic).await?;
    trim(&admin, &topic).await?;
    describe(&admin).await?;
    admin.delete_topic(topic.as_str()).await?;
    println!("all well: {written} records");
    Ok(())
}

async fn create(admin: &Admin, topic: &TopicName) -> Outcome {
    let new = NewTopic {
        partitions: Some(PARTITIONS - 1),
        replication_factor: Some(1),
        ..NewTopic::new(topic.as_str())
    };
    admin.create_topic(&new, true).await?;
    let made = admin.create_topic(&new, false).await?;
    assert!(!made.id.is_absent());
    let again = admin.create_topic(&new, false).await;
    let code = again.err().and_then(|error| error.code());
    assert_eq!(code, Some(ErrorCode::TopicAlreadyExists));
    admin
        .create_partitions(topic.as_str(), PARTITIONS, false)
        .await?;
    let deadline = Instant::now() + PATIENCE;
    while admin.client().topic_anew(topic).await?.partitions.len() < PARTITIONS as usize {
        assert!(Instant::now() < deadline, "the partitions do not come");
    }
    Ok(())
}

/// Writes with every codec and every kind of acks. Yields how many records.
async fn produce(client: &Client, topic: &TopicName) -> Outcome<u32> {
    let mut written = 0;
    for compression in Compression::ALL {
        for (acks, idempotent) in [
            (Acks::All, true),
            (Acks::All, false),
            (Acks::Leader, false),
            (Acks::None, false),
        ] {
            let config = ProducerConfig {
                acks,
                idempotent,
                compression,
                batch_bytes: 2_000,
                ..ProducerConfig::new()
            };
            let producer = Producer::new(client.clone(), config);
            let mut deliveries = Vec::new();
            for n in 0..EACH {
                let mut record = ProducerRecord::new(topic.clone(), value(written + n));
                if n % 2 == 0 {
                    record = record.with_key(format!("key {n}"));
                }
                if n % 3 == 0 {
                    let odd = bytes::Bytes::from_static(b"\xff");
                    record.headers = vec![(odd.clone(), None), (odd.clone(), Some(odd))];
                }
                record.timestamp = Some(Timestamp::from_millis(
                    1_700_000_000_000 + i64::from(written + n),
                ));
                deliveries.push(producer.send(record).await?);
            }
            producer.flush().await;
            for delivery in deliveries {
                let delivered = delivery.wait().await?;
                assert_eq!(delivered.offset.is_some(), acks != Acks::None);
            }
            written += EACH;
        }
    }
    Ok(written)
}

/// Larger and larger, so that batches of several kinds come about.
fn value(n: u32) -> String {
    format!("value {n} {}", "x".repeat((n % 97) as usize))
}

async fn consume(client: &Client, topic: &TopicName, written: u32) -> Outcome {
    let mut consumer = Consumer::new(client.clone(), ConsumerConfig::new());
    consumer.assign(partitions(topic).map(|partition| (partition, StartAt::Earliest)));
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < written as usize {
        assert!(
            Instant::now() < deadline,
            "only {} of {written} came",
            seen.len()
        );
        for record in consumer.poll(Duration::from_secs(1)).await? {
            let value = String::from_utf8(record.value.ok_or("a value")?.to_vec())?;
            assert!(seen.insert(value), "twice");
        }
    }
    assert_eq!(seen, (0..written).map(value).collect());
    while !consumer.are_all_at_end() {
        assert!(consumer.poll(Duration::from_secs(1)).await?.is_empty());
    }
    Ok(())
}

async fn look_up(client: &Client, topic: &TopicName) -> Outcome {
    for partition in partitions(topic) {
        let first = client.offset(&partition, At::Earliest).await?;
        assert_eq!(first.offset, Some(Offset::ZERO));
        let end = client
            .offset(&partition, At::Latest)
            .await?
            .offset
            .ok_or("an end")?;
        let time = Timestamp::from_millis(1_700_000_000_000);
        let early = client.offset(&partition, At::Timestamp(time)).await?;
        assert_eq!(early.offset, Some(Offset::ZERO));
        let late = Timestamp::from_millis(1_900_000_000_000);
        let none = client.offset(&partition, At::Timestamp(late)).await?;
        assert_eq!(none.offset, None);
        let greatest = client.offset(&partition, At::MaxTimestamp).await?;
        assert!(greatest.offset < Some(end) && greatest.timestamp.is_some());
    }
    Ok(())
}

/// Two members share the topic; then one reads on where both left off.
async fn group(client: &Client, topic: &TopicName, written: u32) -> Outcome {
    let name = format!("{topic}-group");
    let member = || {
        let config = GroupConfig {
            start: StartAt::Earliest,
            heartbeat_interval: Duration::from_millis(100),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(10),
            ..GroupConfig::new(name.as_str(), [topic.clone()])
        };
        GroupConsumer::new(client.clone(), ConsumerConfig::new(), config)
    };
    let (mut first, mut second) = (member(), member());
    let mut read = 0;
    let deadline = Instant::now() + PATIENCE;
    let is_shared = |one: &GroupConsumer, other: &GroupConsumer| {
        let count = |member: &GroupConsumer| member.consumer().assignment().count();
        count(one) > 0 && count(other) > 0 && count(one) + count(other) == PARTITIONS as usize
    };
    while read < written as usize || !is_shared(&first, &second) {
        assert!(
            Instant::now() < deadline,
            "{read} of {written} read by the group"
        );
        let time = Duration::from_millis(200);
        let (one, other) = tokio::join!(first.poll(time), second.poll(time));
        read += one?.len() + other?.len();
    }
    let admin = Admin::new(client.clone());
    let described = admin.describe_group(&name).await?;
    assert_eq!(described.members.len(), 2, "{described:?}");
    assert!(
        admin
            .groups()
            .await?
            .iter()
            .any(|listed| listed.group == name)
    );
    first.leave().await?;
    second.leave().await?;
    let committed = admin.committed(&name, None).await?;
    let sum: u64 = committed
        .values()
        .map(|committed| committed.offset.get())
        .sum();
    assert_eq!(sum, u64::from(written), "all of it committed");

    let mut third = member();
    while third.generation().is_none() {
        assert!(
            third.poll(Duration::from_millis(200)).await?.is_empty(),
            "read before"
        );
    }
    assert!(
        third.poll(Duration::from_millis(300)).await?.is_empty(),
        "read before"
    );
    third.leave().await?;
    admin.delete_group(&name).await?;
    Ok(())
}

/// Topics that compress what comes to them uncompressed, so that the broker's codecs are read.
async fn recompressed(admin: &Admin, topic: &TopicName) -> Outcome {
    let client = admin.client();
    for compression in Compression::ALL {
        let name = TopicName::new(&format!("{topic}-{compression}"))?;
        let codec = match compression {
            Compression::None => "uncompressed",
            other => other.name(),
        };
        let new = NewTopic {
            partitions: Some(1),
            configs: vec![("compression.type".to_owned(), codec.to_owned())],
            ..NewTopic::new(name.as_str())
        };
        admin.create_topic(&new, false).await?;
        let producer = Producer::new(client.clone(), ProducerConfig::new());
        let mut last = None;
        for n in 0..EACH {
            last = Some(
                producer
                    .send(ProducerRecord::new(name.clone(), value(n)))
                    .await?,
            );
        }
        last.ok_or("a record")?.wait().await?;
        let mut consumer = Consumer::new(client.clone(), ConsumerConfig::new());
        let partition = TopicPartition {
            topic: name.clone(),
            partition: 0,
        };
        consumer.assign([(partition, StartAt::Earliest)]);
        let mut next = 0;
        while !consumer.are_all_at_end() {
            for record in consumer.poll(Duration::from_secs(1)).await? {
                assert_eq!(record.value.as_deref(), Some(value(next).as_bytes()));
                next += 1;
            }
        }
        assert_eq!(next, EACH, "{compression}");
        admin.delete_topic(name.as_str()).await?;
    }
    Ok(())
}

async fn configure(admin: &Admin, topic: &TopicName) -> Outcome {
    let resource = Resource::Topic(topic.to_string());
    let name = "retention.ms".to_owned();
    let set = ConfigChange::Set(name.clone(), "1234567".to_owned());
    admin.alter_configs(&resource, &[set], false).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let entries = admin.configs(&resource, Some(&[&name])).await?;
        if entries.first().and_then(|entry| entry.value.as_deref()) == Some("1234567") {
            break;
        }
        assert!(Instant::now() < deadline, "the setting does not come");
    }
    admin
        .alter_configs(&resource, &[ConfigChange::Unset(name)], false)
        .await?;
    assert!(admin.configs(&resource, None).await?.len() > 10);
    Ok(())
}

async fn trim(admin: &Admin, topic: &TopicName) -> Outcome {
    let partition = partitions(topic).next().ok_or("a partition")?;
    let start = admin
        .delete_records(&partition, Some(Offset::new(5)))
        .await?;
    assert_eq!(start.get(), 5);
    let earliest = admin.client().offset(&partition, At::Earliest).await?;
    assert_eq!(earliest.offset, Some(start));
    Ok(())
}

async fn describe(admin: &Admin) -> Outcome {
    let cluster = admin.cluster().await?;
    println!(
        "cluster {} of {} nodes",
        cluster.cluster_id,
        cluster.nodes.len()
    );
    for node in &cluster.nodes {
        let dirs = admin.log_dirs(node.id).await?;
        let partitions: usize = dirs.iter().map(|dir| dir.partitions.len()).sum();
        println!(
            "node {} at {} holds {partitions} partitions",
            node.id, node.address
        );
    }
    Ok(())
}

fn partitions(topic: &TopicName) -> impl Iterator<Item = TopicPartition> + '_ {
    (0..PARTITIONS).map(|partition| TopicPartition {
        topic: topic.clone(),
        partition,
    })
}
