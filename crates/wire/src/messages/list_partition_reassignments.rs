//! ListPartitionReassignments: which partitions are on the move.

use crate::codec::{Str, message, some};

message! {
    /// Asks for moves under way.
    pub struct ListPartitionReassignmentsRequest: 0..=0, flexible 0 {
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Of which partitions; null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// Partitions of one topic.
    pub struct ListPartitionReassignmentsTopics {
        /// The topic's name.
        name: Str,
        /// The partitions' indexes.
        partition_indexes: Vec<i32>,
    }
}

message! {
    /// The moves under way.
    pub struct ListPartitionReassignmentsResponse: 0..=0, flexible 0 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
        /// The moves, by topic.
        topics: Vec<OngoingTopicReassignment>,
    }

    /// The moves of one topic.
    pub struct OngoingTopicReassignment {
        /// The topic's name.
        name: Str,
        /// Those of its partitions that are on the move.
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// A move.
    pub struct OngoingPartitionReassignment {
        /// The partition's index.
        partition_index: i32,
        /// The nodes that hold it, those to come and those to go among them.
        replicas: Vec<i32>,
        /// The nodes to come.
        adding_replicas: Vec<i32>,
        /// The nodes to go.
        removing_replicas: Vec<i32>,
    }
}
