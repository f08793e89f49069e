//! What keeps a node healthy over time: retention, checkpoints, compaction, and the tick that makes
//! up for a wake-up that was missed.
//!
//! A node's maintenance thread calls these; each may block on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use plimsoll_partition::{Partition, describe};

use crate::Broker;
use crate::counters::add;

/// What one round of [`Broker::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Partitions whose log start moved up by retention.
    pub retained: u64,
    /// Partitions with a new checkpoint.
    pub checkpointed: u64,
    /// Partitions for which it failed; each was reported.
    pub failed: u64,
}

impl Broker {
    /// One round over all partitions: those that did not open are tried again, retention, and
    /// checkpoints.
    pub fn maintain(&self) -> Maintained {
        self.bring_back();
        self.host.note_logs();
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let mut round = Maintained::default();
        for partition in self.partitions() {
            match partition.maintain(now, wall) {
                Ok(done) => {
                    round.retained += u64::from(done.log_start_moved);
                    round.checkpointed += u64::from(done.checkpointed);
                }
                Err(error) => {
                    round.failed += 1;
                    let (partition, error) = (partition.id(), describe(&error));
                    tracing::warn!(event = "maintenance_failed", %partition, %error);
                }
            }
        }
        round
    }

    /// Makes the attempts that are due to bring back what failed.
    pub(crate) fn heal(&self) {
        self.host.heal(&self.metadata.image());
        let back = self.host.reopened.swap(0, Ordering::Relaxed);
        add(&self.counters.reopened, back);
    }

    /// Tries again what did not open.
    pub(crate) fn bring_back(&self) {
        self.host.give_up_unusable(&self.metadata.image());
        self.host.reopen_offline();
    }

    /// One round of compaction: each compacted topic's partitions whose share of not yet compacted
    /// bytes is worth it. Returns how many were compacted. `stop` is asked between partitions.
    pub fn compact(&self, stop: &dyn Fn() -> bool) -> u64 {
        let mut compacted = 0;
        for partition in self.partitions() {
            if stop() {
                break;
            }
            match partition.compact(self.clock.wall()) {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    compacted += 1;
                    tracing::info!(event = "log_compacted", partition = %partition.id(), ?outcome);
                }
                Err(error) => {
                    let (partition, error) = (partition.id(), describe(&error));
                    tracing::warn!(event = "compaction_failed", %partition, %error);
                }
            }
        }
        compacted
    }

    /// Recomputes every high watermark from state. Each position's publisher does so itself; what
    /// is found here was missed, and is counted. Where the node is alone it looks after its disk,
    /// too.
    pub fn tick(&self) {
        if self.member.is_none() {
            self.host.look_for_room(self.data_dir());
            self.heal();
        }
        for partition in self.partitions() {
            if partition.watermarks().recompute() {
                add(&self.counters.missed_wakeups, 1);
                tracing::warn!(event = "missed_wakeup", partition = %partition.id());
            }
        }
    }

    /// Ends every partition cleanly: synced, checkpointed, trimmed. No requests may run any more.
    /// Returns how many could not be; those recover at the next start.
    pub fn close(&self) -> usize {
        self.host.stop();
        self.host.note_logs();
        let partitions = Mutex::new(self.partitions());
        let failed = AtomicUsize::new(0);
        // Most of a close is waiting for the disk, which does several at once faster.
        std::thread::scope(|scope| {
            for _ in 0..self.config.flush_threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let Some(partition) = partitions.lock().next() else {
                            return;
                        };
                        if let Err(error) = partition.close() {
                            failed.fetch_add(1, Ordering::Relaxed);
                            let (partition, error) = (partition.id(), describe(&error));
                            tracing::warn!(event = "close_failed", %partition, %error);
                        }
                    }
                });
            }
        });
        failed.into_inner()
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = Arc<Partition>> + use<> {
        let topics = self.host.catalog.topics();
        topics
            .into_iter()
            .flat_map(|topic| topic.online().cloned().collect::<Vec<_>>())
    }
}
