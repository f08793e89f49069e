//! One replica on this node: opened, configured and removed as the metadata says.

use plimsoll_controller::TopicConfig;
use plimsoll_controller::config::Durability as TopicDurability;
use plimsoll_controller::rules::is_internal;
use plimsoll_controller::{Image, Topic};
use plimsoll_partition::{
    Cleanup, Durability, OpenError, Opened, Partition, PartitionConfig, PartitionId, Recovery,
    describe,
};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_segment_log::{DamageKind, Identity, LogConfig, OpenError as LogOpenError};
use plimsoll_types::{Offset, PartitionKey};

use super::losses;
use super::queue::Key;
use super::{Host, Place};
use crate::catalog::{Hosted, HostedTopic, TopicPolicy};

impl Host {
    /// Makes one partition what the newest metadata says. Blocks on the disk; one thread at a time
    /// for one partition.
    pub(super) fn reconcile(&self, key: Key) {
        let doomed = self.shape.lock().doomed.remove(&key);
        if let Some(hosted) = doomed {
            self.remove(key, &hosted);
        }
        let Some(image) = self.shape.lock().image.clone() else {
            return;
        };
        let at = usize::try_from(key.1).unwrap_or(usize::MAX);
        let (Some(topic), Some(hosted)) =
            (image.topic_by_id(key.0), self.catalog.topic_by_id(key.0))
        else {
            return;
        };
        let config = self.partition_config(&hosted.policy);
        match (hosted.partitions.get(at), hosted.place(at)) {
            (Some(Hosted::Online(partition)), Place::Here) => {
                partition.set_config(config);
                self.take_role(partition, key, &image);
            }
            (Some(Hosted::Offline(_)), Place::Here | Place::Opening) => {
                let opened = self.open(&image, topic, at, &config);
                self.put(key, opened);
            }
            _ => {}
        }
        self.bell.notify();
    }

    /// Publishes a replica that was opened, or could not be.
    fn put(&self, key: Key, opened: Hosted) {
        let mut shape = self.shape.lock();
        let at = usize::try_from(key.1).unwrap_or(usize::MAX);
        let current = self.catalog.topic_by_id(key.0);
        let wanted = current.filter(|topic| topic.place(at) != Place::Elsewhere);
        let Some(topic) = wanted else {
            // It was assigned to others, or deleted, while it was opened.
            shape.doomed.insert(key, opened);
            drop(shape);
            self.queue.mark([key], u64::MAX);
            return;
        };
        let mut topic = HostedTopic::clone(&topic);
        if let (Some(place), Some(partition)) =
            (topic.places.get_mut(at), topic.partitions.get_mut(at))
        {
            *place = Place::Here;
            *partition = opened;
        }
        self.catalog.put(topic);
    }

    /// Removes a replica that is this node's no more, with its files.
    fn remove(&self, key: Key, hosted: &Hosted) {
        let Some(data) = self.data.upgrade() else {
            return;
        };
        let identity = Identity {
            topic_id: key.0,
            partition: key.1,
        };
        let (topic, index) = key;
        let gone = PartitionKey { topic, index };
        self.replicas.remove(gone);
        self.losses.lock().forget(gone);
        let removed = match hosted {
            Hosted::Online(partition) => partition.remove(&data),
            Hosted::Offline(_) => data.remove_partition(&identity),
        };
        let (topic, partition) = (key.0, key.1);
        match removed {
            Ok(()) => tracing::info!(event = "replica_removed", %topic, partition),
            Err(error) => {
                let error = describe(&error);
                tracing::warn!(event = "replica_not_removed", %topic, partition, %error);
            }
        }
    }

    pub(super) fn open(
        &self,
        image: &Image,
        topic: &Topic,
        index: usize,
        config: &PartitionConfig,
    ) -> Hosted {
        let (Some(_), Ok(number)) = (topic.partitions.get(index), u32::try_from(index)) else {
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
        let name = id.to_string();
        let key = PartitionKey {
            topic: topic.id,
            index: number,
        };
        if is_internal(topic.name.as_str()) {
            self.device.favour(super::roster::name(key));
        }
        match Partition::open_idle(
            &self.logs,
            &data,
            id,
            self.node,
            config.clone(),
            &self.flushers,
        ) {
            Ok(Opened {
                partition,
                recovery,
            }) => {
                report(&name, &recovery);
                self.unusable.lock().remove(&key);
                let damaged = recovery.damage.first().map(|damage| damage.from);
                let gone = self.roster.lock().has(key) && !partition.reader().has_files();
                if gone {
                    tracing::error!(event = "log_gone", partition = %name);
                    self.replicas.lost(key, Offset::ZERO);
                } else if let Some(damage) = recovery.damage.first()
                    && matches!(damage.kind, DamageKind::Missing | DamageKind::Short)
                {
                    self.replicas.lost(key, damage.from);
                }
                let lost = damaged.or(gone.then_some(Offset::ZERO));
                self.losses.lock().opened(key, lost);
                self.take_role(&partition, (topic.id, number), image);
                Hosted::Online(partition)
            }
            Err(error) => {
                let why = describe(&error);
                tracing::error!(event = "replica_offline", partition = %name, error = %why);
                self.losses.lock().failed(key, losses::passes(&error));
                if !matches!(error, OpenError::Log(LogOpenError::Io { .. })) {
                    *self.unusable.lock().entry(key).or_default() += 1;
                }
                Hosted::Offline(why.into())
            }
        }
    }

    pub(super) fn partition_config(&self, policy: &TopicPolicy) -> PartitionConfig {
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
