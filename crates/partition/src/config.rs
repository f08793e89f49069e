//! What a topic's configuration means to one of its partitions.

use std::time::Duration;

use plimsoll_segment_log::LogConfig;

/// When an acknowledged record is safe from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A replica counts by its synced bytes: acknowledged with acks=all means on disk.
    Fsync,
    /// A replica counts by its written bytes: acknowledged means in the page cache, which a killed
    /// process survives and a power loss does not. Synced in the background.
    Os,
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Drop segments past [`PartitionConfig::retention_bytes`] or `retention_age`.
    pub delete: bool,
    /// Keep only the newest record of each key.
    pub compact: bool,
}

/// One partition's configuration; complete, made by whoever reads topic configs.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionConfig {
    /// The segment log's own part.
    pub log: LogConfig,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// Size above which old segments go; `None`: no bound.
    pub retention_bytes: Option<u64>,
    /// Age (by record timestamp) past which segments go; `None`: no bound.
    pub retention_age: Option<Duration>,
    /// How long a tombstone outlives its first compaction.
    pub tombstone_age: Duration,
    /// Age below which a record is not compacted away.
    pub min_compaction_lag: Duration,
    /// Age from which a record is compacted whatever the dirty ratio; `None`: never for age alone.
    pub max_compaction_lag: Option<Duration>,
    /// Share of not yet compacted bytes, 0 to 1, from which compaction is worth it.
    pub min_dirty_ratio: f64,
}
