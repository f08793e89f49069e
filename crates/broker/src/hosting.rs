//! Making the hosted partitions what the metadata image says.
//!
//! Runs under the metadata's proposal lock, off the runtime's threads: it opens and removes files.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use plimsoll_controller::config::{self, Durability as TopicDurability};
use plimsoll_controller::{Changes, Image, NodeDefaults, Topic, TopicChange, TopicConfig};
use plimsoll_partition::{
    Cleanup, Durability, Opened, Partition, PartitionConfig, PartitionId, Recovery, describe,
};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_segment_log::{DataDir, FlushPool, LogConfig, LogHost};
use plimsoll_types::NodeId;

use crate::catalog::{Catalog, Hosted, HostedTopic, TopicPolicy};

/// What it takes to host partitions.
pub(crate) struct Host {
    pub(crate) node: NodeId,
    pub(crate) logs: LogHost,
    /// The node's, which unlocks it last.
    pub(crate) data: Weak<DataDir>,
    pub(crate) defaults: NodeDefaults,
    pub(crate) flushers: Arc<FlushPool>,
    pub(crate) decode: DecodeLimits,
    pub(crate) producer_id_expiration: std::time::Duration,
    pub(crate) catalog: Catalog,
}

/// How far the recovery of the logs is; read while it runs.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    /// Partitions to open.
    pub total: AtomicUsize,
    /// Partitions opened, or found that they cannot be.
    pub done: AtomicUsize,
    /// Those that cannot be.
    pub failed: AtomicUsize,
}

impl Host {
    /// Opens every partition of `image`, `threads` at a time.
    pub(crate) fn recover(&self, image: &Image, threads: usize, progress: &RecoveryProgress) {
        progress
            .total
            .store(image.partition_count(), Ordering::Relaxed);
        let topics = Mutex::new(image.topics());
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let Some(topic) = topics.lock().next() else {
                            return;
                        };
                        self.host(image, topic, 0, Vec::new(), progress);
                    }
                });
            }
        });
    }

    /// Follows the metadata from one image to the next.
    pub(crate) fn follow(&self, image: &Image, changes: &Changes) {
        let progress = RecoveryProgress::default();
        for change in &changes.topics {
            match change {
                TopicChange::Created(topic) => {
                    self.host(image, topic, 0, Vec::new(), &progress);
                }
                TopicChange::Deleted(topic) => self.remove(topic),
                TopicChange::Changed { after, .. } => self.update(image, after, &progress),
            }
        }
        if changes.node_configs_changed {
            for topic in image.topics() {
                self.update(image, topic, &progress);
            }
        }
    }

    /// Opens the partitions of `topic` from `first` on and publishes it with those before.
    fn host(
        &self,
        image: &Image,
        topic: &Topic,
        first: usize,
        mut partitions: Vec<Hosted>,

        progress: &RecoveryProgress,
    ) {
        let policy = self.policy(image, topic);
        let config = self.partition_config(&policy);
        for index in first..topic.partitions.len() {
            let hosted = self.open(topic, index, &config);
            if matches!(hosted, Hosted::Offline(_)) {
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
            progress.done.fetch_add(1, Ordering::Relaxed);
            partitions.push(hosted);
        }
        let (name, id) = (topic.name.clone(), topic.id);
        self.catalog.put(HostedTopic {
            name,
            id,
            partitions,
            policy: Arc::new(policy),
        });
    }

    fn update(&self, image: &Image, topic: &Topic, progress: &RecoveryProgress) {
        let Some(hosted) = self.catalog.topic_by_id(topic.id) else {
            return;
        };
        let policy = self.policy(image, topic);
        if policy != *hosted.policy {
            let config = self.partition_config(&policy);
            for partition in hosted.online() {
                partition.set_config(config.clone());
            }
        }
        let partitions = hosted.partitions.clone();
        self.host(image, topic, partitions.len(), partitions, progress);
    }

    fn remove(&self, topic: &Topic) {
        let Some(hosted) = self.catalog.take(topic.id) else {
            return;
        };
        let Some(data) = self.data.upgrade() else {
            return;
        };
        for partition in hosted.online() {
            if let Err(error) = partition.remove(&data) {
                let (partition, error) = (partition.id(), describe(&error));
                tracing::warn!(event = "replica_not_removed", %partition, %error);
            }
        }
        tracing::info!(event = "topic_removed", topic = %topic.name, id = %topic.id);
    }

    fn open(&self, topic: &Topic, index: usize, config: &PartitionConfig) -> Hosted {
        let (Some(metadata), Ok(number)) = (topic.partitions.get(index), u32::try_from(index))
        else {
            return Hosted::Offline("the metadata does not hold this partition".into());
        };
        let Some(data) = self.data.upgrade() else {
            return Hosted::Offline("the node is stopping".into());
        };
        let id = PartitionId {
            topic: topic.name.clone(),
            topic_id: topic.id,
            index: number,
        };
        let epoch = metadata.leader_epoch;
        let name = id.to_string();
        match Partition::open(
            &self.logs,
            &data,
            id,
            self.node,
            epoch,
            config.clone(),
            &self.flushers,
        ) {
            Ok(Opened {
                partition,
                recovery,
            }) => {
                report(&name, &recovery);
                Hosted::Online(partition)
            }
            Err(error) => {
                let why = describe(&error);
                tracing::error!(event = "replica_offline", partition = %name, error = %why);
                Hosted::Offline(why.into())
            }
        }
    }

    fn policy(&self, image: &Image, topic: &Topic) -> TopicPolicy {
        let config = config::resolve(image, &self.defaults, self.node, Some(topic));
        let replicas = topic
            .partitions
            .iter()
            .map(|partition| partition.replicas.len())
            .min();
        let replicas = u32::try_from(replicas.unwrap_or(1)).unwrap_or(u32::MAX);
        let min_isr = config.min_insync_replicas.min(replicas);
        TopicPolicy { config, min_isr }
    }

    fn partition_config(&self, policy: &TopicPolicy) -> PartitionConfig {
        partition_config(&policy.config, self.decode, self.producer_id_expiration)
    }
}

