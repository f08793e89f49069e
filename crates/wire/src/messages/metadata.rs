//! Metadata: which nodes there are, and who leads the partitions of which topics.

use crate::codec::{Str, message, some};
use plimsoll_types::TopicId;

/// What "authorized operations" hold when they were not asked for.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

message! {
    /// Asks about topics.
    pub struct MetadataRequest: 0..=13, flexible 9 {
        /// The topics; null for all there are. Version 0 says "all" with an empty list, which
        /// [`decode_request`](crate::decode_request) turns into null.
        topics: Option<Vec<MetadataRequestTopic>> [null 1..] = some(),
        /// Whether topics that do not exist may be created now.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the client may do to each topic.
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic asked about.
    pub struct MetadataRequestTopic {
        /// Its id, absent if it is asked for by name.
        topic_id: TopicId [10..],
        /// Its name, null if it is asked for by id.
        name: Option<Str> [null 10..] = some(),
    }
}

message! {
    /// What there is.
    pub struct MetadataResponse: 0..=13, flexible 9 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [3..],
        /// The nodes that serve clients.
        brokers: Vec<MetadataResponseBroker>,
        /// The cluster's id.
        cluster_id: Option<Str> [2..],
        /// The node to send requests to that change the cluster, -1 for none.
        controller_id: i32 [1..] = -1,
        /// The topics.
        topics: Vec<MetadataResponseTopic>,
        /// What the client may do to the cluster, a bit for each operation.
        cluster_authorized_operations: i32 [8..=10] = OPERATIONS_NOT_ASKED,
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16 [13..],
    }

    /// A node.
    pub struct MetadataResponseBroker {
        /// Its id.
        node_id: i32,
        /// Its host name or address.
        host: Str,
        /// Its port.
        port: i32,
        /// Its rack, if it was given one.
        rack: Option<Str> [1..],
    }

    /// A topic.
    pub struct MetadataResponseTopic {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// Its name; null for an unknown id.
        name: Option<Str> [null 12..] = some(),
        /// Its id; absent for an unknown name.
        topic_id: TopicId [10..],
        /// Whether it is one of the broker's own.
        is_internal: bool [1..],
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition>,
        /// What the client may do to it, a bit for each operation.
        topic_authorized_operations: i32 [8..] = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    pub struct MetadataResponsePartition {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// Its index.
        partition_index: i32,
        /// The leader's node id, -1 for none.
        leader_id: i32,
        /// The leader's epoch, -1 if unknown.
        leader_epoch: i32 [7..] = -1,
        /// The nodes that hold it.
        replica_nodes: Vec<i32>,
        /// Those of them that are in sync.
        isr_nodes: Vec<i32>,
        /// Those of them that are down.
        offline_replicas: Vec<i32> [5..],
    }
}
