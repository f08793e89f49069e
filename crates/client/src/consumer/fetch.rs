//! One fetch from one node: the request, and what its answer says of each partition.

use std::collections::BTreeMap;

use bytes::Bytes;
use plimsoll_types::{LeaderEpoch, NodeId, Offset, TopicName, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};

use super::ConsumerConfig;
use crate::error::check;
use crate::offsets::{index, millis, topic_partition};
use crate::{Client, ClientError, Connection, Lane, Owner};

/// A partition to fetch.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) partition: TopicPartition,
    /// Which stretch of positions it belongs to; an answer to an older one is thrown away.
    pub(super) stretch: u64,
    pub(super) position: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    /// Whether its end is not known yet: then the broker should not wait for records to tell it.
    pub(super) first: bool,
}

/// What a node answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) node: NodeId,
    pub(super) wanted: Vec<Wanted>,
    pub(super) answer: Result<BTreeMap<TopicPartition, Result<Brought, ClientError>>, ClientError>,
}

/// What came of one partition.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) records: Bytes,
    pub(super) high_watermark: Option<Offset>,
}

/// Asks `node` for `wanted`.
pub(super) async fn fetch(
    client: Client,
    owner: Owner,
    config: ConsumerConfig,
    node: NodeId,
    wanted: Vec<Wanted>,
) -> Fetched {
    let connection = client.node(node, Lane::Fetch(owner)).await;
    let answer = match connection {
        Ok(connection) => fetch_now(&client, &connection, &config, node, &wanted).await,
        Err(error) => Err(error),
    };
    Fetched {
        node,
        wanted,
        answer,
    }
}

async fn fetch_now(
    client: &Client,
    connection: &Connection,
    config: &ConsumerConfig,
    node: NodeId,
    wanted: &[Wanted],
) -> Result<BTreeMap<TopicPartition, Result<Brought, ClientError>>, ClientError> {
    let timeout = client.config().request_timeout + config.max_wait;
    let answer = connection
        .ask_within(request(config, wanted), timeout)
        .await?;
    check(ApiKey::Fetch, answer.error_code, None, || {
        format!("a fetch from node {node}")
    })?;
    let mut brought = BTreeMap::new();
    for topic in answer.responses {
        for data in topic.partitions {
            let partition = topic_partition(&topic.topic, data.partition_index);
            if let Some(partition) = partition {
                let outcome = read(&partition, data);
                brought.insert(partition, outcome);
            }
        }
    }
    Ok(brought)
}

fn request(config: &ConsumerConfig, wanted: &[Wanted]) -> FetchRequest {
    let mut topics: BTreeMap<&TopicName, Vec<FetchPartition>> = BTreeMap::new();
    for one in wanted {
        let partitions = topics.entry(&one.partition.topic).or_default();
        partitions.push(FetchPartition {
            partition: index(one.partition.partition),
            current_leader_epoch: one.leader_epoch.map_or(-1, LeaderEpoch::to_wire),
            fetch_offset: one.position.to_wire(),
            partition_max_bytes: index(config.partition_max_bytes),
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| FetchTopic {
        topic: name.as_str().into(),
        partitions,
        ..Default::default()
    });
    let in_haste = wanted.iter().any(|one| one.first);
    FetchRequest {
        max_wait_ms: if in_haste { 0 } else { millis(config.max_wait) },
        min_bytes: index(config.min_bytes),
        max_bytes: index(config.max_bytes),
        topics: topics.collect(),
        ..Default::default()
    }
}

fn read(partition: &TopicPartition, data: PartitionData) -> Result<Brought, ClientError> {
    check(ApiKey::Fetch, data.error_code, None, || {
        partition.to_string()
    })?;
    Ok(Brought {
        records: data
            .records
            .map(|records| records.to_bytes())
            .unwrap_or_default(),
        high_watermark: Offset::from_wire(data.high_watermark),
    })
}
