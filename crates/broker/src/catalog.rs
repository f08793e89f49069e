//! The partitions that this node hosts, found by name or id without a lock.
//!
//! Only the hosting side (`hosting.rs`) changes it, one change at a time; requests look things up.

use std::sync::Arc;

use papaya::HashMap;
use plimsoll_partition::Partition;
use plimsoll_types::{TopicId, TopicName};

/// One topic as this node hosts it; replaced as a whole when it changes.
#[derive(Clone)]
pub struct HostedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its identity.
    pub id: TopicId,
    /// Its partitions by index.
    pub partitions: Vec<Hosted>,
    /// What its configs mean to requests.
    pub policy: Arc<TopicPolicy>,
}

/// One partition as this node hosts it.
#[derive(Clone)]
pub enum Hosted {
    /// Open; it may still be offline by a later storage error.
    Online(Arc<Partition>),
    /// It did not open, and why.
    Offline(Arc<str>),
}

/// The part of a topic's configuration that requests go by; the rest is the partition's.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicPolicy {
    /// The resolved configs.
    pub config: plimsoll_controller::TopicConfig,
    /// In-sync replicas that acks=all asks for: never more than there are replicas.
    pub min_isr: u32,
}

/// Why there is no partition to work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No topic of that name.
    #[error("there is no such topic")]
    UnknownTopic,
    /// No topic with that id.
    #[error("there is no topic with that id")]
    UnknownTopicId,
    /// The topic has fewer partitions.
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The partition is offline after a storage error.
    #[error("the partition is offline: {why}")]
    Offline {
        /// What happened.
        why: Arc<str>,
    },
}

/// The hosted topics.
#[derive(Default)]
pub struct Catalog {
    by_name: HashMap<TopicName, Arc<HostedTopic>>,
    by_id: HashMap<TopicId, Arc<HostedTopic>>,
}

impl HostedTopic {
    /// The partition with the wire's `index`, ready for work.
    ///
    /// # Errors
    /// [`LookupError::UnknownPartition`] or [`LookupError::Offline`].
    pub fn partition(&self, index: i32) -> Result<&Arc<Partition>, LookupError> {
        let index = usize::try_from(index).map_err(|_| LookupError::UnknownPartition)?;
        match self.partitions.get(index) {
            None => Err(LookupError::UnknownPartition),
            Some(Hosted::Offline(why)) => Err(LookupError::Offline {
                why: Arc::clone(why),
            }),
            Some(Hosted::Online(partition)) => match partition.offline() {
                None => Ok(partition),
                Some(why) => Err(LookupError::Offline { why }),
            },
        }
    }

    /// Its open partitions.
    pub fn online(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.iter().filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(partition),
            Hosted::Offline(_) => None,
        })
    }
}

impl Catalog {
    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<HostedTopic>> {
        self.by_name.pin().get(name).cloned()
    }

    /// The topic with this identity.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<HostedTopic>> {
        self.by_id.pin().get(&id).cloned()
    }

    /// The partition `index` of the topic called `name`.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn partition(&self, name: &str, index: i32) -> Result<Arc<Partition>, LookupError> {
        let topic = self.topic(name).ok_or(LookupError::UnknownTopic)?;
        topic.partition(index).cloned()
    }

    /// Every hosted topic, in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<HostedTopic>> {
        self.by_id.pin().values().cloned().collect()
    }

    pub(crate) fn put(&self, topic: HostedTopic) {
        let topic = Arc::new(topic);
        self.by_name
            .pin()
            .insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.pin().insert(topic.id, topic);
    }

    /// Takes out the topic with this identity. Its name may belong to another one by now, which
    /// stays.
    pub(crate) fn take(&self, id: TopicId) -> Option<Arc<HostedTopic>> {
        let topic = self.by_id.pin().remove(&id).cloned()?;
        let _ = self
            .by_name
            .pin()
            .remove_if(&topic.name, |_, there| there.id == id);
        Some(topic)
    }
}
