//! OffsetForLeaderEpoch: where the records of a leader's epoch end.

use crate::codec::{Str, message};

message! {
    /// Asks where epochs end.
    pub struct OffsetForLeaderEpochRequest: 2..=4, flexible 4 {
        /// The follower's node id, -1 for a consumer, -2 if it does not say.
        replica_id: i32 [3..] = -2,
        /// What to look up, by topic.
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// What to look up in one topic.
    pub struct OffsetForLeaderTopic {
        /// The topic's name.
        topic: Str,
        /// What to look up, by partition.
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// What to look up in one partition.
    pub struct OffsetForLeaderPartition {
        /// The partition's index.
        partition: i32,
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 = -1,
        /// The epoch whose end is asked for.
        leader_epoch: i32,
    }
}

message! {
    /// Where the epochs end.
    pub struct OffsetForLeaderEpochResponse: 2..=4, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The ends, by topic.
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// The ends in one topic.
    pub struct OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: Str,
        /// The ends, by partition.
        partitions: Vec<EpochEndOffset>,
    }

    /// The end in one partition.
    pub struct EpochEndOffset {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The partition's index.
        partition: i32,
        /// The greatest epoch not beyond the one asked for, -1 for none.
        leader_epoch: i32 = -1,
        /// Its end offset, -1 for none.
        end_offset: i64 = -1,
    }
}
