//! The partitions that this node hosts, found by name or id without a lock.
//!
//! Only the hosting side (`hosting.rs`) changes it, one change at a time; requests look things up.

use std::sync::Arc;

use papaya::HashMap;
use plimsoll_partition::Partition;
use plimsoll_types::{LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName};

/// One topic as this node hosts it; replaced as a whole when it changes.
#[derive(Clone)]
pub struct HostedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its identity.
    pub id: TopicId,
    /// Its partitions by index.
    pub partitions: Vec<Hosted>,
    /// Where each of them is, as this node sees it.
    pub(crate) places: Vec<Place>,
    /// Who leads each of them, by the metadata.
    pub(crate) leaders: Vec<Leadership>,
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

/// Where a partition's replica is, as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this node: open, or found that it cannot be.
    Here,
    /// On this node, and not open yet.
    Opening,
    /// On other nodes only.
    Elsewhere,
}

/// Who leads a partition, and the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// Its term.
    pub epoch: LeaderEpoch,
    /// The version of the partition in the metadata.
    pub version: PartitionEpoch,
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
    /// Another node leads the partition, or none does.
    #[error("this node does not lead the partition")]
    NotLeader(Leadership),
    /// The partition has no replica on this node.
    #[error("this node has no replica of the partition")]
    NotHere,
    /// The replica on this node is not open yet.
    #[error("the replica is being opened")]
    Opening,
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
        let hosted = self.partitions.get(index);
        match (self.place(index), hosted.is_some()) {
            (Place::Elsewhere, true) => return Err(LookupError::NotHere),
            (Place::Opening, true) => return Err(LookupError::Opening),
            _ => {}
        }
        match hosted {
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

    /// The partition with the wire's `index`, led by `node` and ready for work.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn led(&self, index: i32, node: NodeId) -> Result<&Arc<Partition>, LookupError> {
        let at = usize::try_from(index).map_err(|_| LookupError::UnknownPartition)?;
        let leadership = self.leaders.get(at).ok_or(LookupError::UnknownPartition)?;
        if leadership.leader != Some(node) {
            return Err(LookupError::NotLeader(*leadership));
        }
        self.partition(index)
    }

    /// Who leads the partition `index`, by the metadata.
    pub(crate) fn leadership(&self, index: u32) -> Option<Leadership> {
        self.leaders.get(usize::try_from(index).ok()?).copied()
    }

    /// What clients are told of a partition that this node no longer trusts itself to lead.
    pub(crate) fn leaderless(&self, index: i32) -> LookupError {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        match self.leaders.get(at) {
            Some(known) => LookupError::NotLeader(Leadership {
                leader: None,
                ..*known
            }),
            None => LookupError::UnknownPartition,
        }
    }

    /// Whether this node has, or is to have, a replica of the partition `index`.
    #[must_use]
    pub fn is_here(&self, index: usize) -> bool {
        self.place(index) != Place::Elsewhere
    }

    pub(crate) fn place(&self, index: usize) -> Place {
        self.places.get(index).copied().unwrap_or(Place::Elsewhere)
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

    /// Every hosted topic, by name: what follows from that must not differ from run to run.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<HostedTopic>> {
        let mut topics: Vec<_> = self.by_id.pin().values().cloned().collect();
        topics.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        topics
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
