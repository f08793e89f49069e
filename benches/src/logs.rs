//! Segment logs and partitions in temporary folders, which go with them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_partition::{
    Cleanup, Durability, IsrRule, LeaderTerm, Partition, PartitionConfig, PartitionId,
};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_segment_log::{
    DataDir, FlushPool, Identity, LogConfig, LogHost, NodeIdentity, Opened, ToAppend, open,
};
use plimsoll_types::{LeaderEpoch, NodeId, Offset, TopicId, TopicName};
use tempfile::TempDir;

use crate::batches::{batch_of_bytes, header_of};

/// The topic of all partitions here.
pub const TOPIC: TopicId = TopicId::from_bytes([7; 16]);
const MAX_OPEN_SEGMENTS: usize = 1_000;

/// A log's configuration with segments of so many bytes.
#[must_use]
pub fn log_config(segment_bytes: u32) -> LogConfig {
    LogConfig {
        segment_bytes,
        segment_age: None,
        index_interval_bytes: 4096,
        producer_expiry: Duration::from_secs(86_400),
        decode: DecodeLimits {
            max_decompressed_bytes: 64 << 20,
            max_records: 1 << 20,
        },
    }
}

/// Opens the log in `dir`.
///
/// # Panics
/// If the disk does not bear it.
#[must_use]
pub fn open_log(dir: &Path, segment_bytes: u32) -> Opened {
    let identity = Identity {
        topic_id: TOPIC,
        partition: 0,
    };
    let host = LogHost::new(MAX_OPEN_SEGMENTS);
    open(dir, identity, log_config(segment_bytes), &host).expect("a bench's log opens")
}

/// A log in a folder of its own.
pub struct TempLog {
    /// The log.
    pub log: Opened,
    dir: TempDir,
}

impl TempLog {
    /// An empty one.
    ///
    /// # Panics
    /// If the disk does not bear it.
    #[must_use]
    pub fn empty(segment_bytes: u32) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        Self {
            log: open_log(dir.path(), segment_bytes),
            dir,
        }
    }

    /// One that holds about `bytes` in batches of `batch_bytes`, and where they begin.
    ///
    /// # Panics
    /// If the disk does not bear it.
    #[must_use]
    pub fn filled(segment_bytes: u32, bytes: usize, batch_bytes: usize) -> (Self, Vec<Offset>) {
        let mut this = Self::empty(segment_bytes);
        let batch = to_append(batch_bytes);
        let appended = (0..bytes / batch_bytes).map(|_| {
            let batch = std::slice::from_ref(&batch);
            this.log
                .writer
                .append(LeaderEpoch::ZERO, batch)
                .expect("room on the disk")
                .first
        });
        let bases = appended.collect();
        (this, bases)
    }

    /// Its folder, with the log left as a crash leaves it.
    #[must_use]
    pub fn crash(self) -> TempDir {
        self.dir
    }
}

/// A batch of about `bytes`, ready to append.
#[must_use]
pub fn to_append(bytes: usize) -> ToAppend {
    let bytes = batch_of_bytes(bytes);
    ToAppend {
        header: header_of(&bytes),
        bytes,
    }
}

/// A partition in a folder of its own, whose acknowledgements do not wait for the disk.
pub struct TempPartition {
    /// The partition.
    pub partition: Arc<Partition>,
    _data: DataDir,
    _dir: TempDir,
}

impl TempPartition {
    /// An empty one.
    ///
    /// # Panics
    /// If the disk does not bear it.
    #[must_use]
    pub fn empty() -> Self {
        let this = Self::idle();
        let term = LeaderTerm {
            leader_epoch: LeaderEpoch::ZERO,
            rule: IsrRule::alone(),
        };
        let leads = this.partition.become_leader(term);
        leads.expect("a bench's partition leads");
        this
    }

    /// An empty one that neither leads nor follows yet.
    ///
    /// # Panics
    /// If the disk does not bear it.
    #[must_use]
    pub fn idle() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let node_id = NodeId::new(1).expect("a small number");
        let node = NodeIdentity {
            node_id,
            cluster_id: "bench".to_owned(),
        };
        let data = DataDir::open(dir.path(), &node).expect("a data directory");
        let id = PartitionId {
            topic: TopicName::new("bench").expect("a legal name"),
            topic_id: TOPIC,
            index: 0,
        };
        let host = LogHost::new(MAX_OPEN_SEGMENTS);
        let flushers = Arc::new(FlushPool::new(1).expect("a thread"));
        let opened = Partition::open_idle(&host, &data, id, node_id, partition_config(), &flushers);
        let partition = opened.expect("a bench's partition opens").partition;
        Self {
            partition,
            _data: data,
            _dir: dir,
        }
    }
}

fn partition_config() -> PartitionConfig {
    PartitionConfig {
        log: log_config(256 << 20),
        durability: Durability::Os,
        cleanup: Cleanup {
            delete: false,
            compact: false,
        },
        retention_bytes: None,
        retention_age: None,
        tombstone_age: Duration::from_secs(86_400),
        min_compaction_lag: Duration::ZERO,
        max_compaction_lag: None,
        min_dirty_ratio: 0.5,
    }
}
