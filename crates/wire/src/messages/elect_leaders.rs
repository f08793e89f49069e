//! ElectLeaders: have partitions led by their preferred replica, or by any that is left.

use crate::codec::{Str, message, some};

message! {
    /// Elects leaders.
    pub struct ElectLeadersRequest: 0..=2, flexible 2 {
        /// 0 the preferred replica, 1 any replica, though records may be lost.
        election_type: i8 [1..],
        /// Of which partitions; null for all.
        topic_partitions: Option<Vec<TopicPartitions>> = some(),
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32 = 60_000,
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's name.
        topic: Str,
        /// The partitions' indexes.
        partitions: Vec<i32>,
    }
}

message! {
    /// What became of each partition.
    pub struct ElectLeadersResponse: 0..=2, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16 [1..],
        /// The outcomes, by topic.
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// The outcomes of one topic.
    pub struct ReplicaElectionResult {
        /// The topic's name.
        topic: Str,
        /// The outcomes, by partition.
        partition_result: Vec<PartitionResult>,
    }

    /// The outcome of one partition.
    pub struct PartitionResult {
        /// The partition's index.
        partition_id: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
    }
}
