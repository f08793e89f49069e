//! Why a command is not carried out, in words for whoever asked.
//!
//! A refusal changes nothing. Its variants are as fine as the protocol's error codes, which
//! `broker` maps them to; its text names the values at fault and, where there is one, a way out.

use plimsoll_types::{
    BrokerEpoch, InvalidTopicName, NodeId, PartitionKey, TopicId, TopicName, TopicPartition,
};

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name is not legal.
    #[error("{0}")]
    InvalidName(#[from] InvalidTopicName),
    /// The name is kept for the cluster itself.
    #[error("topic name '{name}' is reserved")]
    ReservedName {
        /// The name.
        name: TopicName,
    },
    /// The name would read as another topic's where metrics write `.` as `_`.
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides {
        /// The name asked for.
        name: TopicName,
        /// The topic in its way.
        existing: TopicName,
    },
    /// A topic of this name exists.
    #[error("Topic '{name}' already exists.")]
    TopicExists {
        /// The name.
        name: TopicName,
    },
    /// One request names the topic more than once.
    #[error("Duplicate topic name '{name}' in one request.")]
    DuplicateTopic {
        /// The name.
        name: String,
    },
    /// No topic has this name.
    #[error("This server does not host topic '{name}'.")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// No topic has this id.
    #[error("This server does not host a topic with id {id}.")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// The topic is the cluster's own and stays.
    #[error("Topic '{name}' is internal: the cluster keeps its own state in it.")]
    InternalTopic {
        /// The name.
        name: TopicName,
    },
    /// A partition count that is none.
    #[error("Number of partitions must be larger than 0, or -1 for the default, not {count}.")]
    PartitionCount {
        /// What was asked for.
        count: i32,
    },
    /// A new total that does not add partitions.
    #[error(
        "Topic '{name}' has {current} partition(s); the total asked for must be higher, not {asked}."
    )]
    PartitionsNotMore {
        /// The topic.
        name: TopicName,
        /// How many it has.
        current: u32,
        /// What was asked for.
        asked: i32,
    },
    /// A node would hold more replicas than it may.
    #[error(
        "Node {node} holds {current} partition(s) and would hold {wanted}; the limit is {limit} \
         (max.partitions.per.node)."
    )]
    TooManyPartitions {
        /// The node.
        node: NodeId,
        /// How many it holds.
        current: u32,
        /// How many it would hold.
        wanted: u64,
        /// How many it may hold.
        limit: u32,
    },
    /// A replication factor that is none.
    #[error("Replication factor must be larger than 0, or -1 for the default, not {factor}.")]
    ReplicationFactor {
        /// What was asked for.
        factor: i16,
    },
    /// More replicas than nodes.
    #[error(
        "Unable to replicate the partition {factor} time(s): only {nodes} node(s) are registered. \
         Ask for a replication factor of at most {nodes}, or add nodes."
    )]
    NotEnoughNodes {
        /// What was asked for.
        factor: u32,
        /// How many there are.
        nodes: usize,
    },
    /// A manual assignment came with a count or a factor of its own.
    #[error("A manual partition assignment was given, so {field} must be -1, not {value}.")]
    AssignmentAndCount {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A manual assignment that does not hold together.
    #[error("{0}")]
    Assignment(#[from] AssignmentFault),
    /// A config that cannot be set, or not to this.
    #[error("{0}")]
    Config(#[from] ConfigFault),
    /// The resource of a config is not there or of no kind that has configs.
    #[error("node {node} is not registered")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// Nodes are registered, but none can take a new partition.
    #[error(
        "All {nodes} registered node(s) are fenced or draining; none can lead a new partition."
    )]
    NoUsableNodes {
        /// How many are registered.
        nodes: usize,
    },
    /// No topic has a partition of this id and number.
    #[error("There is no partition {key}.")]
    UnknownPartition {
        /// The partition.
        key: PartitionKey,
    },
    /// Somebody else's process has the node's number, and it is alive.
    #[error(
        "node {node} is registered by a live process with another data directory. If that one is \
         gone, try again once it is fenced; else give this node another id."
    )]
    DuplicateNode {
        /// The node.
        node: NodeId,
    },
    /// The sender is an earlier process of the node.
    #[error(
        "broker epoch {} of node {node} is not its current one, {}: register again",
        .given.0, .current.0
    )]
    StaleBrokerEpoch {
        /// The node.
        node: NodeId,
        /// What it said.
        given: BrokerEpoch,
        /// What is registered.
        current: BrokerEpoch,
    },
    /// A node that still leads or is in sync by what it was before it was fenced.
    #[error("node {node} is still to leave {left} ISR(s) before it is unfenced")]
    NotSettled {
        /// The node.
        node: NodeId,
        /// How many.
        left: u32,
    },
    /// Only a node that is down can be removed.
    #[error("node {node} is alive; stop it before it is removed")]
    NodeAlive {
        /// The node.
        node: NodeId,
    },
    /// Only a node without replicas can be removed.
    #[error("node {node} holds {replicas} replica(s); move them away before it is removed")]
    NodeHoldsReplicas {
        /// The node.
        node: NodeId,
        /// How many.
        replicas: u32,
    },
    /// The partition has the leader that the election would give it, or one at all.
    #[error("Leader election not needed for partition {partition}: {leader} leads it.")]
    ElectionNotNeeded {
        /// The partition.
        partition: TopicPartition,
        /// Its leader.
        leader: NodeId,
    },
    /// The preferred leader is not in sync or cannot lead now.
    #[error(
        "The preferred leader of partition {partition}, node {preferred}, is not in sync, fenced \
         or draining."
    )]
    PreferredLeaderNotAvailable {
        /// The partition.
        partition: TopicPartition,
        /// The preferred leader.
        preferred: NodeId,
    },
    /// No replica of the partition is alive.
    #[error("No replica of partition {partition} is alive to be elected.")]
    EligibleLeadersNotAvailable {
        /// The partition.
        partition: TopicPartition,
    },
    /// There is nothing to cancel.
    #[error("No partition reassignment is in progress for partition {partition}.")]
    NoReassignmentInProgress {
        /// The partition.
        partition: TopicPartition,
    },
    /// The replicas that would be left are too few of those in sync.
    #[error(
        "Partition {partition} would be left with {in_sync} in-sync replica(s) and needs {needed}: \
         wait until more are in sync, or choose other replicas."
    )]
    TooFewInSync {
        /// The partition.
        partition: TopicPartition,
        /// How many would be left.
        in_sync: usize,
        /// How many it takes.
        needed: usize,
    },
    /// Every producer id was given out.
    #[error("no producer ids are left")]
    ProducerIdsExhausted,
}

