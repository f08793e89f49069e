//! The offsets topic, created when a group is first asked for.

use std::sync::Arc;

use plimsoll_controller::{Refusal, rules};
use plimsoll_types::TopicId;

use super::OFFSETS_TOPIC;
use crate::Broker;
use crate::metadata::ChangeError;

/// What Kafka gives its offsets topic, and the durability that an acknowledged commit promises.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "producer"),
    ("segment.bytes", "104857600"),
    ("durability", "fsync"),
];

impl Broker {
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
        let id = TopicId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), Some((*value).to_owned()));
        let wish = rules::CreateTopic {
            partitions,
            configs: CONFIGS.iter().map(owned).collect(),
            ..rules::CreateTopic::named(OFFSETS_TOPIC, id)
        };
        self.change(
            move |image| match rules::create_internal_topic(image, &limits, &wish) {
                Ok(records) => Ok((records, ())),
                // Somebody else was faster.
                Err(Refusal::TopicExists { .. }) => Ok((Vec::new(), ())),
                Err(refusal) => Err(refusal),
            },
        )
        .await
    }
}
