//! AlterPartitionReassignments: move partitions to other nodes, or stop moving them.

use crate::codec::{Str, message, some};

message! {
    /// Begins or cancels moves.
    pub struct AlterPartitionReassignmentsRequest: 0..=1, flexible 0 {
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Whether a partition may get more or fewer replicas than it has.
        allow_replication_factor_change: bool [1..] = true,
        /// Which partitions, by topic.
        topics: Vec<ReassignableTopic>,
    }

    /// Partitions of one topic.
    pub struct ReassignableTopic {
        /// The topic's name.
        name: Str,
        /// The partitions.
        partitions: Vec<ReassignablePartition>,
    }

    /// A partition to move.
    pub struct ReassignablePartition {
        /// Its index.
        partition_index: i32,
        /// The nodes, the preferred leader first; null to cancel a move under way.
        replicas: Option<Vec<i32>>,
    }
}

message! {
    /// What became of each partition.
    pub struct AlterPartitionReassignmentsResponse: 0..=1, flexible 0 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What the request said.
        allow_replication_factor_change: bool [1..] = true,
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
        /// The outcomes, by topic.
        responses: Vec<ReassignableTopicResponse>,
    }

    /// The outcomes of one topic.
    pub struct ReassignableTopicResponse {
        /// The topic's name.
        name: Str,
        /// The outcomes, by partition.
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// The outcome of one partition.
    pub struct ReassignablePartitionResponse {
        /// The partition's index.
        partition_index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
    }
}
