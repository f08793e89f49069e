//! Topics: made, grown, emptied, deleted.

use plimsoll_types::{Offset, TopicId, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use plimsoll_wire::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use plimsoll_wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use plimsoll_wire::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{Admin, Outcomes, only};
use crate::error::check;
use crate::offsets::{index, millis};
use crate::retry::Retry;
use crate::{ClientError, Lane};

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name. Whether it is legal, the broker says.
    pub name: String,
    /// How many partitions; `None` for the broker's default.
    pub partitions: Option<u32>,
    /// How many replicas of each; `None` for the broker's default.
    pub replication_factor: Option<u16>,
    /// Its settings.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication_factor: None,
            configs: Vec::new(),
        }
    }
}

/// A topic that was made, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; absent if the broker told none.
    pub id: TopicId,
    /// How many partitions it has, if told.
    pub partitions: Option<u32>,
    /// How many replicas each has, if told.
    pub replication_factor: Option<u16>,
    /// Its settings, if told.
    pub configs: Vec<(String, Option<String>)>,
}

impl Admin {
    /// Makes a topic, or with `validate_only` checks that it could.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, ClientError> {
        let outcomes = self.create_topics(std::slice::from_ref(topic), validate_only);
        only(outcomes.await?, ApiKey::CreateTopics)
    }

    /// Makes topics, or with `validate_only` checks that it could.
    ///
    /// # Errors
    /// When the broker does not answer; what is wrong with single topics is in the outcomes.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Outcomes<CreatedTopic>, ClientError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: millis(self.timeout),
            validate_only,
        };
        let answer = self
            .ask_controller(request, |answer| {
                answer.topics.iter().find_map(|t| created(t).err())
            })
            .await?;
        let outcomes = answer.topics.iter();
        Ok(outcomes
            .map(|topic| (topic.name.to_string(), created(topic)))
            .collect())
    }

    /// Deletes a topic and all it holds.
    ///
    /// # Errors
    /// When there is none, or the broker does not answer.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        only(self.delete_topics(&[name]).await?, ApiKey::DeleteTopics)
    }

    /// Deletes topics and all they hold.
    ///
    /// # Errors
    /// When the broker does not answer; what is wrong with single topics is in the outcomes.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<Outcomes<()>, ClientError> {
        let by_name = |name: &&str| DeleteTopicState {
            name: Some((*name).into()),
            topic_id: TopicId::ABSENT,
        };
        // Which of the two lists is sent depends on the version.
        let request = DeleteTopicsRequest {
            topics: names.iter().map(by_name).collect(),
            topic_names: names.iter().map(|name| (*name).into()).collect(),
            timeout_ms: millis(self.timeout),
        };
        let refused =
            |answer: &DeleteTopicsResponse| answer.responses.iter().find_map(|t| deleted(t).err());
        let answer = self.ask_controller(request, refused).await?;
        let outcomes = answer.responses.iter();
        Ok(outcomes
            .map(|topic| (name_of(topic), deleted(topic)))
            .collect())
    }

    /// Gives a topic more partitions, `total` in all, or with `validate_only` checks that it
    /// could.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer.
    pub async fn create_partitions(
        &self,
        topic: &str,
        total: u32,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: topic.into(),
                count: index(total),
                assignments: None,
            }],
            timeout_ms: millis(self.timeout),
            validate_only,
        };
        let outcome = |answer: &CreatePartitionsResponse| {
            let result = answer.results.first().ok_or(ClientError::Nonsense {
                api: ApiKey::CreatePartitions,
                what: "the topic asked for is not in it",
            })?;
            let message = result.error_message.as_ref();
            let subject = || format!("topic {topic}");
            check(
                ApiKey::CreatePartitions,
                result.error_code,
                message,
                subject,
            )
        };
        let answer = self.ask_controller(request, |answer| outcome(answer).err());
        outcome(&answer.await?)
    }

    /// Deletes a partition's records before `offset`, or with `None` all that can be read. What
    /// comes back is where the log now starts.
    ///
    /// # Errors
    /// When the offset is outside the log, or the leader does not answer.
    pub async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let mut retry = Retry::new(self.client.config());
        loop {
            match self.delete_records_now(partition, before).await {
                Err(error) if error.is_stale() => {
                    self.client.forget(&partition.topic);
                    retry.pause("the partition's leader", error).await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn delete_records_now(
        &self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let leader = self.client.leader(partition).await?;
        let connection = self.client.node(leader, Lane::Requests).await?;
        let partition_index = index(partition.partition);
        let answer = connection
            .ask(DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: partition.topic.as_str().into(),
                    partitions: vec![DeleteRecordsPartition {
                        partition_index,
                        offset: before.map_or(-1, Offset::to_wire),
                    }],
                }],
                timeout_ms: millis(self.timeout),
            })
            .await?;
        let api = ApiKey::DeleteRecords;
        let mut results = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let result = results.find(|result| result.partition_index == partition_index);
        let what = "the partition asked for is not in it";
        let result = result.ok_or(ClientError::Nonsense { api, what })?;
        check(api, result.error_code, None, || partition.to_string())?;
        let what = "the log's start is negative";
        Offset::from_wire(result.low_watermark).ok_or(ClientError::Nonsense { api, what })
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        });
    CreatableTopic {
        name: topic.name.as_str().into(),
        num_partitions: topic.partitions.map_or(-1, index),
        replication_factor: topic
            .replication_factor
            .map_or(-1, |factor| i16::try_from(factor).unwrap_or(i16::MAX)),
        assignments: Vec::new(),
        configs: configs.collect(),
    }
}

fn created(topic: &CreatableTopicResult) -> Result<CreatedTopic, ClientError> {
    let message = topic.error_message.as_ref();
    let subject = || format!("topic {}", topic.name);
    check(ApiKey::CreateTopics, topic.error_code, message, subject)?;
    let configs = topic.configs.iter().flatten().map(|config| {
        let value = config.value.as_ref().map(ToString::to_string);
        (config.name.to_string(), value)
    });
    Ok(CreatedTopic {
        id: topic.topic_id,
        partitions: u32::try_from(topic.num_partitions).ok(),
        replication_factor: u16::try_from(topic.replication_factor).ok(),
        configs: configs.collect(),
    })
}

fn name_of(topic: &DeletableTopicResult) -> String {
    topic
        .name
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn deleted(topic: &DeletableTopicResult) -> Result<(), ClientError> {
    let message = topic.error_message.as_ref();
    let subject = || format!("topic {}", name_of(topic));
    check(ApiKey::DeleteTopics, topic.error_code, message, subject)
}
