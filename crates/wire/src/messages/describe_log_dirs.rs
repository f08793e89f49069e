//! DescribeLogDirs: how much of its disks a broker uses, and for what.

use crate::codec::{Str, message, some};

message! {
    /// Asks about the broker's data directories.
    pub struct DescribeLogDirsRequest: 1..=4, flexible 2 {
        /// The topics to tell of; null for all.
        topics: Option<Vec<DescribableLogDirTopic>> = some(),
    }

    /// A topic to tell of.
    pub struct DescribableLogDirTopic {
        /// Its name.
        topic: Str,
        /// The partitions' indexes.
        partitions: Vec<i32>,
    }
}

message! {
    /// The data directories.
    pub struct DescribeLogDirsResponse: 1..=4, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16 [3..],
        /// The directories.
        results: Vec<DescribeLogDirsResult>,
    }

    /// A data directory.
    pub struct DescribeLogDirsResult {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// Its path.
        log_dir: Str,
        /// What it holds.
        topics: Vec<DescribeLogDirsTopic>,
        /// The size of its volume, -1 if unknown.
        total_bytes: i64 [4..] = -1,
        /// The space left on it, -1 if unknown.
        usable_bytes: i64 [4..] = -1,
    }

    /// A topic in a directory.
    pub struct DescribeLogDirsTopic {
        /// Its name.
        name: Str,
        /// Its partitions there.
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// A partition in a directory.
    pub struct DescribeLogDirsPartition {
        /// Its index.
        partition_index: i32,
        /// Bytes it takes.
        partition_size: i64,
        /// How many records its end is past the high watermark.
        offset_lag: i64,
        /// Whether it is a copy being moved here.
        is_future_key: bool,
    }
}