fn partition_config(
    topic: &TopicConfig,
    decode: DecodeLimits,
    producer_expiry: std::time::Duration,
) -> PartitionConfig {
    PartitionConfig {
        log: LogConfig {
            segment_bytes: topic.segment_bytes,
            segment_age: topic.segment_age,
            index_interval_bytes: topic.index_interval_bytes,
            producer_expiry,
            decode,
        },
        durability: match topic.durability {
            TopicDurability::Fsync => Durability::Fsync,
            TopicDurability::Os => Durability::Os,
        },
        cleanup: Cleanup {
            delete: topic.cleanup.delete,
            compact: topic.cleanup.compact,
        },
        retention_bytes: topic.retention_bytes,
        retention_age: topic.retention,
        tombstone_age: topic.delete_retention,
        min_compaction_lag: topic.min_compaction_lag,
        max_compaction_lag: topic.max_compaction_lag,
        min_dirty_ratio: topic.min_cleanable_dirty_ratio,
    }
}

/// Says what recovery did, where somebody may want to know.
fn report(partition: &str, recovery: &Recovery) {
    if let Some(cut) = &recovery.cut {
        let (offset, bytes) = (cut.at.get(), cut.bytes);
        tracing::info!(event = "torn_tail_cut", partition, offset, bytes);
    }
    for damage in &recovery.damage {
        tracing::error!(event = "damage_found", partition, %damage);
    }
    if !recovery.rebuilt.is_empty() {
        tracing::info!(event = "side_files_rebuilt", partition, files = ?recovery.rebuilt);
    }
    tracing::debug!(
        event = "log_opened",
        partition,
        scanned_bytes = recovery.scanned_bytes
    );
}
