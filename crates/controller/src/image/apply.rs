//! Records applied to an image, one by one and as transactions.

use super::{Image, Node, Partition, Topic, config_records, metric_name};
use crate::record::{Assignment, ConfigResource, Drain, Misfit, Record};
use plimsoll_types::{NodeId, PartitionKey, TopicId, TopicName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a transaction does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Void {
    /// Others changed the image since the one that it was made for.
    #[error("made for version {expected} of the metadata, which is at {current}")]
    Version {
        /// The version it was made for.
        expected: u64,
        /// The version there is.
        current: u64,
    },
    /// A record does not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl Image {
    /// The image that a transaction makes of this one: with all of `records` if this is the
    /// version they were made for and each applies, else nothing of it.
    ///
    /// # Errors
    /// Why it is void; the same on every node.
    pub fn transact(&self, expected_version: u64, records: &[Record]) -> Result<Self, Void> {
        if self.version != expected_version {
            return Err(Void::Version {
                expected: expected_version,
                current: self.version,
            });
        }
        let mut after = self.clone();
        for record in records {
            after.apply(record)?;
        }
        Ok(after)
    }

    /// The records that make this image out of an empty one, for a snapshot of it. Its
    /// [`version`](Self::version) is to be kept beside them; see [`Image::restore`].
    pub fn to_records(&self) -> impl Iterator<Item = Record> {
        let nodes = self.nodes.values().flat_map(|node| {
            let state = Record::NodeStateSet {
                node: node.id,
                fenced: node.fenced,
                drain: node.drain,
            };
            let other = !node.fenced || node.is_draining();
            std::iter::once(node.registration()).chain(other.then_some(state))
        });
        let topics = self.topics.values().flat_map(|topic| {
            let created = Record::TopicCreated {
                name: topic.name.clone(),
                id: topic.id,
                partitions: topic.partitions.iter().map(|p| p.assignment()).collect(),
            };
            let resource = ConfigResource::Topic(topic.name.clone());
            std::iter::once(created).chain(config_records(resource, &topic.configs))
        });
        let node_configs = self.node_configs.iter();
        let node_configs = node_configs.flat_map(|(r, configs)| config_records(r.clone(), configs));
        let producer_ids = (self.next_producer_id > 0).then_some(Record::ProducerIdsReserved {
            next: self.next_producer_id,
        });
        nodes.chain(topics).chain(node_configs).chain(producer_ids)
    }

    /// The image at `version` that [`Image::to_records`] took apart.
    ///
    /// # Errors
    /// A record that does not fit: the snapshot was not made by `to_records`.
    pub fn restore(
        version: u64,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, Misfit> {
        let mut image = Self::default();
        for record in records {
            image.apply(&record)?;
        }
        image.version = version;
        Ok(image)
    }

    /// Changes the image as `record` says.
    ///
    /// # Errors
    /// The record was made for another image; this one is unchanged.
    pub fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::TopicCreated {
                name,
                id,
                partitions,
            } => self.topic_created(name, *id, partitions)?,
            Record::PartitionsAdded {
                id,
                first,
                partitions,
            } => self.partitions_added(*id, *first, partitions)?,
            Record::TopicDeleted { id } => self.topic_deleted(*id)?,
            Record::PartitionChanged {
                id,
                partition,
                state,
            } => self.partition_changed(*id, *partition, state)?,
            Record::ConfigSet {
                resource,
                key,
                value,
            } => {
                self.configs_mut(resource)?
                    .insert(key.clone(), value.clone());
            }
            Record::ConfigUnset { resource, key } => {
                self.configs_mut(resource)?.remove(key);
                self.drop_empty_configs(resource);
            }
            Record::ProducerIdsReserved { next } => {
                grows("the next producer id", self.next_producer_id, *next)?;
                self.next_producer_id = *next;
            }
            Record::NodeRegistered {
                node,
                broker_epoch,
                incarnation,
                dir_id,
                listeners,
                peer,
                rack,
            } => {
                let known = self.nodes.get(node);
                if let Some(known) = known {
                    grows("a broker epoch", known.broker_epoch.0, broker_epoch.0)?;
                }
                // C6.
                let drain = known.map_or(Drain::NO, |known| known.drain.outlived());
                let registered = Node {
                    id: *node,
                    broker_epoch: *broker_epoch,
                    incarnation: *incarnation,
                    dir_id: *dir_id,
                    listeners: listeners.clone(),
                    peer: peer.clone(),
                    rack: rack.clone(),
                    fenced: true,
                    drain,
                };
                Arc::make_mut(&mut self.nodes).insert(*node, registered);
            }
            Record::NodeStateSet {
                node,
                fenced,
                drain,
            } => self.set_node_state(*node, *fenced, *drain)?,
            Record::NodeRemoved { node } => {
                if self.nodes.get(node).is_none() {
                    return Err(Misfit::NoSuchNode { node: *node });
                }
                Arc::make_mut(&mut self.nodes).remove(node);
            }
        }
        self.version += 1;
        Ok(())
    }

    fn set_node_state(&mut self, node: NodeId, fenced: bool, drain: Drain) -> Result<(), Misfit> {
        let known = Arc::make_mut(&mut self.nodes).get_mut(&node);
        let known = known.ok_or(Misfit::NoSuchNode { node })?;
        known.fenced = fenced;
        known.drain = drain;
        Ok(())
    }

    /// This image with `node` in another state, for a rule that looks one record ahead.
    pub(crate) fn with_node_state(&self, node: NodeId, fenced: bool, drain: Drain) -> Self {
        let mut image = self.clone();
        let known = image.set_node_state(node, fenced, drain);
        debug_assert!(known.is_ok(), "rules look the node up first");
        image
    }

    fn topic_created(
        &mut self,
        name: &TopicName,
        id: TopicId,
        partitions: &[Assignment],
    ) -> Result<(), Misfit> {
        if self.topics.get(name).is_some() || self.names.get(&id).is_some() || id.is_absent() {
            let name = name.clone();
            return Err(Misfit::TopicTaken { name, id });
        }
        let topic = Topic {
            name: name.clone(),
            id,
            partitions: checked(id, partitions)?,
            configs: BTreeMap::new(),
        };
        for (index, partition) in (0..).zip(&topic.partitions) {
            self.index
                .added(PartitionKey { topic: id, index }, partition);
        }
        self.topics.insert(name.clone(), Arc::new(topic));
        self.names.insert(id, name.clone());
        if let Some(metric_name) = metric_name(name.as_str()) {
            self.metric_names.insert(metric_name, name.clone());
        }
        Ok(())
    }

    fn partitions_added(
        &mut self,
        id: TopicId,
        first: u32,
        partitions: &[Assignment],
    ) -> Result<(), Misfit> {
        let count = self.known(id)?.partitions.len();
        if usize::try_from(first) != Ok(count) {
            return Err(Misfit::PartitionsDoNotFollow { id, first, count });
        }
        let added = checked(id, partitions)?;
        for (index, partition) in (first..).zip(&added) {
            self.index
                .added(PartitionKey { topic: id, index }, partition);
        }
        self.topic_mut(id)?.partitions.extend(added);
        Ok(())
    }

    fn topic_deleted(&mut self, id: TopicId) -> Result<(), Misfit> {
        let topic = Arc::clone(self.known(id)?);
        for (index, partition) in (0..).zip(&topic.partitions) {
            self.index
                .removed(PartitionKey { topic: id, index }, partition);
        }
        self.topics.remove(&topic.name);
        self.names.remove(&id);
        if let Some(metric_name) = metric_name(topic.name.as_str()) {
            self.metric_names.remove(&metric_name);
        }
        Ok(())
    }

    fn partition_changed(
        &mut self,
        id: TopicId,
        partition: u32,
        state: &Assignment,
    ) -> Result<(), Misfit> {
        let key = PartitionKey {
            topic: id,
            index: partition,
        };
        self.known(id)?;
        let nowhere = Misfit::NoSuchPartition { id, partition };
        let before = Arc::clone(self.partition_by_key(key).ok_or(nowhere.clone())?);
        let after = Partition::checked(state).ok_or(Misfit::BadAssignment { id })?;
        let (current, next) = (before.partition_epoch.0, after.partition_epoch.0);
        grows("a partition epoch", current.into(), next.into())?;
        let (current, next) = (before.leader_epoch.get(), after.leader_epoch.get());
        let taken_out = before.replicas.iter().any(|r| !after.replicas.contains(r));
        let new_term = before.leader != after.leader
            || before.unclean_epoch != after.unclean_epoch
            || taken_out;
        if new_term || next != current {
            // C1. A replica that was taken out and is back is another one: the new term ends the
            // sessions of the old.
            grows("a leader epoch", current.into(), next.into())?;
        }
        self.index.changed(key, &before, &after);
        let places = &mut self.topic_mut(id)?.partitions;
        let place = usize::try_from(partition)
            .ok()
            .and_then(|at| places.get_mut(at));
        *place.ok_or(nowhere)? = Arc::new(after);
        Ok(())
    }

    fn known(&self, id: TopicId) -> Result<&Arc<Topic>, Misfit> {
        self.topic_by_id(id).ok_or(Misfit::NoSuchTopic { id })
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, Misfit> {
        let name = self.names.get(&id).ok_or(Misfit::NoSuchTopic { id })?;
        let topic = self.topics.get_mut(name);
        topic.map(Arc::make_mut).ok_or(Misfit::NoSuchTopic { id })
    }

    fn configs_mut(
        &mut self,
        resource: &ConfigResource,
    ) -> Result<&mut BTreeMap<String, String>, Misfit> {
        match resource {
            ConfigResource::Topic(name) => match self.topics.get_mut(name) {
                Some(topic) => Ok(&mut Arc::make_mut(topic).configs),
                None => Err(Misfit::NoSuchTopicName { name: name.clone() }),
            },
            ConfigResource::Node(_) | ConfigResource::EveryNode => {
                let configs = Arc::make_mut(&mut self.node_configs);
                Ok(configs.entry(resource.clone()).or_default())
            }
        }
    }

    fn drop_empty_configs(&mut self, resource: &ConfigResource) {
        let own = self.node_configs.get(resource);
        if own.is_some_and(BTreeMap::is_empty) {
            Arc::make_mut(&mut self.node_configs).remove(resource);
        }
    }
}

fn checked(id: TopicId, assignments: &[Assignment]) -> Result<Vec<Arc<Partition>>, Misfit> {
    let partitions = assignments
        .iter()
        .map(|a| Partition::checked(a).map(Arc::new));
    let partitions: Option<Vec<_>> = partitions.collect();
    partitions
        .filter(|partitions| !partitions.is_empty())
        .ok_or(Misfit::BadAssignment { id })
}

fn grows(what: &'static str, current: u64, next: u64) -> Result<(), Misfit> {
    if next > current {
        return Ok(());
    }
    Err(Misfit::GoesBack {
        what,
        current,
        next,
    })
}
