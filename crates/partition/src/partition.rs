//! The partition as others see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_segment_log::{
    self as segment_log, DataDir, FlushPool, Identity, LogHost, LogReader, Recovery, ToAppend,
};
use plimsoll_types::{LeaderEpoch, NodeId, Offset, TopicId, TopicName};
use plimsoll_watermark::{Counts, TenureStart, Watermarks};

use crate::append::{Append, Writer};
use crate::combine::Combiner;
use crate::config::PartitionConfig;
use crate::role::{IsrRule, LeaderTerm, Role, RoleError};
use crate::shared::{Parts, Place, Shared};
use crate::tap::{Tap, TapGuard};

/// Which partition it is: the id for life, the name for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionId {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's identity.
    pub topic_id: TopicId,
    /// The partition's index in it, from 0.
    pub index: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// One replica of one partition. Shared; every method takes `&self`.
pub struct Partition {
    shared: Arc<Shared>,
    writer: Combiner<Writer>,
}

/// A partition that was just opened, and what its recovery found.
pub struct Opened {
    /// The partition.
    pub partition: Arc<Partition>,
    /// What was scanned, cut, rebuilt or found damaged.
    pub recovery: Recovery,
}

/// A partition's positions and state at one moment, for people and metrics.
#[derive(Clone, Debug)]
pub struct Describe {
    /// Which partition.
    pub id: PartitionId,
    /// What it is.
    pub role: Role,
    /// The term of the current leader.
    pub leader_epoch: LeaderEpoch,
    /// The oldest readable offset.
    pub log_start: Offset,
    /// End of what is synced.
    pub durable_end: Offset,
    /// End of what is acknowledged and served.
    pub high_watermark: Offset,
    /// The next offset to be written.
    pub log_end: Offset,
    /// Bytes of all segments.
    pub size_bytes: u64,
    /// Why it is offline, if it is.
    pub offline: Option<Arc<str>>,
    /// Reads refused because the bytes on disk failed their checksum.
    pub damaged_reads: u64,
}

/// Why a replica did not open. Its directory is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The segment log did not open.
    #[error(transparent)]
    Log(#[from] segment_log::OpenError),
    /// It opened, but cannot lead.
    #[error("the replica opened but cannot lead")]
    Role(#[from] RoleError),
}

impl Partition {
    /// Opens the replica in the data directory, as leader in `leader_epoch` with itself as its only
    /// replica. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        host: &LogHost,
        data: &DataDir,
        id: PartitionId,
        node: NodeId,
        leader_epoch: LeaderEpoch,
        config: PartitionConfig,
        flushers: &Arc<FlushPool>,
    ) -> Result<Opened, OpenError> {
        let opened = Self::open_idle(host, data, id, node, config, flushers)?;
        // What a killed process had written is readable again but perhaps not on disk. A lone
        // replica's high watermark is its log end, and consumers may have seen all of it. Where a
        // record counts once it is durable it is made so before anybody is told of it, and no
        // watermark goes back over a restart; where it counts once it is written, it counts now.
        opened.partition.become_leader(LeaderTerm {
            leader_epoch,
            rule: IsrRule::alone(),
        })?;
        Ok(opened)
    }

    /// Opens the replica in the data directory, without a role: it serves nothing yet. Its high
    /// watermark is the one that was checkpointed, as far as the log has it: a hint. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_idle(
        host: &LogHost,
        data: &DataDir,
        id: PartitionId,
        node: NodeId,
        config: PartitionConfig,
        flushers: &Arc<FlushPool>,
    ) -> Result<Opened, OpenError> {
        let identity = Identity {
            topic_id: id.topic_id,
            partition: id.index,
        };
        let dir = data.partition_dir(&identity);
        let opened = segment_log::open(&dir, identity, config.log, host)?;
        let reader = opened.reader;
        let hint = opened.writer.checkpointed_high_watermark();
        let watermarks = Watermarks::new(TenureStart {
            leader_epoch: LeaderEpoch::ZERO,
            log_start: reader.log_start(),
            durable_end: reader.durable_end(),
            log_end: reader.log_end(),
            high_watermark: hint.min(reader.log_end()),
            local: node,
            followers: Vec::new(),
            fresh: Vec::new(),
            maximal_isr: vec![node],
            committed_isr: 1,
            min_isr: 2,
            counts: Counts::Written,
        });
        let place = Place {
            host: host.clone(),
            dir,
        };
        let parts = Parts {
            reader,
            sync: opened.sync,
        };
        let shared = Shared::new(id, node, place, watermarks, parts, config, flushers);
        let writer = Combiner::new(Writer::new(opened.writer, Arc::clone(&shared)));
        Ok(Opened {
            partition: Arc::new(Self { shared, writer }),
            recovery: opened.recovery,
        })
    }

    /// Which partition this is.
    #[must_use]
    pub fn id(&self) -> &PartitionId {
        &self.shared.id
    }

    /// Its offsets, and waiting on them.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        &self.shared.watermarks
    }

    /// The lock-free reader of its log. For consumers use [`Partition::read`], which stops at the
    /// high watermark.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.shared.parts.load().reader.clone()
    }

    /// The term of the current leader.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.shared.leader_epoch()
    }

    /// Its configuration now.
    #[must_use]
    pub fn config(&self) -> Arc<PartitionConfig> {
        self.shared.config.load_full()
    }

    /// Why it is offline, if it is.
    #[must_use]
    pub fn offline(&self) -> Option<Arc<str>> {
        self.shared.offline()
    }

    /// Has `tap` rung whenever an offset or the role moved, until the guard is dropped.
    pub fn tap(&self, tap: &Arc<dyn Tap>) -> TapGuard {
        TapGuard::new(&self.shared, tap)
    }

    /// Appends a batch that was checked (`Batch::parse`), in the order of the calls. The work is
    /// done or queued when this returns; the outcome is in the future.
    pub fn append(&self, batch: ToAppend) -> Append {
        Append(self.writer.submit(batch))
    }

    /// Its positions and state at this moment.
    #[must_use]
    pub fn describe(&self) -> Describe {
        let marks = self.shared.watermarks.snapshot();
        Describe {
            id: self.shared.id.clone(),
            role: **self.shared.role.load(),
            leader_epoch: marks.leader_epoch,
            log_start: marks.log_start,
            durable_end: marks.durable_end,
            high_watermark: marks.high_watermark,
            log_end: marks.log_end,
            size_bytes: self.shared.parts.load().reader.size_bytes(),
            offline: self.shared.offline(),
            damaged_reads: self.shared.damaged_reads.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs structural work as the log's one writer. Blocks; off the request path only.
    pub(crate) fn with_writer<R>(&self, work: impl FnOnce(&mut Writer) -> R) -> R {
        self.writer.with_owner(work)
    }
}
