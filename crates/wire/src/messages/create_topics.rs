//! CreateTopics: make topics.

use crate::codec::{Str, message, some};
use plimsoll_types::TopicId;

message! {
    /// Makes topics, or checks that it could.
    pub struct CreateTopicsRequest: 2..=7, flexible 5 {
        /// The topics.
        topics: Vec<CreatableTopic>,
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Whether only to check.
        validate_only: bool,
    }

    /// A topic to make.
    pub struct CreatableTopic {
        /// Its name.
        name: Str,
        /// How many partitions, -1 for the broker's default or with `assignments`.
        num_partitions: i32,
        /// How many replicas of each, -1 for the broker's default or with `assignments`.
        replication_factor: i16,
        /// Where its partitions go; empty to leave that to the broker.
        assignments: Vec<CreatableReplicaAssignment>,
        /// Its settings.
        configs: Vec<CreatableTopicConfig>,
    }

    /// Where a partition goes.
    pub struct CreatableReplicaAssignment {
        /// The partition's index.
        partition_index: i32,
        /// The nodes, the preferred leader first.
        broker_ids: Vec<i32>,
    }

    /// A setting.
    pub struct CreatableTopicConfig {
        /// Its name.
        name: Str,
        /// Its value.
        value: Option<Str> = some(),
    }
}

message! {
    /// What became of each topic.
    pub struct CreateTopicsResponse: 2..=7, flexible 5 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by topic.
        topics: Vec<CreatableTopicResult>,
    }

    /// The outcome of one topic.
    pub struct CreatableTopicResult {
        /// Its name.
        name: Str,
        /// Its id.
        topic_id: TopicId [7..],
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
        /// How many partitions it has, -1 if not told.
        num_partitions: i32 [5..] = -1,
        /// How many replicas each has, -1 if not told.
        replication_factor: i16 [5..] = -1,
        /// Its settings; null if the client may not see them.
        configs: Option<Vec<CreatableTopicConfigs>> [5..] = some(),
    } tagged {
        /// Why the settings are not told, 0 if they are.
        0 => topic_config_error_code: i16 [5..],
    }

    /// A setting of the topic made.
    pub struct CreatableTopicConfigs {
        /// Its name.
        name: Str [5..],
        /// Its value.
        value: Option<Str> [5..] = some(),
        /// Whether it cannot be changed.
        read_only: bool [5..],
        /// Where the value comes from; as in DescribeConfigs.
        config_source: i8 [5..] = -1,
        /// Whether the value is a secret.
        is_sensitive: bool [5..],
    }
}
