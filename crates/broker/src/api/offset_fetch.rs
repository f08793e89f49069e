//! OffsetFetch: how far groups have read. Answers from what is durable.

use plimsoll_group_coordinator::{CommittedOffset, GroupError, GroupOffsets};
use plimsoll_types::LeaderEpoch;
use plimsoll_wire::Str;
use plimsoll_wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::str_of;

/// From this version on a request names several groups.
const GROUPS_FROM_VERSION: i16 = 8;
/// From this version on a response can say that the whole request failed.
const ERROR_FROM_VERSION: i16 = 2;

pub(crate) async fn handle(context: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if context.version < GROUPS_FROM_VERSION {
        context.broker.await_groups([&*request.group_id]).await;
        return one_group(context, request);
    }
    let ids = request.groups.iter().map(|group| &*group.group_id);
    context.broker.await_groups(ids).await;
    let groups = request
        .groups
        .into_iter()
        .map(|group| group_of_several(context, group));
    OffsetFetchResponse {
        groups: groups.collect(),
        ..Default::default()
    }
}

/// What is known of a partition; without an offset, -1 says so.
fn partition(index: i32, offset: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset.map_or(-1, |o| o.offset),
        committed_leader_epoch: offset
            .and_then(|o| o.leader_epoch)
            .map_or(-1, LeaderEpoch::to_wire),
        metadata: Some(offset.map_or_else(Str::default, |o| str_of(&o.metadata))),
        ..Default::default()
    }
}

fn asked_for(
    offsets: GroupOffsets<'_>,
    topics: Vec<OffsetFetchRequestTopics>,
) -> Vec<OffsetFetchResponseTopics> {
    let look_up = |topic: &Str, index: i32| {
        let committed = u32::try_from(index)
            .ok()
            .and_then(|p| offsets.get(topic, p));
        partition(index, committed)
    };
    let topic = |asked: OffsetFetchRequestTopics| {
        let partitions = asked
            .partition_indexes
            .iter()
            .map(|index| look_up(&asked.name, *index));
        OffsetFetchResponseTopics {
            partitions: partitions.collect(),
            name: asked.name,
        }
    };
    topics.into_iter().map(topic).collect()
}

fn everything(offsets: GroupOffsets<'_>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (topic, index, committed) in offsets.iter() {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let partition = partition(index, Some(committed));
        match topics.last_mut() {
            Some(last) if last.name == *topic.as_str() => last.partitions.push(partition),
            _ => topics.push(OffsetFetchResponseTopics {
                name: topic.as_str().into(),
                partitions: vec![partition],
            }),
        }
    }
    topics
}

/// The offsets of a group: of `topics`, or all of them.
fn fetch(
    context: &Context,
    group: &str,
    topics: Option<Vec<OffsetFetchRequestTopics>>,
) -> Result<Vec<OffsetFetchResponseTopics>, GroupError> {
    context
        .broker
        .groups
        .with_offsets(group, |offsets| match topics {
            Some(topics) => asked_for(offsets, topics),
            None => everything(offsets),
        })
}

fn group_of_several(
    context: &Context,
    request: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let group_id = request.group_id;
    match fetch(context, &group_id, request.topics) {
        Ok(topics) => OffsetFetchResponseGroup {
            group_id,
            topics,
            ..Default::default()
        },
        Err(error) => OffsetFetchResponseGroup {
            group_id,
            error_code: error.code().code(),
            ..Default::default()
        },
    }
}

fn one_group(context: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let widened = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
    };
    let topics: Option<Vec<_>> = request
        .topics
        .map(|topics| topics.into_iter().map(widened).collect());
    match fetch(context, &request.group_id, topics.clone()) {
        Ok(topics) => OffsetFetchResponse {
            topics: topics.into_iter().map(narrowed).collect(),
            ..Default::default()
        },
        Err(error) => one_group_failed(context.version, error.code().code(), topics),
    }
}

fn narrowed(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}

/// A refusal: in the place for it, where the version has one, and with every partition where it
/// has none.
fn one_group_failed(
    version: i16,
    error_code: i16,
    topics: Option<Vec<OffsetFetchRequestTopics>>,
) -> OffsetFetchResponse {
    if version >= ERROR_FROM_VERSION {
        return OffsetFetchResponse {
            error_code,
            ..Default::default()
        };
    }
    let none = GroupOffsets::default();
    let mut topics = asked_for(none, topics.unwrap_or_default());
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = error_code;
    }
    OffsetFetchResponse {
        topics: topics.into_iter().map(narrowed).collect(),
        ..Default::default()
    }
}
