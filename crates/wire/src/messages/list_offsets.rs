//! ListOffsets: the offset at a time, or at either end of a partition.

use crate::codec::{Str, message};

message! {
    /// Asks where in some partitions a time, or an end, lies.
    pub struct ListOffsetsRequest: 1..=10, flexible 6 {
        /// The follower's node id, -1 for a consumer.
        replica_id: i32,
        /// 0 for the high watermark as the end, 1 for the last stable offset.
        isolation_level: i8 [2..],
        /// What to look for, by topic.
        topics: Vec<ListOffsetsTopic>,
        /// How long a remote store may be waited for, in milliseconds.
        timeout_ms: i32 [10..],
    }

    /// What to look for in one topic.
    pub struct ListOffsetsTopic {
        /// The topic's name.
        name: Str,
        /// What to look for, by partition.
        partitions: Vec<ListOffsetsPartition>,
    }

    /// What to look for in one partition.
    pub struct ListOffsetsPartition {
        /// The partition's index.
        partition_index: i32,
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 [4..] = -1,
        /// A time in milliseconds; -1 the end, -2 the start, -3 the latest time, -4 the local
        /// start, -5 the end of the remote part.
        timestamp: i64,
    }
}

message! {
    /// Where the times and ends lie.
    pub struct ListOffsetsResponse: 1..=10, flexible 6 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [2..],
        /// What was found, by topic.
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// What was found in one topic.
    pub struct ListOffsetsTopicResponse {
        /// The topic's name.
        name: Str,
        /// What was found, by partition.
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// What was found in one partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition's index.
        partition_index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The time of the record found, -1 for none.
        timestamp: i64 = -1,
        /// The offset found, -1 for none.
        offset: i64 = -1,
        /// The epoch at that offset, -1 for none.
        leader_epoch: i32 [4..] = -1,
    }
}
