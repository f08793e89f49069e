//! OffsetCommit: remember how far a group has read.

use crate::codec::{Str, message, some};

message! {
    /// Commits offsets of a group.
    pub struct OffsetCommitRequest: 2..=9, flexible 8 {
        /// The group.
        group_id: Str,
        /// The group's generation the member is in, or the member's epoch; -1 from no member.
        generation_id_or_member_epoch: i32 = -1,
        /// The member, empty from no member.
        member_id: Str,
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [7..],
        /// How long to remember, -1 for as long as the broker will; before version 5 only.
        retention_time_ms: i64 [..=4] = -1,
        /// What to commit, by topic.
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// What to commit of one topic.
    pub struct OffsetCommitRequestTopic {
        /// The topic's name.
        name: Str,
        /// What to commit, by partition.
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// What to commit of one partition.
    pub struct OffsetCommitRequestPartition {
        /// The partition's index.
        partition_index: i32,
        /// The next offset to read.
        committed_offset: i64,
        /// The epoch of the last record read, -1 if unknown.
        committed_leader_epoch: i32 [6..] = -1,
        /// What the client wants to keep with it.
        committed_metadata: Option<Str> = some(),
    }
}

message! {
    /// What became of each commit.
    pub struct OffsetCommitResponse: 2..=9, flexible 8 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// The outcomes, by topic.
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// The outcomes of one topic.
    pub struct OffsetCommitResponseTopic {
        /// The topic's name.
        name: Str,
        /// The outcomes, by partition.
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// The outcome of one partition.
    pub struct OffsetCommitResponsePartition {
        /// The partition's index.
        partition_index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
    }
}
