//! DeleteTopics: remove topics and all they hold.

use crate::codec::{Str, message, some};
use plimsoll_types::TopicId;

message! {
    /// Removes topics.
    pub struct DeleteTopicsRequest: 1..=6, flexible 4 {
        /// The topics, by name or id.
        topics: Vec<DeleteTopicState> [6..],
        /// The topics, by name.
        topic_names: Vec<Str> [..=5],
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32,
    }

    /// A topic to remove.
    pub struct DeleteTopicState {
        /// Its name, null if it is meant by id.
        name: Option<Str> [6..],
        /// Its id, absent if it is meant by name.
        topic_id: TopicId [6..],
    }
}

message! {
    /// What became of each topic.
    pub struct DeleteTopicsResponse: 1..=6, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by topic.
        responses: Vec<DeletableTopicResult>,
    }

    /// The outcome of one topic.
    pub struct DeletableTopicResult {
        /// Its name; null for an unknown id.
        name: Option<Str> [null 6..] = some(),
        /// Its id.
        topic_id: TopicId [6..],
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> [5..],
    }
}
