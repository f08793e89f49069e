//! DescribeTopicPartitions: the partitions of topics, a page at a time.

use crate::codec::{Str, message, some};
use crate::metadata::OPERATIONS_NOT_ASKED;
use plimsoll_types::TopicId;

message! {
    /// Asks for a page of partitions.
    pub struct DescribeTopicPartitionsRequest: 0..=0, flexible 0 {
        /// The topics; empty for all.
        topics: Vec<TopicRequest>,
        /// How many partitions make a page.
        response_partition_limit: i32 = 2000,
        /// Where the page begins; null for the start.
        cursor: Option<Cursor>,
    }

    /// A topic asked about.
    pub struct TopicRequest {
        /// Its name.
        name: Str,
    }

    /// A place between partitions.
    pub struct Cursor {
        /// The topic to begin with.
        topic_name: Str,
        /// The partition of it to begin with.
        partition_index: i32,
    }
}

message! {
    /// The page.
    pub struct DescribeTopicPartitionsResponse: 0..=0, flexible 0 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        /// Where the next page begins; null after the last.
        next_cursor: Option<Cursor>,
    }

    /// A topic.
    pub struct DescribeTopicPartitionsResponseTopic {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// Its name.
        name: Option<Str> = some(),
        /// Its id.
        topic_id: TopicId,
        /// Whether it is one of the broker's own.
        is_internal: bool,
        /// Its partitions.
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        /// What the client may do to it, a bit for each operation.
        topic_authorized_operations: i32 = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    pub struct DescribeTopicPartitionsResponsePartition {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// Its index.
        partition_index: i32,
        /// The leader's node id, -1 for none.
        leader_id: i32,
        /// The leader's epoch, -1 if unknown.
        leader_epoch: i32 = -1,
        /// The nodes that hold it.
        replica_nodes: Vec<i32>,
        /// Those of them that are in sync.
        isr_nodes: Vec<i32>,
        /// Those out of sync that could still be elected without loss.
        eligible_leader_replicas: Option<Vec<i32>>,
        /// Those that were eligible last, before they shut down uncleanly.
        last_known_elr: Option<Vec<i32>>,
        /// Those of them that are down.
        offline_replicas: Vec<i32>,
    }
}
