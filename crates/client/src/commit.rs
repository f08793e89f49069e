//! Committed offsets as requests and answers carry them, in all versions.

use std::collections::BTreeMap;

use plimsoll_types::{LeaderEpoch, Offset, TopicName, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use plimsoll_wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};

use crate::ClientError;
use crate::error::check;
use crate::offsets::{index, topic_partition};

/// How far a group has read in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset it wants.
    pub offset: Offset,
    /// The epoch of the last record it read, if told.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What it keeps with it.
    pub metadata: Option<String>,
}

/// What to commit, as the request lists it.
pub(crate) fn commit_topics(
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&TopicName, Vec<_>> = BTreeMap::new();
    for (partition, offset) in offsets {
        let partitions = topics.entry(&partition.topic).or_default();
        partitions.push(OffsetCommitRequestPartition {
            partition_index: index(partition.partition),
            committed_offset: offset.to_wire(),
            ..Default::default()
        });
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| OffsetCommitRequestTopic {
            name: name.as_str().into(),
            partitions,
        });
    topics.collect()
}

/// The first refusal in the answer to a commit.
pub(crate) fn commit_outcome(
    group: &str,
    answer: &OffsetCommitResponse,
) -> Result<(), ClientError> {
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let subject = || {
                format!(
                    "group {group}, {}/{}",
                    topic.name, partition.partition_index
                )
            };
            check(ApiKey::OffsetCommit, partition.error_code, None, subject)?;
        }
    }
    Ok(())
}

/// Asks for the offsets of `partitions`, or of all. Both forms of the request are filled; which is
/// sent depends on the version.
pub(crate) fn committed_request(
    group: &str,
    partitions: Option<&[TopicPartition]>,
) -> OffsetFetchRequest {
    let by_topic = partitions.map(|partitions| {
        let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let indexes = topics.entry(&partition.topic).or_default();
            indexes.push(index(partition.partition));
        }
        topics
    });
    let topics = by_topic.as_ref().map(|topics| {
        let topics = topics
            .iter()
            .map(|(name, indexes)| OffsetFetchRequestTopic {
                name: name.as_str().into(),
                partition_indexes: indexes.clone(),
            });
        topics.collect()
    });
    let group_topics = by_topic.map(|topics| {
        let topics = topics.into_iter().map(|(name, partition_indexes)| {
            let name = name.as_str().into();
            OffsetFetchRequestTopics {
                name,
                partition_indexes,
            }
        });
        topics.collect()
    });
    OffsetFetchRequest {
        group_id: group.into(),
        topics,
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: group_topics,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The offsets in the answer; partitions without one are left out.
pub(crate) fn committed_response(
    group: &str,
    answer: OffsetFetchResponse,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let api = ApiKey::OffsetFetch;
    let subject = || format!("group {group}");
    check(api, answer.error_code, None, subject)?;
    let mut rows = Vec::new();
    for topic in answer.topics {
        rows.extend(topic.partitions.into_iter().map(|row| Row {
            topic: topic.name.to_string(),
            partition: row.partition_index,
            offset: row.committed_offset,
            leader_epoch: row.committed_leader_epoch,
            metadata: row.metadata.map(String::from),
            error_code: row.error_code,
        }));
    }
    for answered in answer.groups {
        check(api, answered.error_code, None, subject)?;
        for topic in answered.topics {
            rows.extend(topic.partitions.into_iter().map(|row| Row {
                topic: topic.name.to_string(),
                partition: row.partition_index,
                offset: row.committed_offset,
                leader_epoch: row.committed_leader_epoch,
                metadata: row.metadata.map(String::from),
                error_code: row.error_code,
            }));
        }
    }
    let mut committed = BTreeMap::new();
    for row in rows {
        let subject = || format!("group {group}, {}/{}", row.topic, row.partition);
        check(api, row.error_code, None, subject)?;
        let what = "it names a partition that cannot be one";
        let partition = topic_partition(&row.topic, row.partition);
        let partition = partition.ok_or(ClientError::Nonsense { api, what })?;
        if let Some(offset) = Offset::from_wire(row.offset) {
            let offset = CommittedOffset {
                offset,
                leader_epoch: LeaderEpoch::from_wire(row.leader_epoch),
                metadata: row.metadata.filter(|words| !words.is_empty()),
            };
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// One partition of an answer, of either form.
struct Row {
    topic: String,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<String>,
    error_code: i16,
}
