//! What a partition's writer, its flusher and its readers share, none of it behind a lock.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use plimsoll_segment_log::{FlushPool, FlushTarget, LogReader, LogSync};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Sealed, TenureStart, Watermarks};

use crate::config::{Durability, PartitionConfig};
use crate::partition::PartitionId;

/// The shared half of a [`Partition`](crate::Partition).
pub(crate) struct Shared {
    pub(crate) id: PartitionId,
    node: NodeId,
    pub(crate) watermarks: Watermarks,
    pub(crate) reader: LogReader,
    pub(crate) config: ArcSwap<PartitionConfig>,
    sync: LogSync,
    /// The node's, which outlives no partition's flush: a flusher thread must not be the one that
    /// drops the pool.
    flushers: Weak<FlushPool>,
    /// Itself, to hand to the flushers.
    this: Weak<Shared>,
    /// Why the replica is offline; set once, by the first failure.
    offline: OnceLock<Arc<str>>,
    /// Reads that found damage; for the operator.
    pub(crate) damaged_reads: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        id: PartitionId,
        node: NodeId,
        watermarks: Watermarks,
        reader: LogReader,
        sync: LogSync,
        config: PartitionConfig,
        flushers: &Arc<FlushPool>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id,
            node,
            watermarks,
            reader,
            config: ArcSwap::from_pointee(config),
            sync,
            flushers: Arc::downgrade(flushers),
            this: Weak::clone(this),
            offline: OnceLock::new(),
            damaged_reads: AtomicU64::new(0),
        })
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.watermarks.leader_epoch()
    }

    /// Why the replica is offline, if it is.
    pub(crate) fn offline(&self) -> Option<Arc<str>> {
        self.offline.get().cloned()
    }

    /// Takes the replica offline (P3) and tells whoever waits. The first reason stands.
    pub(crate) fn fail(&self, error: &dyn Error) -> Arc<str> {
        let why = Arc::clone(self.offline.get_or_init(|| describe(error).into()));
        // The course ends here: whoever waits for an offset of it is told so, and asks again.
        self.watermarks.cut(|sealed| self.tenure(sealed));
        why
    }

    /// A tenure that goes on from where `sealed` ended, as the configuration has it now.
    pub(crate) fn tenure(&self, sealed: Sealed) -> TenureStart {
        TenureStart {
            leader_epoch: sealed.leader_epoch,
            log_start: sealed.log_start,
            durable_end: sealed.durable_end,
            log_end: sealed.log_end,
            high_watermark: sealed.high_watermark,
            local: self.node,
            followers: Vec::new(),
            maximal_isr: vec![self.node],
            committed_isr: 1,
            min_isr: 1,
            counts: counts(self.config.load().durability),
        }
    }

    /// The bytes up to `log_end` are readable (P1): tells readers, and has them synced where the
    /// durability asks for it.
    pub(crate) fn written(&self, log_end: Offset) {
        self.watermarks.publish_log_end(log_end);
        if self.config.load().durability == Durability::Fsync {
            self.request_flush();
        }
    }

    /// Has everything written so far synced, by and by.
    pub(crate) fn request_flush(&self) {
        if let (Some(flushers), Some(this)) = (self.flushers.upgrade(), self.this.upgrade()) {
            flushers.request(&(this as Arc<dyn FlushTarget>));
        }
    }

    pub(crate) fn count_damaged_read(&self) {
        self.damaged_reads.fetch_add(1, Ordering::Relaxed);
    }
}

impl FlushTarget for Shared {
    fn flush(&self) {
        match self.sync.sync() {
            Ok(durable_end) => self.watermarks.publish_durable_end(durable_end),
            Err(error) => {
                self.fail(&error);
            }
        }
    }
}

pub(crate) fn counts(durability: Durability) -> Counts {
    match durability {
        Durability::Fsync => Counts::Durable,
        Durability::Os => Counts::Written,
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn describe(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}
