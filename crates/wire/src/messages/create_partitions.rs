//! CreatePartitions: give topics more partitions.

use crate::codec::{Str, message, some};

message! {
    /// Adds partitions, or checks that it could.
    pub struct CreatePartitionsRequest: 0..=3, flexible 2 {
        /// To which topics.
        topics: Vec<CreatePartitionsTopic>,
        /// How long the broker may take, in milliseconds.
        timeout_ms: i32,
        /// Whether only to check.
        validate_only: bool,
    }

    /// A topic to grow.
    pub struct CreatePartitionsTopic {
        /// Its name.
        name: Str,
        /// How many partitions it shall have in all.
        count: i32,
        /// Where the new ones go; null to leave that to the broker.
        assignments: Option<Vec<CreatePartitionsAssignment>> = some(),
    }

    /// Where a new partition goes.
    pub struct CreatePartitionsAssignment {
        /// The nodes, the preferred leader first.
        broker_ids: Vec<i32>,
    }
}

message! {
    /// What became of each topic.
    pub struct CreatePartitionsResponse: 0..=3, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by topic.
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// The outcome of one topic.
    pub struct CreatePartitionsTopicResult {
        /// Its name.
        name: Str,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str>,
    }
}
