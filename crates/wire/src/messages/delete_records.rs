//! DeleteRecords: forget the records before an offset.

use crate::codec::{Str, message};

message! {
    /// Forgets the first records of some partitions.
    pub struct DeleteRecordsRequest: 0..=2, flexible 2 {
        /// What to forget, by topic.
        topics: Vec<DeleteRecordsTopic>,
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32,
    }

    /// What to forget of one topic.
    pub struct DeleteRecordsTopic {
        /// The topic's name.
        name: Str,
        /// What to forget, by partition.
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// What to forget of one partition.
    pub struct DeleteRecordsPartition {
        /// The partition's index.
        partition_index: i32,
        /// The first offset to keep, -1 for the high watermark.
        offset: i64,
    }
}

message! {
    /// What is left.
    pub struct DeleteRecordsResponse: 0..=2, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by topic.
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// The outcomes of one topic.
    pub struct DeleteRecordsTopicResult {
        /// The topic's name.
        name: Str,
        /// The outcomes, by partition.
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// The outcome of one partition.
    pub struct DeleteRecordsPartitionResult {
        /// The partition's index.
        partition_index: i32,
        /// The first offset that is left on every live replica, -1 with an error.
        low_watermark: i64,
        /// What went wrong, 0 for nothing.
        error_code: i16,
    }
}
