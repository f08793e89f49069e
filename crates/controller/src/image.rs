//! The cluster metadata at one version.
//!
//! Always: a clone is a few reference counts and stands still; the same records in the same order
//! make the same image; the indexes (ids, colliding names, replicas per node) say what the topics
//! say.

use crate::changes::{self, Changes};
use crate::record::{Assignment, ConfigResource, Listener, Misfit, Record};
use crate::sorted_map::SortedMap;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Every node that holds a replica, the preferred leader first.
    pub replicas: Arc<[NodeId]>,
    /// The in-sync ones among them.
    pub isr: Arc<[NodeId]>,
    /// The leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// The leader's term. Invariant C1: grows with every change and every restart of the leader.
    pub leader_epoch: LeaderEpoch,
    /// The version of this partition's metadata.
    pub partition_epoch: PartitionEpoch,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its identity for life.
    pub id: TopicId,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// The configs that have a value of their own here, in canonical text.
    pub configs: BTreeMap<String, String>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its uptime's number.
    pub broker_epoch: BrokerEpoch,
    /// Drawn by its process at the start.
    pub incarnation: [u8; 16],
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// Its failure zone.
    pub rack: Option<String>,
}

/// The cluster metadata at one version; see the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    version: u64,
    topics: SortedMap<TopicName, Arc<Topic>>,
    names: SortedMap<TopicId, TopicName>,
    /// Names with `.` replaced by `_`, for those where that may collide.
    metric_names: SortedMap<String, TopicName>,
    nodes: Arc<BTreeMap<NodeId, Node>>,
    node_configs: Arc<BTreeMap<ConfigResource, BTreeMap<String, String>>>,
    replicas_on: Arc<BTreeMap<NodeId, u32>>,
    partitions: usize,
    next_producer_id: u64,
}

impl Image {
    /// How many records made this image.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this identity.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// The partition `index` of the topic called `name`.
    #[must_use]
    pub fn partition(&self, name: &str, index: u32) -> Option<&Partition> {
        let index = usize::try_from(index).ok()?;
        self.topic(name)?.partitions.get(index)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Every topic from `name` on, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.iter_from(name).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    #[must_use]
    pub const fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The topic whose name reads the same as `name` where metrics write `.` as `_`.
    #[must_use]
    pub fn collides_with(&self, name: &str) -> Option<&TopicName> {
        self.metric_names.get(&metric_name(name)?)
    }

    /// The node `id`.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Every registered node, by number.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }

    /// How many replicas `node` holds.
    #[must_use]
    pub fn replicas_on(&self, node: NodeId) -> u32 {
        self.replicas_on.get(&node).copied().unwrap_or(0)
    }

    /// The configs that have a value of their own at `resource`.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> Option<&BTreeMap<String, String>> {
        match resource {
            ConfigResource::Topic(name) => self.topic(name.as_str()).map(|topic| &topic.configs),
            ConfigResource::Node(_) | ConfigResource::EveryNode => self.node_configs.get(resource),
        }
    }

    /// Every node resource that has configs of its own, with them.
    pub fn node_configs(
        &self,
    ) -> impl Iterator<Item = (&ConfigResource, &BTreeMap<String, String>)> {
        self.node_configs.iter()
    }

    /// The least producer id that was never given out.
    #[must_use]
    pub const fn next_producer_id(&self) -> u64 {
        self.next_producer_id
    }

