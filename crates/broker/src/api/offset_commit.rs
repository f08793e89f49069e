//! OffsetCommit: keep how far a group has read. Answered when that is durable.

use plimsoll_group_coordinator::{CommitRequest, GroupError, Input, OffsetToCommit, Response};
use plimsoll_types::LeaderEpoch;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use std::time::Duration;

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::text;

pub(crate) async fn handle(
    context: &Context,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut offsets = Vec::new();
    let mut topics = sort_out(context, &request, &mut offsets);
    if offsets.is_empty() {
        return OffsetCommitResponse {
            topics,
            ..Default::default()
        };
    }
    let asked = offsets.len();
    let outcome = commit(context, &request, offsets).await;
    let mut results = outcome
        .unwrap_or_else(|error| vec![Err(error); asked])
        .into_iter();
    // Those that were not refused before are in the order in which they were asked for.
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|p| p.error_code == ErrorCode::None.code()) {
        if let Some(Err(error)) = results.next() {
            partition.error_code = error.code().code();
        }
    }
    OffsetCommitResponse {
        topics,
        ..Default::default()
    }
}

/// The response with what is refused at sight; what is not goes to `offsets`.
fn sort_out(
    context: &Context,
    request: &OffsetCommitRequest,
    offsets: &mut Vec<OffsetToCommit>,
) -> Vec<OffsetCommitResponseTopic> {
    let image = context.broker.metadata.image();
    let topic = |asked: &plimsoll_wire::offset_commit::OffsetCommitRequestTopic| {
        let known = image.topic(&asked.name);
        let partition = |p: &OffsetCommitRequestPartition| {
            let index = u32::try_from(p.partition_index).ok();
            let exists = index.filter(|index| image.partition(&asked.name, *index).is_some());
            let error = match (known, exists) {
                (Some(topic), Some(partition)) => {
                    offsets.push(OffsetToCommit {
                        topic: topic.name.clone(),
                        partition,
                        offset: p.committed_offset,
                        leader_epoch: LeaderEpoch::from_wire(p.committed_leader_epoch),
                        metadata: p.committed_metadata.as_ref().map(text).unwrap_or_default(),
                    });
                    ErrorCode::None
                }
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            OffsetCommitResponsePartition {
                partition_index: p.partition_index,
                error_code: error.code(),
            }
        };
        OffsetCommitResponseTopic {
            name: asked.name.clone(),
            partitions: asked.partitions.iter().map(partition).collect(),
        }
    };
    request.topics.iter().map(topic).collect()
}

async fn commit(
    context: &Context,
    request: &OffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let retention = u64::try_from(request.retention_time_ms)
        .ok()
        .map(Duration::from_millis);
    let request = CommitRequest {
        group: text(&request.group_id),
        member: text(&request.member_id),
        instance: request.group_instance_id.as_ref().map(text),
        generation: request.generation_id_or_member_epoch,
        retention,
        offsets,
    };
    let group = request.group.clone();
    match context
        .broker
        .ask_group(&group, |reply| Input::Commit { reply, request })
        .await?
    {
        Response::Commit(results) => Ok(results),
        other => unreachable!("a commit is answered as one, not with {other:?}"),
    }
}
