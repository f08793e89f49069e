//! Partitions: moved to other nodes.

use plimsoll_types::{NodeId, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};

use super::Admin;
use crate::ClientError;
use crate::error::check;
use crate::offsets::{index, millis};

impl Admin {
    /// Begins to move a partition to `replicas`, the preferred leader first, or with `None` stops
    /// the move under way. It goes on after this has returned.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer.
    pub async fn reassign(
        &self,
        partition: &TopicPartition,
        replicas: Option<&[NodeId]>,
    ) -> Result<(), ClientError> {
        let to_wire = |nodes: &[NodeId]| nodes.iter().map(|node| node.to_wire()).collect();
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: millis(self.timeout),
            allow_replication_factor_change: true,
            topics: vec![ReassignableTopic {
                name: partition.topic.as_str().into(),
                partitions: vec![ReassignablePartition {
                    partition_index: index(partition.partition),
                    replicas: replicas.map(to_wire),
                }],
            }],
        };
        let outcome = |answer: &AlterPartitionReassignmentsResponse| {
            let api = ApiKey::AlterPartitionReassignments;
            let subject = || format!("partition {}/{}", partition.topic, partition.partition);
            check(
                api,
                answer.error_code,
                answer.error_message.as_ref(),
                subject,
            )?;
            let results = answer.responses.iter().flat_map(|topic| &topic.partitions);
            let result = results.into_iter().next().ok_or(ClientError::Nonsense {
                api,
                what: "the partition asked for is not in it",
            })?;
            check(
                api,
                result.error_code,
                result.error_message.as_ref(),
                subject,
            )
        };
        let answer = self.ask_controller(request, |answer| outcome(answer).err());
        outcome(&answer.await?)
    }
}
