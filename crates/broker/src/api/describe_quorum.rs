//! DescribeQuorum (KIP-595): the nodes that keep the metadata, as the one partition that Kafka
//! keeps it in.

use plimsoll_quorum::raft::Status;
use plimsoll_types::{NodeId, TopicId};
use plimsoll_wire::describe_quorum::response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use plimsoll_wire::describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
use plimsoll_wire::{ErrorCode, Str};

use crate::context::Context;

/// What Kafka calls the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) async fn handle(
    context: &Context,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            if &*topic.topic_name == METADATA_TOPIC && asked.partition_index == 0 {
                described(context)
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

fn described(context: &Context) -> PartitionData {
    let status = context.broker.quorum_status();
    let members = |nodes: &mut dyn Iterator<Item = &NodeId>| {
        let known = nodes.map(|node| state(*node, end_of(&status, *node)));
        known.collect()
    };
    PartitionData {
        leader_id: status.leader.map_or(-1, NodeId::to_wire),
        leader_epoch: i32::try_from(status.term).unwrap_or(i32::MAX),
        high_watermark: signed(status.committed_index),
        current_voters: members(&mut status.voters.keys()),
        observers: members(&mut status.learners.keys()),
        ..Default::default()
    }
}

/// The end of a member's log, as far as this node knows it; -1 where only the leader does.
fn end_of(status: &Status, node: NodeId) -> i64 {
    if node == status.me {
        return signed(status.last_index);
    }
    let known = status.progress.iter().find(|(member, ..)| *member == node);
    known.map_or(-1, |(_, matched, _)| signed(*matched))
}

fn state(node: NodeId, log_end_offset: i64) -> ReplicaState {
    ReplicaState {
        replica_id: node.to_wire(),
        replica_directory_id: TopicId::ABSENT,
        log_end_offset,
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

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
