//! DescribeQuorum (KIP-595): the nodes that keep the metadata, as the one partition that Kafka
//! keeps it in. Only their leader knows how far the others are, so it is asked, as Kafka's brokers do.

use std::time::Duration;

use bytes::Bytes;
use plimsoll_types::NodeId;
use plimsoll_wire::describe_quorum::response::{Listener, Node, PartitionData, TopicData};
use plimsoll_wire::describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
use plimsoll_wire::{ErrorCode, Str};

use crate::cluster::standing::{QUESTION, Standing};
use crate::context::Context;

/// How long the quorum's leader may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(1);
/// What Kafka calls the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) async fn handle(
    context: &Context,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let known = known(context).await;
    let now = context.broker.clock.wall().as_millis();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            if &*topic.topic_name == METADATA_TOPIC && asked.partition_index == 0 {
                described(&known, now)
            } else {
                unknown(asked.partition_index)
            }
        });
        TopicData {
            partitions: partitions.collect(),
            topic_name: topic.topic_name,
        }
    });
    let image = context.broker.image();
    let nodes = image.nodes().map(|node| Node {
        node_id: node.id.to_wire(),
        listeners: node
            .listeners
            .iter()
            .map(|listener| Listener {
                name: Str::from(listener.name.as_str()),
                host: Str::from(listener.host.as_str()),
                port: listener.port,
            })
            .collect(),
    });
    DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: nodes.collect(),
        ..Default::default()
    }
}

/// The quorum as its leader knows it, who alone does; as this node knows it if there is none, or
/// none that answers.
async fn known(context: &Context) -> Standing {
    let status = context.broker.quorum_status();
    let leader = status.leader.filter(|leader| *leader != status.me);
    let here = Standing::of(&status);
    let Some(leader) = leader else { return here };
    let question = Bytes::from_static(QUESTION);
    match context.broker.ask(leader, question, PATIENCE).await {
        Ok(answer) => Standing::decode(&answer).filter(|there| there.leads_as_of(&here)),
        Err(_) => None,
    }
    .unwrap_or(here)
}

fn described(known: &Standing, now: i64) -> PartitionData {
    let members = |voting: bool| {
        let members = known.members.iter().filter(|row| row.votes == voting);
        members.map(|row| row.state(known.committed, now)).collect()
    };
    PartitionData {
        leader_id: known.leader.map_or(-1, NodeId::to_wire),
        leader_epoch: i32::try_from(known.term).unwrap_or(i32::MAX),
        high_watermark: known.committed,
        current_voters: members(true),
        observers: members(false),
        ..Default::default()
    }
}

fn unknown(partition_index: i32) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        ..Default::default()
    }
}
