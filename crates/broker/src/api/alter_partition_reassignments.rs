//! AlterPartitionReassignments (KIP-455): other nodes for a partition's replicas, or the end of
//! such a change.

use plimsoll_controller::rules::{self, Reassign};
use plimsoll_types::PartitionKey;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::Str;
use plimsoll_wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

use crate::api::rows::{self, Manner, Refused};
use crate::context::Context;

#[derive(Clone)]
struct Wish {
    topic: Str,
    partition: i32,
    replicas: Option<Vec<i32>>,
}

pub(crate) async fn handle(
    context: &Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let wishes: Vec<Wish> = request
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| Wish {
                topic: topic.name.clone(),
                partition: partition.partition_index,
                replicas: partition.replicas.clone(),
            })
        })
        .collect();
    let manner = Manner {
        validate_only: false,
        timeout_ms: Some(request.timeout_ms),
    };
    let limits = context.broker.config.limits;
    let same_factor = !request.allow_replication_factor_change;
    let rows = rows::change(context, wishes, &manner, move |draft, wish: Wish| {
        let unknown = || Refused::new(ErrorCode::UnknownTopicOrPartition, "no such partition");
        let index = u32::try_from(wish.partition).map_err(|_| unknown())?;
        let topic = draft.image().topic(&wish.topic).ok_or_else(unknown)?.id;
        let key = PartitionKey { topic, index };
        let known = draft.image().partition_by_key(key).ok_or_else(unknown)?;
        let other_factor = |replicas: &Vec<i32>| replicas.len() != known.target().count();
        if same_factor && wish.replicas.as_ref().is_some_and(other_factor) {
            return Err(Refused::new(
                ErrorCode::InvalidReplicationFactor,
                "the replication factor would change",
            ));
        }
        let replicas = wish.replicas;
        let records = rules::reassign(draft.image(), &limits, &Reassign { key, replicas })?;
        draft.take(records)
    })
    .await;
    let mut rows = rows.into_iter();
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let refused = rows.next().and_then(Result::err);
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: refused.as_ref().map_or(0, |refused| refused.code.code()),
                error_message: refused.and_then(|refused| refused.message()),
            }
        });
        ReassignableTopicResponse {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    AlterPartitionReassignmentsResponse {
        responses: responses.collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..Default::default()
    }
}
