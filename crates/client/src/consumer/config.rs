//! How a consumer behaves.

use std::time::Duration;

use plimsoll_record_batch::DecodeLimits;
use plimsoll_types::{Offset, Timestamp};

use crate::At;

/// How a consumer fetches, and how much memory that may take.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// How long a broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// How much a broker should wait for.
    pub min_bytes: u32,
    /// The most that one fetch from one node brings, but for a single larger batch.
    pub max_bytes: u32,
    /// The most that it brings of one partition, but for a single larger batch.
    pub partition_max_bytes: u32,
    /// The most that one poll hands out.
    pub max_poll_records: usize,
    /// What one batch may cost to read.
    pub limits: DecodeLimits,
    /// Where to go on from a position outside the log.
    pub out_of_range: OutOfRange,
}

impl ConsumerConfig {
    /// Fetches of up to 16 MiB, a MiB a partition, that wait half a second for the first byte;
    /// five hundred records a poll; batches of up to 128 MiB and a million records; a position
    /// outside the log is an error.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 16 << 20,
            partition_max_bytes: 1 << 20,
            max_poll_records: 500,
            limits: DecodeLimits {
                max_decompressed_bytes: 128 << 20,
                max_records: 1_000_000,
            },
            out_of_range: OutOfRange::Fail,
        }
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest record.
    Earliest,
    /// With the next to be written.
    Latest,
    /// With this offset.
    Offset(Offset),
    /// With the first record of this timestamp or a later one; the next to be written if none is.
    Timestamp(Timestamp),
}

impl StartAt {
    /// The offset, or how to look it up.
    pub(super) fn look_up(self) -> Result<Offset, At> {
        match self {
            Self::Earliest => Err(At::Earliest),
            Self::Latest => Err(At::Latest),
            Self::Offset(offset) => Ok(offset),
            Self::Timestamp(time) => Err(At::Timestamp(time)),
        }
    }
}

/// What to do when a position is outside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Tell the caller.
    Fail,
    /// Go on with the oldest record.
    Earliest,
    /// Go on with the next to be written.
    Latest,
}
