//! OffsetDelete: forget how far a group has read in some partitions. Answered when that is durable.

use plimsoll_group_coordinator::{GroupError, Input, OffsetDeleteRequest as Delete, Response};
use plimsoll_types::TopicName;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::text;

pub(crate) async fn handle(
    context: &Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut offsets = Vec::new();
    let mut topics = sort_out(context, &request, &mut offsets);
    let results = match delete(context, &request, offsets).await {
        Ok(results) => results,
        Err(error) => {
            return OffsetDeleteResponse {
                error_code: error.code().code(),
                ..Default::default()
            };
        }
    };
    let mut results = results.into_iter();
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|p| p.error_code == ErrorCode::None.code()) {
        if let Some(Err(error)) = results.next() {
            partition.error_code = error.code().code();
        }
    }
    OffsetDeleteResponse {
        topics,
        ..Default::default()
    }
}

/// The response with what is refused at sight; what is not goes to `offsets`.
fn sort_out(
    context: &Context,
    request: &OffsetDeleteRequest,
    offsets: &mut Vec<(TopicName, u32)>,
) -> Vec<OffsetDeleteResponseTopic> {
    let image = context.broker.metadata.image();
    let topic = |asked: &OffsetDeleteRequestTopic| {
        let partition = |p: &OffsetDeleteRequestPartition| {
            let index = u32::try_from(p.partition_index).ok();
            let exists = index.filter(|index| image.partition(&asked.name, *index).is_some());
            let error = match (image.topic(&asked.name), exists) {
                (Some(topic), Some(index)) => {
                    offsets.push((topic.name.clone(), index));
                    ErrorCode::None
                }
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            OffsetDeleteResponsePartition {
                partition_index: p.partition_index,
                error_code: error.code(),
            }
        };
        OffsetDeleteResponseTopic {
            name: asked.name.clone(),
            partitions: asked.partitions.iter().map(partition).collect(),
        }
    };
    request.topics.iter().map(topic).collect()
}

async fn delete(
    context: &Context,
    request: &OffsetDeleteRequest,
    offsets: Vec<(TopicName, u32)>,
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let request = Delete {
        group: text(&request.group_id),
        offsets,
    };
    let group = request.group.clone();
    let asked = context
        .broker
        .ask_group(&group, |reply| Input::DeleteOffsets { reply, request });
    match asked.await? {
        Response::DeleteOffsets(result) => result,
        other => unreachable!("a deletion is answered as one, not with {other:?}"),
    }
}
