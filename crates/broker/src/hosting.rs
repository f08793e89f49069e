//! Making the hosted partitions what the metadata image says.
//!
//! Runs under the metadata's proposal lock, off the runtime's threads: it opens and removes files.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use plimsoll_controller::config::{self, Durability as TopicDurability};
use plimsoll_controller::{Changes, Image, NodeDefaults, Topic, TopicChange, TopicConfig};
use plimsoll_partition::{
    Cleanup, Durability, Opened, Partition, PartitionConfig, PartitionId, Recovery, describe,
};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_segment_log::{DataDir, FlushPool, Identity, LogConfig, LogHost};
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
    /// Opens every partition of `image`, `threads` at a time, also those of one topic.
    pub(crate) fn recover(&self, image: &Image, threads: usize, progress: &RecoveryProgress) {
        progress
            .total
            .store(image.partition_count(), Ordering::Relaxed);
        let opening: Vec<Opening<'_>> = image
            .topics()
            .map(|topic| {
                let policy = self.policy(image, topic);
                let config = self.partition_config(&policy);
                let partitions = topic.partitions.iter().map(|_| OnceLock::new()).collect();
                Opening {
                    topic,
                    policy,
                    config,
                    partitions,
                }
            })
            .collect();
        let each = |opening| {
            let Opening { partitions, .. }: &Opening<'_> = opening;
            (0..partitions.len()).map(move |index| (opening, index))
        };
        {
            let work = Mutex::new(opening.iter().flat_map(each));
            std::thread::scope(|scope| {
                for _ in 0..threads.max(1) {
                    scope.spawn(|| {
                        loop {
                            let Some((opening, index)) = work.lock().next() else {
                                return;
                            };
                            opening.open(self, index, progress);
                        }
                    });
                }
            });
        }
        for opening in opening {
            self.catalog.put(opening.opened());
        }
    }

    /// Follows the metadata from one image to the next.
    pub(crate) fn follow(&self, image: &Image, changes: &Changes) {
        for change in &changes.topics {
            match change {
                TopicChange::Created(topic) => {
                    self.host(image, topic, Vec::new());
                }
                TopicChange::Deleted(topic) => self.remove(topic),
                TopicChange::Changed { after, .. } => self.update(image, after),
            }
        }
        if changes.node_configs_changed {
            for topic in image.topics() {
                self.update(image, topic);
            }
        }
    }

    /// Opens the partitions of `topic` that come after `partitions` and publishes it with all.
    fn host(&self, image: &Image, topic: &Topic, mut partitions: Vec<Hosted>) {
        let policy = self.policy(image, topic);
        let config = self.partition_config(&policy);
        for index in partitions.len()..topic.partitions.len() {
            partitions.push(self.open(topic, index, &config));
        }
        self.catalog.put(HostedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions,
            policy: Arc::new(policy),
        });
    }

    fn update(&self, image: &Image, topic: &Topic) {
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
        self.host(image, topic, hosted.partitions.clone());
    }

    fn remove(&self, topic: &Topic) {
        let Some(hosted) = self.catalog.take(topic.id) else {
            return;
        };
        let Some(data) = self.data.upgrade() else {
            return;
        };
        for (partition, hosted) in (0u32..).zip(&hosted.partitions) {
            let identity = Identity {
                topic_id: topic.id,
                partition,
            };
            let removed = match hosted {
                Hosted::Online(partition) => partition.remove(&data),
                Hosted::Offline(_) => data.remove_partition(&identity),
            };
            if let Err(error) = removed {
                let (topic, error) = (&topic.name, describe(&error));
                tracing::warn!(event = "replica_not_removed", %topic, partition, %error);
            }
        }
        tracing::info!(event = "topic_removed", topic = %topic.name, id = %topic.id);
    }

    /// Tries again to open what could not be opened: what failed then (no descriptors, no memory,
    /// no space) may have passed.
    pub(crate) fn reopen_offline(&self, image: &Image) {
        for hosted in self.catalog.topics() {
            let offline = |hosted: &Hosted| matches!(hosted, Hosted::Offline(_));
            let (true, Some(topic)) = (
                hosted.partitions.iter().any(offline),
                image.topic_by_id(hosted.id),
            ) else {
                continue;
            };
            let config = self.partition_config(&hosted.policy);
            let mut again = HostedTopic::clone(&hosted);
            for (index, partition) in again.partitions.iter_mut().enumerate() {
                if offline(partition) {
                    *partition = self.open(topic, index, &config);
                }
            }
            self.catalog.put(again);
        }
    }

    /// Names directories of partitions that the metadata does not know. They are left: a topic
    /// whose removal a crash cut short looks the same as metadata that somebody restored.
    pub(crate) fn report_orphans(&self, image: &Image) {
        let Some(data) = self.data.upgrade() else {
            return;
        };
        match data.partitions() {
            Ok(found) => {
                let known = |id: &Identity| {
                    let topic = image.topic_by_id(id.topic_id);
                    let index = usize::try_from(id.partition).unwrap_or(usize::MAX);
                    topic.is_some_and(|topic| index < topic.partitions.len())
                };
                for orphan in found.iter().filter(|dir| !known(&dir.identity)) {
                    let dir = orphan.path.display();
                    tracing::warn!(event = "orphaned_log", %dir, "no topic has this log");
                }
            }
            Err(error) => {
                tracing::warn!(event = "data_dir_not_listed", error = %describe(&error));
            }
        }
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

/// A topic whose partitions are being opened, by several threads.
struct Opening<'a> {
    topic: &'a Topic,
    policy: TopicPolicy,
    config: PartitionConfig,
    partitions: Vec<OnceLock<Hosted>>,
}

impl Opening<'_> {
    fn open(&self, host: &Host, index: usize, progress: &RecoveryProgress) {
        let hosted = host.open(self.topic, index, &self.config);
        if matches!(hosted, Hosted::Offline(_)) {
            progress.failed.fetch_add(1, Ordering::Relaxed);
        }
        progress.done.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.partitions.get(index) {
            // Each index is handed to one thread, so the place is empty.
            let _ = place.set(hosted);
        }
    }

    fn opened(self) -> HostedTopic {
        let missed = || Hosted::Offline("it was not opened".into());
        let partitions = self.partitions.into_iter();
        HostedTopic {
            name: self.topic.name.clone(),
            id: self.topic.id,
            partitions: partitions
                .map(|place| place.into_inner().unwrap_or_else(missed))
                .collect(),
            policy: Arc::new(self.policy),
        }
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
