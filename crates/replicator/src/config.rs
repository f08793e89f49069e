//! The replicator's bounds. Defaults and their reasons are `node`'s business; what is agreed for a
//! cluster is here so that tests and nodes begin from the same values. The protocol's clocks are
//! [`Timing`]'s.

use std::time::Duration;

use plimsoll_replication::Timing;

/// Clocks and bounds of replication on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The protocol's clocks.
    pub timing: Timing,
    /// Bytes a leader may have on the way to one follower of one partition. A batch that is larger
    /// goes alone.
    pub window_bytes: u32,
    /// The most record bytes in one frame; a larger batch is cut at transport level.
    pub chunk_bytes: u32,
    /// The most record bytes that one turn of a link hands out.
    pub turn_bytes: usize,
    /// Bytes a second for replicas that are not in sync, a link; never fewer than 1 MiB.
    pub catch_up_bytes_per_second: u64,
    /// A high watermark that moved alone is told this late at most.
    pub marks_delay: Duration,
    /// A link says something this often.
    pub heartbeat: Duration,
    /// At most one range is compared with its leader in this time.
    pub check_interval: Duration,
    /// Bytes of a range that is compared.
    pub check_bytes: usize,
    /// When all was compared it begins again after this time.
    pub check_pass: Duration,
    /// How many events of a partition are remembered.
    pub events: usize,
}

impl Config {
    /// The values agreed for a cluster.
    #[must_use]
    pub const fn agreed() -> Self {
        Self {
            timing: Timing::DEFAULT,
            window_bytes: 4 << 20,
            chunk_bytes: 256 << 10,
            turn_bytes: 1 << 20,
            catch_up_bytes_per_second: 256 << 20,
            marks_delay: Duration::from_millis(5),
            heartbeat: Duration::from_millis(100),
            check_interval: Duration::from_millis(200),
            check_bytes: 4 << 20,
            check_pass: Duration::from_secs(3600),
            events: 64,
        }
    }
}
