//! ListPartitionReassignments (KIP-455): which partitions move to other nodes.

use std::collections::BTreeMap;

use plimsoll_controller::Partition;
use plimsoll_types::NodeId;
use plimsoll_wire::Str;
use plimsoll_wire::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};

use crate::context::Context;

pub(crate) async fn handle(
    context: &Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = context.broker.image();
    let wanted = |topic: &str, index: i32| match &request.topics {
        None => true,
        Some(asked) => asked
            .iter()
            .any(|asked| &*asked.name == topic && asked.partition_indexes.contains(&index)),
    };
    let mut topics: BTreeMap<Str, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for key in image.reassigning() {
        let (Some(topic), Some(partition), Ok(index)) = (
            image.topic_by_id(key.topic),
            image.partition_by_key(key),
            i32::try_from(key.index),
        ) else {
            continue;
        };
        if wanted(topic.name.as_str(), index) {
            let ongoing = topics.entry(topic.name.as_str().into()).or_default();
            ongoing.push(ongoing_at(index, partition));
        }
    }
    ListPartitionReassignmentsResponse {
        topics: topics
            .into_iter()
            .map(|(name, partitions)| OngoingTopicReassignment { name, partitions })
            .collect(),
        ..Default::default()
    }
}

fn ongoing_at(partition_index: i32, partition: &Partition) -> OngoingPartitionReassignment {
    let wire = |nodes: &[NodeId]| nodes.iter().map(|node| node.to_wire()).collect();
    OngoingPartitionReassignment {
        partition_index,
        replicas: wire(&partition.replicas),
        adding_replicas: wire(&partition.adding),
        removing_replicas: wire(&partition.removing),
    }
}
