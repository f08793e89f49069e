//! A small async Kafka client: what the command line, the tests and the load generator need.

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
pub use client::{Client, Lane};
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
