//! The cluster metadata at one version.
//!
//! Always: a clone is a few reference counts and stands still; the same records in the same order
//! make the same image; the indexes (ids, colliding names, replicas per node) say what the topics
//! say.

mod apply;
mod index;
mod partition;

use crate::changes::{self, Changes};
use crate::config::keys;
use crate::record::{ConfigResource, Drain, Listener, Record};
use crate::sorted_map::SortedMap;
use index::Index;
use plimsoll_types::{BrokerEpoch, NodeId, PartitionKey, TopicId, TopicName};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use apply::Void;
pub use partition::Partition;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its identity for life.
    pub id: TopicId,
    /// Its partitions, by number.
    pub partitions: Vec<Arc<Partition>>,
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
    /// Its data directory, drawn when that was made.
    pub dir_id: [u8; 16],
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// Where other nodes reach it, `HOST:PORT`.
    pub peer: String,
    /// Its failure zone.
    pub rack: Option<String>,
    /// Not trusted with anything until it is heard of again: it leads nothing and is in no ISR.
    pub fenced: bool,
    /// Whether it is kept from leading, and by whom.
    pub drain: Drain,
}

impl Node {
    /// Whether it may be given leaderships and new replicas.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        !self.fenced && !self.is_draining()
    }

    /// Whether it is given no leaderships.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.drain.is_on()
    }

    /// Whether it may come into an ISR.
    #[must_use]
    pub fn may_be_in_sync(&self) -> bool {
        !self.fenced && !self.drain.stopping
    }

    fn registration(&self) -> Record {
        Record::NodeRegistered {
            node: self.id,
            broker_epoch: self.broker_epoch,
            incarnation: self.incarnation,
            dir_id: self.dir_id,
            listeners: self.listeners.clone(),
            peer: self.peer.clone(),
            rack: self.rack.clone(),
        }
    }
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
    index: Index,
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
    pub fn partition(&self, name: &str, index: u32) -> Option<&Arc<Partition>> {
        let index = usize::try_from(index).ok()?;
        self.topic(name)?.partitions.get(index)
    }

    /// The partition `key`.
    #[must_use]
    pub fn partition_by_key(&self, key: PartitionKey) -> Option<&Arc<Partition>> {
        let index = usize::try_from(key.index).ok()?;
        self.topic_by_id(key.topic)?.partitions.get(index)
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
        self.index.partitions()
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

    /// Where nodes reach one another: every registered node with its peer address, by number.
    pub fn address_book(&self) -> impl ExactSizeIterator<Item = (NodeId, &str)> {
        self.nodes
            .values()
            .map(|node| (node.id, node.peer.as_str()))
    }

    /// Whether `node` is registered and not fenced.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|node| !node.fenced)
    }

    /// Whether `node` is registered, not fenced and not draining.
    #[must_use]
    pub fn is_usable(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(Node::is_usable)
    }

    /// How many replicas `node` holds.
    #[must_use]
    pub fn replicas_on(&self, node: NodeId) -> u32 {
        self.index.replicas_on(node)
    }

    /// Of how many ISRs `node` is a member.
    #[must_use]
    pub fn in_sync_on(&self, node: NodeId) -> u32 {
        self.index.in_sync_on(node)
    }

    /// How many partitions `node` leads.
    #[must_use]
    pub fn leaderships_of(&self, node: NodeId) -> u32 {
        self.index.leaderships_of(node)
    }

    /// Every partition with a replica on `node`; costs what there is of them.
    pub fn partitions_on(&self, node: NodeId) -> impl Iterator<Item = PartitionKey> {
        self.index.hosted_by(node)
    }

    /// Every partition that `node` leads; costs what there is of them.
    pub fn partitions_led_by(&self, node: NodeId) -> impl Iterator<Item = PartitionKey> {
        self.index.led_by(node)
    }

    /// Every partition without a leader.
    pub fn leaderless(&self) -> impl Iterator<Item = PartitionKey> {
        self.index.leaderless()
    }

    /// Every partition with fewer in sync than it has replicas.
    pub fn under_replicated(&self) -> impl Iterator<Item = PartitionKey> {
        self.index.under_replicated()
    }

    /// Every partition with too few in sync to commit anything.
    pub fn under_min_isr(&self) -> impl Iterator<Item = PartitionKey> {
        let few = |key: &PartitionKey| {
            let least = self.min_isr(*key);
            let partition = self.partition_by_key(*key);
            partition.is_some_and(|partition| partition.isr.len() < least)
        };
        self.under_replicated().filter(few)
    }

    /// Every partition that a reassignment is moving.
    pub fn reassigning(&self) -> impl Iterator<Item = PartitionKey> {
        self.index.reassigning()
    }

    /// How many in-sync replicas `key` needs to commit; see [`Partition::min_isr`]. What leaders
    /// and rules go by: it comes from the cluster's metadata alone, with the ISR it is held
    /// against.
    #[must_use]
    pub fn min_isr(&self, key: PartitionKey) -> usize {
        let topic = self.topic_by_id(key.topic);
        let configured = self.configured_min_isr(topic.map(AsRef::as_ref));
        let partition = self.partition_by_key(key);
        partition.map_or(1, |partition| partition.min_isr(configured))
    }

    /// `min.insync.replicas` of `topic`.
    #[must_use]
    pub fn configured_min_isr(&self, topic: Option<&Topic>) -> u32 {
        let value = self.cluster_config("min.insync.replicas", topic);
        value.parse().unwrap_or(1)
    }

    /// The value of a key that is the same on every node.
    pub(crate) fn cluster_config<'a>(&'a self, name: &str, topic: Option<&'a Topic>) -> &'a str {
        let Some(key) = keys::topic_key(name) else {
            return "";
        };
        debug_assert!(!key.per_node, "{name} may differ between nodes");
        let own = topic.and_then(|topic| topic.configs.get(key.name));
        let everywhere = || self.configs(&ConfigResource::EveryNode)?.get(key.node_name);
        own.or_else(everywhere).map_or(key.default, String::as_str)
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
            nodes_changed: !Arc::ptr_eq(&earlier.nodes, &self.nodes) && earlier.nodes != self.nodes,
            node_configs_changed: !Arc::ptr_eq(&earlier.node_configs, &self.node_configs)
                && earlier.node_configs != self.node_configs,
        }
    }
}

/// The name as metrics write it, if another name could be written the same.
fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
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
