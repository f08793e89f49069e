//! Produce: append record batches to partitions.

use crate::codec::{Records, Str, message, some};
use plimsoll_types::TopicId;

message! {
    /// Appends one batch to each of some partitions.
    pub struct ProduceRequest: 3..=13, flexible 9 {
        /// The transactional id, null for a producer without transactions.
        transactional_id: Option<Str>,
        /// Who must have the records before the answer: 0 nobody, 1 the leader, -1 all in sync.
        acks: i16,
        /// How long the leader may wait for `acks`, in milliseconds.
        timeout_ms: i32,
        /// What to append, by topic.
        topic_data: Vec<TopicProduceData>,
    }

    /// What to append to one topic.
    pub struct TopicProduceData {
        /// The topic's name.
        name: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// What to append, by partition.
        partition_data: Vec<PartitionProduceData>,
    }

    /// What to append to one partition.
    pub struct PartitionProduceData {
        /// The partition's index.
        index: i32,
        /// The batch; exactly one in the versions served.
        records: Option<Records> = some(),
    }
}

message! {
    /// What became of each partition's batch.
    pub struct ProduceResponse: 3..=13, flexible 9 {
        /// The outcomes, by topic.
        responses: Vec<TopicProduceResponse>,
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
    } tagged {
        /// Where the leaders named in `current_leader` are reached.
        0 => node_endpoints: Vec<NodeEndpoint> [10..],
    }

    /// The outcomes of one topic.
    pub struct TopicProduceResponse {
        /// The topic's name.
        name: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The outcomes, by partition.
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// The outcome of one partition.
    pub struct PartitionProduceResponse {
        /// The partition's index.
        index: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The offset of the batch's first record.
        base_offset: i64,
        /// The broker's time of the append if the topic stamps it, else -1.
        log_append_time_ms: i64 = -1,
        /// The partition's first readable offset.
        log_start_offset: i64 [5..] = -1,
        /// The records that made the batch invalid.
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        /// What went wrong, for a person.
        error_message: Option<Str> [8..],
    } tagged {
        /// The leader to turn to, if it is another node.
        0 => current_leader: LeaderIdAndEpoch [10..],
    }

    /// A record that made its batch invalid.
    pub struct BatchIndexAndErrorMessage {
        /// The record's place in the batch, from 0.
        batch_index: i32 [8..],
        /// What is wrong with it.
        batch_index_error_message: Option<Str> [8..],
    }

    /// Who leads a partition.
    pub struct LeaderIdAndEpoch {
        /// The leader's node id, -1 if unknown.
        leader_id: i32 [10..] = -1,
        /// Its epoch, -1 if unknown.
        leader_epoch: i32 [10..] = -1,
    }

    /// Where a node is reached.
    pub struct NodeEndpoint {
        /// The node's id.
        node_id: i32 [10..],
        /// Its host name or address.
        host: Str [10..],
        /// Its port.
        port: i32 [10..],
        /// Its rack, if it was given one.
        rack: Option<Str> [10..],
    }
}
