//! Looking up offsets by time, or at either end, from the leaders that know.

use std::collections::BTreeMap;

use plimsoll_types::{LeaderEpoch, NodeId, Offset, Timestamp, TopicName, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};

use crate::error::check;
use crate::retry::Retry;
use crate::{Client, ClientError, Lane, versions};

/// The first version of ListOffsets that knows [`At::MaxTimestamp`].
const SINCE_MAX_TIMESTAMP: i16 = 7;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The oldest that can be read.
    Earliest,
    /// The end of what can be read.
    Latest,
    /// That of the record with the greatest timestamp.
    MaxTimestamp,
    /// The first whose record has this timestamp or a later one.
    Timestamp(Timestamp),
}

impl At {
    fn to_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Timestamp(time) => time.as_millis().max(0),
        }
    }
}

/// An offset found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; `None` if no record has such a timestamp.
    pub offset: Option<Offset>,
    /// The record's timestamp, if one was looked for.
    pub timestamp: Option<Timestamp>,
    /// The epoch in which the record was written, if told.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What became of each partition.
pub type OffsetsFound = BTreeMap<TopicPartition, Result<FoundOffset, ClientError>>;

impl Client {
    /// Looks up an offset in each partition, asking leaders anew where they have changed.
    ///
    /// # Errors
    /// When the cluster cannot be reached; what is wrong with single partitions is in the map.
    pub async fn offsets(
        &self,
        wanted: &BTreeMap<TopicPartition, At>,
    ) -> Result<OffsetsFound, ClientError> {
        let mut found = OffsetsFound::new();
        let mut left = wanted.clone();
        let mut retry = Retry::new(self.config());
        loop {
            let round = self.offsets_now(&left).await;
            let mut last = None;
            for (partition, outcome) in round {
                match outcome {
                    Err(error) if error.is_retriable() => last = Some(error),
                    outcome => {
                        left.remove(&partition);
                        found.insert(partition, outcome);
                    }
                }
            }
            let Some(last) = last else { return Ok(found) };
            if let Err(gave_up) = retry.pause("the offset", last).await {
                found.extend(left.into_keys().map(|key| (key, Err(gave_up.clone()))));
                return Ok(found);
            }
        }
    }

    /// Looks up one offset.
    ///
    /// # Errors
    /// When the partition does not exist, or its leader does not answer in time.
    pub async fn offset(
        &self,
        partition: &TopicPartition,
        at: At,
    ) -> Result<FoundOffset, ClientError> {
        let wanted = BTreeMap::from([(partition.clone(), at)]);
        let mut found = self.offsets(&wanted).await?;
        found
            .remove(partition)
            .unwrap_or(Err(ClientError::Nonsense {
                api: ApiKey::ListOffsets,
                what: "the partition asked for is not in it",
            }))
    }

    async fn offsets_now(&self, wanted: &BTreeMap<TopicPartition, At>) -> OffsetsFound {
        let mut outcomes = OffsetsFound::new();
        let mut by_leader: BTreeMap<NodeId, Vec<(&TopicPartition, At)>> = BTreeMap::new();
        for (partition, at) in wanted {
            match self.leader(partition).await {
                Ok(leader) => by_leader.entry(leader).or_default().push((partition, *at)),
                Err(error) => {
                    outcomes.insert(partition.clone(), Err(error));
                }
            }
        }
        for (leader, wanted) in by_leader {
            let answered = self.offsets_of_leader(leader, &wanted).await;
            let (found, missing) = match answered {
                Ok(found) => {
                    let what = "the partition asked for is not in it";
                    let api = ApiKey::ListOffsets;
                    (found, ClientError::Nonsense { api, what })
                }
                Err(error) => (OffsetsFound::new(), error),
            };
            for (partition, _) in wanted {
                let outcome = found.get(partition).cloned();
                let outcome = outcome.unwrap_or_else(|| Err(missing.clone()));
                if outcome.as_ref().is_err_and(ClientError::is_stale) {
                    self.forget(&partition.topic);
                }
                outcomes.insert(partition.clone(), outcome);
            }
        }
        outcomes
    }

    async fn offsets_of_leader(
        &self,
        leader: NodeId,
        wanted: &[(&TopicPartition, At)],
    ) -> Result<OffsetsFound, ClientError> {
        let mut topics: BTreeMap<&TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (partition, at) in wanted {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(ListOffsetsPartition {
                    partition_index: index(partition.partition),
                    timestamp: at.to_wire(),
                    ..Default::default()
                });
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsTopic {
                name: name.as_str().into(),
                partitions,
            });
        let timeout = self.config().request_timeout;
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: topics.collect(),
            timeout_ms: millis(timeout),
            ..Default::default()
        };
        let connection = self.node(leader, Lane::Requests).await?;
        let by_greatest = wanted.iter().any(|(_, at)| *at == At::MaxTimestamp);
        let spoken = connection.version_of(ApiKey::ListOffsets)?;
        if by_greatest && spoken < SINCE_MAX_TIMESTAMP {
            // An older broker would take the question for a time before 1970.
            return Err(ClientError::Unsupported {
                address: connection.address().into(),
                api: ApiKey::ListOffsets,
                offered: connection.versions().offered(ApiKey::ListOffsets),
                ours: SINCE_MAX_TIMESTAMP..=*versions::spoken(ApiKey::ListOffsets).end(),
            });
        }
        let answer = connection.ask(request).await?;
        let mut found = OffsetsFound::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                if let Some(key) = topic_partition(&topic.name, partition.partition_index) {
                    let outcome = outcome(&key, &partition);
                    found.insert(key, outcome);
                }
            }
        }
        Ok(found)
    }

    /// The leader of a partition, asked for if it is not known.
    ///
    /// # Errors
    /// When the topic has no such partition, or the partition no leader.
    pub(crate) async fn leader(&self, partition: &TopicPartition) -> Result<NodeId, ClientError> {
        let topic = self.topic(&partition.topic).await?;
        let index = usize::try_from(partition.partition).unwrap_or(usize::MAX);
        let Some(described) = topic.partitions.get(index) else {
            return Err(ClientError::NoPartition {
                topic: partition.topic.clone(),
                partition: partition.partition,
                partitions: topic.partitions.len(),
            });
        };
        if let Some(leader) = described.leader {
            return Ok(leader);
        }
        self.forget(&partition.topic);
        Err(ClientError::Broker {
            api: ApiKey::Metadata,
            subject: partition.to_string(),
            code: plimsoll_wire::ErrorCode::LeaderNotAvailable,
            message: None,
        })
    }
}

fn outcome(
    partition: &TopicPartition,
    answer: &ListOffsetsPartitionResponse,
) -> Result<FoundOffset, ClientError> {
    let subject = || partition.to_string();
    check(ApiKey::ListOffsets, answer.error_code, None, subject)?;
    Ok(FoundOffset {
        offset: Offset::from_wire(answer.offset),
        timestamp: Some(Timestamp::from_millis(answer.timestamp)).filter(|t| t.as_millis() >= 0),
        leader_epoch: LeaderEpoch::from_wire(answer.leader_epoch),
    })
}

/// A partition's index as the wire has it. Larger ones exist nowhere, and are refused there.
pub(crate) fn index(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// A time as the wire has it.
pub(crate) fn millis(time: std::time::Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// The partition that an answer names, if it can be one.
pub(crate) fn topic_partition(topic: &str, partition: i32) -> Option<TopicPartition> {
    Some(TopicPartition {
        topic: TopicName::new(topic).ok()?,
        partition: u32::try_from(partition).ok()?,
    })
}
