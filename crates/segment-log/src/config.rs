//! What a log is told: who it is, how it lays out its segments, what it may forget.

use std::time::Duration;

use plimsoll_record_batch::DecodeLimits;
use plimsoll_types::TopicId;

/// Whose log this is. Kept in `partition.meta`; a directory of another identity does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The topic, for life.
    pub topic_id: TopicId,
    /// The partition's index in it.
    pub partition: u32,
}

/// How a log lays out and expires what it holds. Complete: defaults are `node`'s business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment rolls before it grows past this. A batch larger than this gets a segment of its
    /// own: no limit stops what was admitted.
    pub segment_bytes: u32,
    /// A segment rolls when a batch is this much younger than its first one, by the batches'
    /// greatest timestamps: the log knows no clock.
    pub segment_age: Option<Duration>,
    /// One index entry for at least this many bytes. Also the step in which bytes from before
    /// this start of the process are verified before they are first served.
    pub index_interval_bytes: u32,
    /// An idempotent producer that the log, by its own timestamps, has not heard of for this long
    /// is forgotten.
    pub producer_expiry: Duration,
    /// Bounds on decoding one batch, for looking up timestamps and compacting. Must cover the
    /// largest batch that was ever admitted.
    pub decode: DecodeLimits,
}

/// What a log may drop at its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole segments go while the rest still has this many bytes. `None`: no limit.
    pub bytes: Option<u64>,
    /// Segments go whose greatest timestamp is older than this. `None`: no limit.
    pub age: Option<Duration>,
}

/// What a read returns when its first batch is larger than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// That batch, whole: without it a reader with a small limit would never get on.
    OneBatch,
    /// Nothing: something else in the same answer already gets the reader on.
    None,
}
