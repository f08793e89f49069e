//! OffsetDelete: forget how far a group has read in some partitions.

use crate::codec::{Str, message};

message! {
    /// Forgets offsets of a group.
    pub struct OffsetDeleteRequest: 0..=0, rigid {
        /// The group.
        group_id: Str,
        /// What to forget, by topic.
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// What to forget in one topic.
    pub struct OffsetDeleteRequestTopic {
        /// The topic's name.
        name: Str,
        /// What to forget, by partition.
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// The partition whose offset to forget.
    pub struct OffsetDeleteRequestPartition {
        /// The partition's index.
        partition_index: i32,
    }
}

message! {
    /// What became of each offset.
    pub struct OffsetDeleteResponse: 0..=0, rigid {
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16,
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by topic.
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// The outcomes of one topic.
    pub struct OffsetDeleteResponseTopic {
        /// The topic's name.
        name: Str,
        /// The outcomes, by partition.
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// The outcome of one partition.
    pub struct OffsetDeleteResponsePartition {
        /// The partition's index.
        partition_index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
    }
}
