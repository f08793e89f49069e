//! Fetch: read record batches from partitions, waiting for more if there are too few.

use crate::codec::{Records, Str, message, some};
use plimsoll_types::TopicId;

message! {
    /// Reads from some partitions, perhaps within a fetch session.
    pub struct FetchRequest: 4..=17, flexible 12 {
        /// The follower's node id, -1 for a consumer.
        replica_id: i32 [..=14] = -1,
        /// How long the broker may wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32,
        /// The bytes worth answering for before the wait is over.
        min_bytes: i32,
        /// The bytes to stop at, except that a first batch is always whole.
        max_bytes: i32 = i32::MAX,
        /// 0 to see every record, 1 to see those of committed transactions alone.
        isolation_level: i8,
        /// The fetch session, 0 for none.
        session_id: i32 [7..],
        /// The place of this request in its session: 0 opens one, -1 ends or declines it.
        session_epoch: i32 [7..] = -1,
        /// What to read; within a session what to add or change.
        topics: Vec<FetchTopic>,
        /// What to take out of the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The rack of the consumer, empty if it has none.
        rack_id: Str [11..],
    } tagged {
        /// The cluster the follower believes to be in.
        0 => cluster_id: Option<Str> [12..],
        /// Who follows.
        1 => replica_state: ReplicaState [15..],
    }

    /// The follower that fetches.
    pub struct ReplicaState {
        /// Its node id, -1 for a consumer.
        replica_id: i32 [15..] = -1,
        /// Its broker epoch, -1 if it has none.
        replica_epoch: i64 [15..] = -1,
    }

    /// What to read of one topic.
    pub struct FetchTopic {
        /// The topic's name.
        topic: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// What to read, by partition.
        partitions: Vec<FetchPartition>,
    }

    /// What to read of one partition.
    pub struct FetchPartition {
        /// The partition's index.
        partition: i32,
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 [9..] = -1,
        /// The offset to read from.
        fetch_offset: i64,
        /// The epoch of the last record the reader has, -1 if it does not say.
        last_fetched_epoch: i32 [12..] = -1,
        /// The follower's first offset, -1 from a consumer.
        log_start_offset: i64 [5..] = -1,
        /// The bytes of this partition to stop at, except that a first batch is always whole.
        partition_max_bytes: i32,
    } tagged {
        /// The follower's data directory.
        0 => replica_directory_id: TopicId [17..],
    }

    /// What to take out of the session, of one topic.
    pub struct ForgottenTopic {
        /// The topic's name.
        topic: Str [7..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The partitions' indexes.
        partitions: Vec<i32> [7..],
    }
}

message! {
    /// What was read.
    pub struct FetchResponse: 4..=17, flexible 12 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16 [7..],
        /// The fetch session, 0 for none.
        session_id: i32 [7..],
        /// What was read, by topic.
        responses: Vec<FetchableTopicResponse>,
    } tagged {
        /// Where the leaders named in `current_leader` are reached.
        0 => node_endpoints: Vec<NodeEndpoint> [16..],
    }

    /// What was read of one topic.
    pub struct FetchableTopicResponse {
        /// The topic's name.
        topic: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// What was read, by partition.
        partitions: Vec<PartitionData>,
    }

    /// What was read of one partition.
    pub struct PartitionData {
        /// The partition's index.
        partition_index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// End of what every in-sync replica has.
        high_watermark: i64,
        /// End of what is decided, whether committed or aborted; -1 with an error.
        last_stable_offset: i64 = -1,
        /// The first readable offset.
        log_start_offset: i64 [5..] = -1,
        /// The aborted transactions among the records; null to a reader of uncommitted records.
        aborted_transactions: Option<Vec<AbortedTransaction>> = some(),
        /// The replica the consumer should read from next, -1 for this one.
        preferred_read_replica: i32 [11..] = -1,
        /// Whole batches, the last one perhaps cut.
        records: Option<Records> = some(),
    } tagged {
        /// From where on the reader's log is not this one, if it is not.
        0 => diverging_epoch: EpochEndOffset [12..],
        /// The leader to turn to, if it is another node.
        1 => current_leader: LeaderIdAndEpoch [12..],
        /// A snapshot to read first; partitions of topics have none.
        2 => snapshot_id: SnapshotId [12..],
    }

    /// Where an epoch ends.
    pub struct EpochEndOffset {
        /// The greatest epoch not beyond the one asked for, -1 for none.
        epoch: i32 [12..] = -1,
        /// Its end offset, -1 for none.
        end_offset: i64 [12..] = -1,
    }

    /// Who leads a partition.
    pub struct LeaderIdAndEpoch {
        /// The leader's node id, -1 if unknown.
        leader_id: i32 [12..] = -1,
        /// Its epoch, -1 if unknown.
        leader_epoch: i32 [12..] = -1,
    }

    /// A snapshot's name.
    pub struct SnapshotId {
        /// The offset it reaches to.
        end_offset: i64 = -1,
        /// The epoch at that offset.
        epoch: i32 = -1,
    }

    /// A transaction that was aborted.
    pub struct AbortedTransaction {
        /// Whose it was.
        producer_id: i64,
        /// Its first offset.
        first_offset: i64,
    }

    /// Where a node is reached.
    pub struct NodeEndpoint {
        /// The node's id.
        node_id: i32 [16..],
        /// Its host name or address.
        host: Str [16..],
        /// Its port.
        port: i32 [16..],
        /// Its rack, if it was given one.
        rack: Option<Str> [16..],
    }
}