/// What is wrong with a manual assignment of replicas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentFault {
    /// The partitions are not 0, 1, 2, ….
    #[error(
        "The manual partition assignment must number partitions consecutively from 0, but \
         partition {partition} is missing."
    )]
    Gap {
        /// The first one that is missing.
        partition: u32,
    },
    /// One partition is assigned twice.
    #[error("The manual partition assignment names partition {partition} more than once.")]
    Repeated {
        /// The partition.
        partition: i32,
    },
    /// A partition has no replica.
    #[error("The manual partition assignment includes an empty replica list.")]
    NoReplicas,
    /// A node holds two replicas of one partition.
    #[error("The manual partition assignment includes the broker {node} more than once.")]
    NodeRepeated {
        /// The node.
        node: i32,
    },
    /// A replica is put on a node that is not there.
    #[error(
        "The manual partition assignment includes broker {node}, but no such broker is registered."
    )]
    NoSuchNode {
        /// The node.
        node: i32,
    },
    /// Partitions differ in their number of replicas.
    #[error(
        "The manual partition assignment includes a partition with {replicas} replica(s), but \
         this is not consistent with previous partitions, which have {expected} replica(s)."
    )]
    Uneven {
        /// Replicas of the one at fault.
        replicas: usize,
        /// Replicas of those before.
        expected: usize,
    },
    /// Every node of an assignment is fenced or draining.
    #[error(
        "All brokers specified in the manual partition assignment for partition {partition} are \
         fenced or draining."
    )]
    AllFenced {
        /// The partition, as far as it has a number already; else its place in the request.
        partition: usize,
    },
    /// Not as many assignments as new partitions.
    #[error("{added} partition(s) are to be added, but {assigned} assignment(s) were given.")]
    WrongCount {
        /// New partitions.
        added: u32,
        /// Assignments given.
        assigned: usize,
    },
}

/// Why a config cannot be set, or not to this value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// No such key.
    #[error("Unknown {scope} config name: {key}{}", did_you_mean(.suggestion))]
    Unknown {
        /// `topic` or `broker`.
        scope: &'static str,
        /// The key.
        key: String,
        /// A known key that looks like it.
        suggestion: Option<&'static str>,
    },
    /// Kafka knows the key, and Plimsoll would not do what it promises.
    #[error("Plimsoll does not support {key}: {why}")]
    NotSupported {
        /// The key.
        key: &'static str,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// The value is not one of the key's.
    #[error("Invalid value {value} for configuration {key}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would be legal.
        expected: String,
    },
    /// A value was asked for and none was given.
    #[error("Null value not supported for configuration {key}; delete it to return to its default")]
    Null {
        /// The key.
        key: String,
    },
    /// Values that contradict one another.
    #[error("{0}")]
    Contradiction(&'static str),
    /// Append and subtract make sense for lists only.
    #[error("Can't APPEND to or SUBTRACT from config {key}, which is not a list")]
    NotAList {
        /// The key.
        key: String,
    },
    /// The key is named more than once in one request.
    #[error("Config {key} is named more than once in one request")]
    Repeated {
        /// The key.
        key: String,
    },
    /// Known, and fixed while the node runs.
    #[error("Cannot update this config dynamically: {key}")]
    ReadOnly {
        /// The key.
        key: String,
    },
    /// Known, and the same on all nodes by its nature.
    #[error("{key} is the same on every node: set it on the default broker resource (empty name)")]
    ClusterWide {
        /// The key.
        key: String,
    },
}

fn did_you_mean(key: &Option<&'static str>) -> String {
    key.map_or_else(String::new, |key| format!(". Did you mean {key}?"))
}
