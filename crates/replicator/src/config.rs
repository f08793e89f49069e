//! The replicator's clocks and bounds. Defaults and their reasons are `node`'s business; what is
//! agreed for a cluster is here so that tests and nodes begin from the same values.

use std::time::Duration;

/// Clocks and bounds of replication on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes a leader may have on the way to one follower of one partition. A batch that is larger
    /// goes alone.
    pub window_bytes: u32,
    /// The most record bytes in one frame; a larger batch is cut at transport level.
    pub chunk_bytes: u32,
    /// The most record bytes that one turn of a link hands out.
    pub turn_bytes: usize,
    /// The largest run that a follower puts together from cut frames. No smaller than any batch
    /// that a leader ever admitted.
    pub max_run_bytes: u32,
    /// Bytes a second for replicas that are not in sync, a link; never fewer than 1 MiB.
    pub catch_up_bytes_per_second: u64,
    /// A high watermark that moved alone is told this late at most.
    pub marks_delay: Duration,
    /// A link says something this often.
    pub heartbeat: Duration,
    /// A link that heard nothing for this long is closed by its owner.
    pub silence: Duration,
    /// A session whose follower does not move for this long, though there is something to send,
    /// begins anew.
    pub stall: Duration,
    /// The first pause before attaching again; doubles.
    pub backoff_min: Duration,
    /// The longest pause before attaching again.
    pub backoff_max: Duration,
    /// An attach that is not answered for this long is sent again.
    pub attach_timeout: Duration,
    /// Who was not caught up for this long leaves the ISR.
    pub lag_max: Duration,
    /// Who holds back the high watermark for this long leaves, if enough members stay.
    pub commit_stall: Duration,
    /// Who joins was caught up within this time.
    pub join_lag: Duration,
    /// Who joins was eligible for this long; doubles with each eviction.
    pub join_hold: Duration,
    /// The high watermark waits this long for a joiner at most.
    pub join_freeze: Duration,
    /// A proposal without an answer is sent again after this time.
    pub proposal_retry: Duration,
    /// What an echo grants, drift taken off.
    pub lease: Duration,
    /// At most one range is compared with its leader in this time.
    pub check_interval: Duration,
    /// Bytes of a range that is compared.
    pub check_bytes: usize,
    /// When all was compared it begins again after this time.
    pub check_pass: Duration,
    /// What this node's own echo grants: it leads no sooner than this after its last one.
    pub grant: Duration,
    /// How many events of a partition are remembered.
    pub events: usize,
}

impl Config {
    /// The values agreed for a cluster.
    #[must_use]
    pub const fn agreed() -> Self {
        Self {
            window_bytes: 4 << 20,
            chunk_bytes: 256 << 10,
            turn_bytes: 1 << 20,
            max_run_bytes: 1 << 30,
            catch_up_bytes_per_second: 256 << 20,
            marks_delay: Duration::from_millis(5),
            heartbeat: Duration::from_millis(100),
            silence: Duration::from_millis(1000),
            stall: Duration::from_secs(2),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            attach_timeout: Duration::from_secs(1),
            lag_max: Duration::from_secs(10),
            commit_stall: Duration::from_secs(1),
            join_lag: Duration::from_millis(500),
            join_hold: Duration::from_secs(1),
            join_freeze: Duration::from_millis(200),
            proposal_retry: Duration::from_secs(1),
            lease: Duration::from_millis(495),
            check_interval: Duration::from_millis(200),
            check_bytes: 4 << 20,
            check_pass: Duration::from_secs(3600),
            grant: Duration::from_millis(500),
            events: 64,
        }
    }

    /// The pause before attempt number `tries`.
    #[must_use]
    pub fn backoff(&self, tries: u32) -> Duration {
        let factor = 1_u32 << tries.min(10);
        self.backoff_min
            .saturating_mul(factor)
            .min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_has_an_end() {
        let config = Config::agreed();
        assert_eq!(config.backoff(0), config.backoff_min);
        assert_eq!(config.backoff(1), config.backoff_min * 2);
        assert_eq!(config.backoff(u32::MAX), config.backoff_max);
    }
}
