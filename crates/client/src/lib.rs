//! A small async Kafka client: what the command line, the tests and the load generator need.
//!
//! [`Client`] finds the cluster; [`Producer`], [`Consumer`], [`GroupConsumer`] and [`Admin`] use
//! it; [`Connection`] is one connection, for whoever wants to say exactly what is sent. Not here:
//! transactions, TLS and SASL, groups of the new protocol (KIP-848), members that keep partitions
//! across a rebalance.
//!
//! What always holds, whatever a broker sends: nothing panics; memory is bounded (answers by
//! `max_response_bytes`, batches by [`DecodeLimits`](plimsoll_record_batch::DecodeLimits), queues
//! by their configurations); every wait has an end, and its error says what was waited for and for
//! how long.
//!
//! ```no_run
//! use std::time::Duration;
//! use plimsoll_client::{
//!     Client, ClientConfig, Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerRecord,
//!     StartAt,
//! };
//! use plimsoll_types::{TopicName, TopicPartition};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientConfig::new(["localhost:9092"])).await?;
//! let topic = TopicName::new("orders")?;
//!
//! let producer = Producer::new(client.clone(), ProducerConfig::new());
//! let record = ProducerRecord::new(topic.clone(), "three apples").with_key("user-7");
//! let delivered = producer.send(record).await?.wait().await?;
//! println!("at {:?} in partition {}", delivered.offset, delivered.partition);
//!
//! let mut consumer = Consumer::new(client, ConsumerConfig::new());
//! let partition = delivered.partition;
//! consumer.assign([(TopicPartition { topic, partition }, StartAt::Earliest)]);
//! while !consumer.are_all_at_end() {
//!     for record in consumer.poll(Duration::from_secs(1)).await? {
//!         println!("{} {:?}", record.offset, record.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What a key's partition is needs no broker:
//!
//! ```
//! assert_eq!(plimsoll_client::partition_of(b"foobar", 10), 6);
//! ```

pub mod admin;
mod ask;
mod client;
mod clock;
mod commit;
mod config;
mod connection;
mod consumer;
mod error;
mod group;
mod link;
mod metadata;
mod offsets;
mod partitioner;
mod producer;
mod retry;
mod socket;
mod versions;

pub use admin::Admin;
pub use ask::Ask;
pub use client::{Client, Lane, Owner};
pub use config::ClientConfig;
pub use connection::{Connection, Pending};
pub use consumer::{ConsumedRecord, Consumer, ConsumerConfig, OutOfRange, StartAt};
pub use error::ClientError;
pub use group::{Assignment, Assignor, GroupConfig, GroupConsumer, Subscriber};
pub use metadata::{Metadata, Node, Partition, Topic};
pub use offsets::{At, FoundOffset, OffsetsFound};
pub use partitioner::{murmur2, partition_of};
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerConfig, ProducerRecord};
pub use versions::{Versions, spoken};
