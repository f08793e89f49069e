//! The offsets topic, created when a group is first asked for.

use std::sync::Arc;

use plimsoll_controller::{Image, Refusal, rules};
use plimsoll_types::{LeaderEpoch, NodeId, TopicId};
use plimsoll_wire::Str;

use super::{OFFSETS_TOPIC, hash};
use crate::Broker;
use crate::metadata::ChangeError;

/// What Kafka gives its offsets topic, and the durability that an acknowledged commit promises.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "producer"),
    ("segment.bytes", "104857600"),
    ("durability", "fsync"),
];

/// Replicas of the offsets topic, where there are as many nodes.
const REPLICAS: usize = 3;
/// With that many replicas a commit is on two before it is acknowledged.
const MIN_ISR: (&str, &str) = ("min.insync.replicas", "2");

fn coordinator(image: &Image, group: &str) -> Option<NodeId> {
    let topic = image.topic(OFFSETS_TOPIC)?;
    let partition = hash::partition_of(group, topic.partitions.len());
    topic.partitions.get(partition)?.leader
}

impl Broker {
    /// The node that keeps `group`, if its partition has a leader.
    pub(crate) fn coordinator_of(&self, group: &str) -> Option<NodeId> {
        coordinator(&self.metadata.image(), group)
    }

    /// Returns when none of these groups is kept by a node that has just gone missing, or when that
    /// takes too long.
    pub(crate) async fn await_coordinators(&self, groups: &[Str]) {
        let kept_by = |image: &Image, nodes: &[NodeId]| {
            let mut coordinators = groups.iter().filter_map(|group| coordinator(image, group));
            coordinators.any(|coordinator| nodes.contains(&coordinator))
        };
        self.image_after_losses(kept_by).await;
    }

    /// The term in which this node leads a partition of the offsets topic, if it does.
    pub(super) fn offsets_term(&self, partition: usize) -> Option<LeaderEpoch> {
        let topic = self.host.catalog.topic(OFFSETS_TOPIC)?;
        let leadership = topic.leaders.get(partition)?;
        (leadership.leader == Some(self.config.node)).then_some(leadership.epoch)
    }

    /// Makes sure that there is an offsets topic. When it returns, requests of groups find their
    /// coordinators, which may still be loading.
    pub(crate) async fn ensure_offsets_topic(self: &Arc<Self>) -> Result<(), ChangeError<Refusal>> {
        if self.groups.shards.get().is_some() {
            return Ok(());
        }
        if self.metadata.image().topic(OFFSETS_TOPIC).is_none() {
            self.create_offsets_topic().await?;
        }
        self.groups.expect();
        // While the node still opens its logs the driver finds it later.
        if let Some(topic) = self.host.catalog.topic(OFFSETS_TOPIC) {
            self.groups.open(topic.partitions.len());
            self.groups.signal().notify();
        }
        Ok(())
    }

    async fn create_offsets_topic(self: &Arc<Self>) -> Result<(), ChangeError<Refusal>> {
        let limits = self.config.limits;
        let partitions = i32::try_from(self.groups.offsets_partitions).unwrap_or(i32::MAX);
        let id = TopicId::from_bytes(self.clock.fresh_id());
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), Some((*value).to_owned()));
        self.change(move |image| {
            let replicas = image.nodes().len().clamp(1, REPLICAS);
            let mut configs: Vec<_> = CONFIGS.iter().map(owned).collect();
            if replicas == REPLICAS {
                configs.push(owned(&MIN_ISR));
            }
            let wish = rules::CreateTopic {
                partitions,
                replication_factor: i16::try_from(replicas).unwrap_or(1),
                configs,
                ..rules::CreateTopic::named(OFFSETS_TOPIC, id)
            };
            match rules::create_internal_topic(image, &limits, &wish) {
                Ok(records) => Ok((records, ())),
                // Somebody else was faster.
                Err(Refusal::TopicExists { .. }) => Ok((Vec::new(), ())),
                Err(refusal) => Err(refusal),
            }
        })
        .await
    }
}
