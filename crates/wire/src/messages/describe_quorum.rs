//! DescribeQuorum: the controllers, and how far each has come.

use crate::codec::{Str, message};

pub use response::DescribeQuorumResponse;

message! {
    /// Asks about the metadata log, under Kafka's name for it.
    pub struct DescribeQuorumRequest: 0..=2, flexible 0 {
        /// `__cluster_metadata`.
        topics: Vec<TopicData>,
    }

    /// A topic asked about.
    pub struct TopicData {
        /// Its name.
        topic_name: Str,
        /// Its partitions.
        partitions: Vec<PartitionData>,
    }

    /// A partition asked about.
    pub struct PartitionData {
        /// Its index.
        partition_index: i32,
    }
}

/// The structs of the response, some of which are named as those of the request.
pub mod response {
    use crate::codec::{Str, message, some};
    use plimsoll_types::TopicId;

    message! {
        /// The controllers.
        pub struct DescribeQuorumResponse: 0..=2, flexible 0 {
            /// What went wrong with the whole request, 0 for nothing.
            error_code: i16,
            /// What went wrong, for a person.
            error_message: Option<Str> [2..] = some(),
            /// The logs asked about.
            topics: Vec<TopicData>,
            /// Where the controllers are reached.
            nodes: Vec<Node> [2..],
        }

        /// A topic.
        pub struct TopicData {
            /// Its name.
            topic_name: Str,
            /// Its partitions.
            partitions: Vec<PartitionData>,
        }

        /// A log.
        pub struct PartitionData {
            /// Its index.
            partition_index: i32,
            /// What went wrong, 0 for nothing.
            error_code: i16,
            /// What went wrong, for a person.
            error_message: Option<Str> [2..] = some(),
            /// The leader's node id, -1 for none.
            leader_id: i32,
            /// The leader's term.
            leader_epoch: i32,
            /// End of what is committed.
            high_watermark: i64,
            /// Those with a vote.
            current_voters: Vec<ReplicaState>,
            /// Those without.
            observers: Vec<ReplicaState>,
        }

        /// How far a node has come.
        pub struct ReplicaState {
            /// The node's id.
            replica_id: i32,
            /// Its data directory.
            replica_directory_id: TopicId [2..],
            /// Its log's end, -1 if not known.
            log_end_offset: i64,
            /// When it was last heard of, in milliseconds since 1970; -1 if not known.
            last_fetch_timestamp: i64 [1..] = -1,
            /// When it last had everything, in milliseconds since 1970; -1 if not known.
            last_caught_up_timestamp: i64 [1..] = -1,
        }

        /// A controller.
        pub struct Node {
            /// The node's id.
            node_id: i32 [2..],
            /// Where it listens.
            listeners: Vec<Listener> [2..],
        }

        /// Where a controller listens.
        pub struct Listener {
            /// The listener's name.
            name: Str [2..],
            /// Its host name or address.
            host: Str [2..],
            /// Its port.
            port: u16 [2..],
        }
    }
}
