//! OffsetFetch: how far a group has read.

use crate::codec::{Str, message, some};

message! {
    /// Asks for offsets of one group, or from version 8 on of several.
    pub struct OffsetFetchRequest: 1..=9, flexible 6 {
        /// The group.
        group_id: Str [..=7],
        /// What to look up, by topic; null for everything.
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, null 2..] = some(),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Whether to answer with an error while a transaction has commits pending.
        require_stable: bool [7..],
    }

    /// What to look up in one topic.
    pub struct OffsetFetchRequestTopic {
        /// The topic's name.
        name: Str [..=7],
        /// The partitions' indexes.
        partition_indexes: Vec<i32> [..=7],
    }

    /// What to look up for one group.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        group_id: Str [8..],
        /// The member, null from no member.
        member_id: Option<Str> [9..],
        /// The member's epoch, -1 from no member or one of a classic group.
        member_epoch: i32 [9..] = -1,
        /// What to look up, by topic; null for everything.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..] = some(),
    }

    /// What to look up in one topic of one group.
    pub struct OffsetFetchRequestTopics {
        /// The topic's name.
        name: Str [8..],
        /// The partitions' indexes.
        partition_indexes: Vec<i32> [8..],
    }
}

message! {
    /// The offsets.
    pub struct OffsetFetchResponse: 1..=9, flexible 6 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// The offsets, by topic.
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16 [2..=7],
        /// The offsets, by group.
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// The offsets of one topic.
    pub struct OffsetFetchResponseTopic {
        /// The topic's name.
        name: Str [..=7],
        /// The offsets, by partition.
        partitions: Vec<OffsetFetchResponsePartition> [..=7],
    }

    /// The offset of one partition.
    pub struct OffsetFetchResponsePartition {
        /// The partition's index.
        partition_index: i32 [..=7],
        /// The next offset to read, -1 for none.
        committed_offset: i64 [..=7],
        /// The epoch of the last record read, -1 if unknown.
        committed_leader_epoch: i32 [5..=7] = -1,
        /// What the client kept with it.
        metadata: Option<Str> [..=7] = some(),
        /// What went wrong, 0 for nothing.
        error_code: i16 [..=7],
    }

    /// The offsets of one group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        group_id: Str [8..],
        /// The offsets, by topic.
        topics: Vec<OffsetFetchResponseTopics> [8..],
        /// What went wrong with the whole group, 0 for nothing.
        error_code: i16 [8..],
    }

    /// The offsets of one topic of one group.
    pub struct OffsetFetchResponseTopics {
        /// The topic's name.
        name: Str [8..],
        /// The offsets, by partition.
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    /// The offset of one partition of one group.
    pub struct OffsetFetchResponsePartitions {
        /// The partition's index.
        partition_index: i32 [8..],
        /// The next offset to read, -1 for none.
        committed_offset: i64 [8..],
        /// The epoch of the last record read, -1 if unknown.
        committed_leader_epoch: i32 [8..] = -1,
        /// What the client kept with it.
        metadata: Option<Str> [8..] = some(),
        /// What went wrong, 0 for nothing.
        error_code: i16 [8..],
    }
}