    /// What differs from `earlier` to this image; costs what differs, not what there is.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Changes {
        Changes {
            topics: changes::topics(&earlier.topics, &self.topics),
            node_configs_changed: !Arc::ptr_eq(&earlier.node_configs, &self.node_configs)
                && earlier.node_configs != self.node_configs,
        }
    }

    /// The records that make this image out of an empty one, for a snapshot of it. Its
    /// [`version`](Self::version) is to be kept beside them; see [`Image::restore`].
    pub fn to_records(&self) -> impl Iterator<Item = Record> {
        let nodes = self.nodes.values().map(|node| Record::NodeRegistered {
            node: node.id,
            broker_epoch: node.broker_epoch,
            incarnation: node.incarnation,
            listeners: node.listeners.clone(),
            rack: node.rack.clone(),
        });
        let topics = self.topics.values().flat_map(|topic| {
            let created = Record::TopicCreated {
                name: topic.name.clone(),
                id: topic.id,
                partitions: topic.partitions.iter().map(Partition::assignment).collect(),
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
            Record::LeaderChanged { id, partition, .. } => {
                self.leader_changed(*id, *partition, record)?;
            }
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
                listeners,
                rack,
            } => {
                if let Some(known) = self.nodes.get(node) {
                    grows("a broker epoch", known.broker_epoch.0, broker_epoch.0)?;
                }
                let registered = Node {
                    id: *node,
                    broker_epoch: *broker_epoch,
                    incarnation: *incarnation,
                    listeners: listeners.clone(),
                    rack: rack.clone(),
                };
                Arc::make_mut(&mut self.nodes).insert(*node, registered);
            }
        }
        self.version += 1;
        Ok(())
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
        self.count_replicas(&topic.partitions, 1);
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
        self.count_replicas(&added, 1);
        self.topic_mut(id)?.partitions.extend(added);
        Ok(())
    }

    fn topic_deleted(&mut self, id: TopicId) -> Result<(), Misfit> {
        let topic = Arc::clone(self.known(id)?);
        self.count_replicas(&topic.partitions, -1);
        self.topics.remove(&topic.name);
        self.names.remove(&id);
        if let Some(metric_name) = metric_name(topic.name.as_str()) {
            self.metric_names.remove(&metric_name);
        }
        Ok(())
    }

    fn leader_changed(&mut self, id: TopicId, index: u32, record: &Record) -> Result<(), Misfit> {
        let Record::LeaderChanged {
            leader,
            isr,
            leader_epoch,
            partition_epoch,
            ..
        } = record
        else {
            return Ok(());
        };
        let partition = usize::try_from(index)
            .ok()
            .and_then(|at| {
                self.topic_mut(id)
                    .map(|t| t.partitions.get_mut(at))
                    .transpose()
            })
            .ok_or(Misfit::NoSuchPartition {
                id,
                partition: index,
            })??;
        let (current, next) = (partition.leader_epoch.get(), leader_epoch.get());
        grows("a leader epoch", current.into(), next.into())?;
        let (current, next) = (partition.partition_epoch.0, partition_epoch.0);
        grows("a partition epoch", current.into(), next.into())?;
        let is_replica = |node: &NodeId| partition.replicas.contains(node);
        if !isr.iter().all(is_replica) || !leader.iter().all(|leader| isr.contains(leader)) {
            return Err(Misfit::BadAssignment { id });
        }
        partition.leader = *leader;
        partition.isr = isr.as_slice().into();
        partition.leader_epoch = *leader_epoch;
        partition.partition_epoch = *partition_epoch;
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
        if self
            .node_configs
            .get(resource)
            .is_some_and(BTreeMap::is_empty)
        {
            Arc::make_mut(&mut self.node_configs).remove(resource);
        }
    }

    /// Adds `partitions` to the counts, or takes them off again when `sign` is -1.
    fn count_replicas(&mut self, partitions: &[Partition], sign: i32) {
        let counts = Arc::make_mut(&mut self.replicas_on);
        for node in partitions.iter().flat_map(|p| p.replicas.iter()) {
            let count = counts.entry(*node).or_default();
            *count = count.saturating_add_signed(sign);
        }
        self.partitions = if sign < 0 {
            self.partitions.saturating_sub(partitions.len())
        } else {
            self.partitions.saturating_add(partitions.len())
        };
        counts.retain(|_, count| *count > 0);
    }
}

impl Partition {
    /// The assignment a record would carry to make this partition.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        Assignment {
            replicas: self.replicas.to_vec(),
            isr: self.isr.to_vec(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
        }
    }
}

/// The name as metrics write it, if another name could be written the same.
fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

fn checked(id: TopicId, assignments: &[Assignment]) -> Result<Vec<Partition>, Misfit> {
    let partitions = assignments.iter().map(|assignment| {
        let Assignment { replicas, isr, .. } = assignment;
        let whole = !replicas.is_empty()
            && isr.iter().all(|node| replicas.contains(node))
            && assignment.leader.iter().all(|leader| isr.contains(leader));
        whole.then(|| Partition {
            replicas: replicas.as_slice().into(),
            isr: isr.as_slice().into(),
            leader: assignment.leader,
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
        })
    });
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

fn config_records(
    resource: ConfigResource,
    configs: &BTreeMap<String, String>,
) -> impl Iterator<Item = Record> {
    configs.iter().map(move |(key, value)| Record::ConfigSet {
        resource: resource.clone(),
        key: key.clone(),
        value: value.clone(),
    })
}
