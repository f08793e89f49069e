//! What is known of the cluster: nodes, topics, leaders.
//!
//! Made from a broker's answer and checked: indexes, ports and names are such, and a topic's
//! partitions are in order without gaps. Not here: asking, and how old it may be.

use std::collections::BTreeMap;

use plimsoll_types::{LeaderEpoch, NodeId, TopicId, TopicName};
use plimsoll_wire::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use plimsoll_wire::{ApiKey, ErrorCode, Str};
use tokio::time::Instant;

use crate::ClientError;

/// The cluster as one broker last described it.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The node to send changes to.
    pub controller: Option<NodeId>,
    /// The nodes, by id.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The topics asked for so far, by name.
    pub topics: BTreeMap<TopicName, Topic>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its rack, if it was given one.
    pub rack: Option<String>,
}

impl Node {
    /// Where to connect to: `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its id; absent if the broker told none.
    pub id: TopicId,
    /// Whether it belongs to the brokers.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
    /// When this was asked.
    pub(crate) asked: Instant,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: u32,
    /// Its leader, if it has one.
    pub leader: Option<NodeId>,
    /// The leader's epoch, if told.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The nodes that have replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Those not running.
    pub offline: Vec<NodeId>,
}

/// What the answer says of a topic: the topic, or what is wrong with it.
pub(crate) type Described = Result<Topic, (TopicName, i16)>;

impl Metadata {
    pub(crate) fn empty() -> Self {
        Self {
            cluster_id: None,
            controller: None,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    /// The cluster part of `answer`, with the topics of `self` kept.
    pub(crate) fn updated(&self, answer: &MetadataResponse) -> Result<Self, ClientError> {
        let nodes = answer.brokers.iter().map(node);
        Ok(Self {
            cluster_id: answer.cluster_id.as_ref().map(ToString::to_string),
            controller: NodeId::from_wire(answer.controller_id),
            nodes: nodes.collect::<Result<_, _>>()?,
            topics: self.topics.clone(),
        })
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn nonsense(what: &'static str) -> ClientError {
    let api = ApiKey::Metadata;
    ClientError::Nonsense { api, what }
}

fn node(broker: &MetadataResponseBroker) -> Result<(NodeId, Node), ClientError> {
    let id = NodeId::from_wire(broker.node_id).ok_or(nonsense("a node's id is negative"))?;
    let node = Node {
        id,
        host: broker.host.to_string(),
        port: u16::try_from(broker.port).map_err(|_| nonsense("a node's port is none"))?,
        rack: broker.rack.as_ref().map(ToString::to_string),
    };
    Ok((id, node))
}

/// The topics of `answer`, with what is wrong for those that have an error.
pub(crate) fn topics(
    answer: &MetadataResponse,
    asked: Instant,
) -> Result<Vec<Described>, ClientError> {
    answer
        .topics
        .iter()
        .map(|topic| describe(topic, asked))
        .collect()
}

fn describe(topic: &MetadataResponseTopic, asked: Instant) -> Result<Described, ClientError> {
    let name = topic.name.as_ref().map_or("", Str::as_str);
    let name = TopicName::new(name).map_err(|_| nonsense("a topic's name is none"))?;
    if topic.error_code != ErrorCode::None.code() {
        return Ok(Err((name, topic.error_code)));
    }
    let mut partitions = topic
        .partitions
        .iter()
        .map(partition)
        .collect::<Result<Vec<_>, _>>()?;
    partitions.sort_by_key(|partition| partition.index);
    let in_order = partitions.iter().map(|partition| partition.index);
    if partitions.is_empty() || !in_order.eq(0..u32::try_from(partitions.len()).unwrap_or(0)) {
        return Err(nonsense("a topic's partitions have gaps"));
    }
    Ok(Ok(Topic {
        name,
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
        asked,
    }))
}

fn partition(partition: &MetadataResponsePartition) -> Result<Partition, ClientError> {
    let nodes = |ids: &[i32]| ids.iter().filter_map(|id| NodeId::from_wire(*id)).collect();
    Ok(Partition {
        index: u32::try_from(partition.partition_index)
            .map_err(|_| nonsense("a partition's index is negative"))?,
        leader: NodeId::from_wire(partition.leader_id),
        leader_epoch: LeaderEpoch::from_wire(partition.leader_epoch),
        replicas: nodes(&partition.replica_nodes),
        isr: nodes(&partition.isr_nodes),
        offline: nodes(&partition.offline_replicas),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(indexes: &[i32]) -> MetadataResponse {
        let partitions = indexes.iter().map(|index| MetadataResponsePartition {
            partition_index: *index,
            leader_id: 1,
            ..Default::default()
        });
        MetadataResponse {
            topics: vec![MetadataResponseTopic {
                name: Some("a".into()),
                partitions: partitions.collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn partitions_come_in_order() {
        let topics = topics(&answer(&[1, 0]), Instant::now()).expect("makes sense");
        let topic = topics.into_iter().next().expect("one").expect("no error");
        assert_eq!(
            topic.partitions.iter().map(|p| p.index).collect::<Vec<_>>(),
            [0, 1]
        );
    }

    #[tokio::test]
    async fn partitions_with_gaps_twice_or_below_zero_make_no_sense() {
        for indexes in [&[0, 2][..], &[0, 0], &[-1], &[]] {
            let refused = topics(&answer(indexes), Instant::now());
            assert!(
                matches!(refused, Err(ClientError::Nonsense { .. })),
                "{indexes:?}"
            );
        }
    }

    #[test]
    fn nodes_with_impossible_ports_make_no_sense() {
        let mut answer = answer(&[0]);
        answer.brokers = vec![MetadataResponseBroker {
            port: 70_000,
            ..Default::default()
        }];
        assert!(Metadata::empty().updated(&answer).is_err());
    }

    #[test]
    fn addresses_of_ipv6_are_bracketed() {
        assert_eq!(address("::1", 9092), "[::1]:9092");
        assert_eq!(address("db", 9092), "db:9092");
    }
}
