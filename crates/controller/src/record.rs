//! The facts that change an image.
//!
//! A record states what is, not what was asked for: it carries every value that a rule or a draw
//! decided, so that to apply it needs no rule, no clock and no chance.

use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName};

/// Where one partition lives, who leads it, and who could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Every node that holds a replica; the first one is the preferred leader. Never empty.
    pub replicas: Vec<NodeId>,
    /// The in-sync ones among them.
    pub isr: Vec<NodeId>,
    /// Those that left the ISR while it was too small to commit anything, and so lack nothing.
    pub elr: Vec<NodeId>,
    /// Those that left the ISR or the ELR because they may have lost what they had.
    pub last_known_elr: Vec<NodeId>,
    /// Replicas that a reassignment brings in.
    pub adding: Vec<NodeId>,
    /// Replicas that a reassignment takes out once those it brings in are in sync.
    pub removing: Vec<NodeId>,
    /// The leader, one of the ISR; `None` while there is none.
    pub leader: Option<NodeId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of this partition's metadata.
    pub partition_epoch: PartitionEpoch,
    /// The last term that began by an unclean election.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// Whether nobody has come in sync since an unclean election.
    pub recovering: bool,
}

/// An address at which clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, as Kafka names listeners (`PLAINTEXT`).
    pub name: String,
    /// The host name or address that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
}

/// Whether a node is kept from leading, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Its process is about to stop: it comes into no ISR either. Ends with that process.
    pub stopping: bool,
    /// A person keeps it free of leaderships until a person says otherwise, whatever becomes of
    /// its process. It may be in sync.
    pub kept: bool,
}

impl Drain {
    /// Nobody keeps it from leading.
    pub const NO: Self = Self {
        stopping: false,
        kept: false,
    };

    /// Whether it is given no leaderships.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.stopping || self.kept
    }

    /// What is left of it for the node's next process.
    #[must_use]
    pub const fn outlived(self) -> Self {
        Self {
            stopping: false,
            ..self
        }
    }
}

/// What a config value belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// One topic.
    Topic(TopicName),
    /// One node, before the cluster-wide default.
    Node(NodeId),
    /// Every node that has no value of its own (Kafka's broker resource with an empty name).
    EveryNode,
}

/// One change of the cluster metadata. Exhaustive: whoever encodes or applies records must name a
/// new one before it can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A topic came to be; its partitions are 0 and up.
    TopicCreated {
        /// Its name, free until now.
        name: TopicName,
        /// Its identity, never used before.
        id: TopicId,
        /// Its partitions, at least one.
        partitions: Vec<Assignment>,
    },
    /// A topic has more partitions, numbered on from those it had.
    PartitionsAdded {
        /// The topic.
        id: TopicId,
        /// How many partitions it had.
        first: u32,
        /// The new ones, at least one.
        partitions: Vec<Assignment>,
    },
    /// A topic, its partitions and its configs are gone.
    TopicDeleted {
        /// The topic.
        id: TopicId,
    },
    /// A partition's leader, ISR, ELR or replicas changed: all that holds for it from now on.
    PartitionChanged {
        /// The topic.
        id: TopicId,
        /// The partition.
        partition: u32,
        /// What holds, with a partition epoch above the one before and, where the leader changed
        /// or a replica was taken out, a leader epoch above the one before.
        state: Assignment,
    },
    /// A config has a value of its own.
    ConfigSet {
        /// Whose config.
        resource: ConfigResource,
        /// Which.
        key: String,
        /// The value, in its canonical text.
        value: String,
    },
    /// A config has no value of its own any more.
    ConfigUnset {
        /// Whose config.
        resource: ConfigResource,
        /// Which.
        key: String,
    },
    /// Producer ids below `next` are given out or lost, and never given again.
    ProducerIdsReserved {
        /// The least free id.
        next: u64,
    },
    /// A node's process started and joined. It is fenced until [`Record::NodeStateSet`].
    NodeRegistered {
        /// The node.
        node: NodeId,
        /// Its uptime's number: the image's version with this record applied.
        broker_epoch: BrokerEpoch,
        /// Drawn by the process at its start.
        incarnation: [u8; 16],
        /// Its data directory, drawn when that was made.
        dir_id: [u8; 16],
        /// Where clients reach it.
        listeners: Vec<Listener>,
        /// Where other nodes reach it, `HOST:PORT`.
        peer: String,
        /// Its failure zone.
        rack: Option<String>,
    },
    /// Whether a node may lead and be in sync.
    NodeStateSet {
        /// The node.
        node: NodeId,
        /// Not trusted with anything until it is heard of again.
        fenced: bool,
        /// Whether it is kept from leading, and by whom.
        drain: Drain,
    },
    /// A node is no part of the cluster any more.
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
}

/// A record that does not fit the image it was applied to: it was made for another one, so either
/// a log lost or doubled a record or a rule is wrong. The image is unchanged and no longer to be
/// trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// A topic was created under a name or id that is taken.
    #[error("topic {name} ({id}) is created but its name or id is taken")]
    TopicTaken {
        /// The name.
        name: TopicName,
        /// The id.
        id: TopicId,
    },
    /// A record concerns a topic id that is not in the image.
    #[error("the record concerns topic id {id}, which is not there")]
    NoSuchTopic {
        /// The id.
        id: TopicId,
    },
    /// A record concerns a topic name that is not in the image.
    #[error("the record concerns topic {name}, which is not there")]
    NoSuchTopicName {
        /// The name.
        name: TopicName,
    },
    /// A record concerns a partition that is not in the image.
    #[error("the record concerns partition {partition} of topic id {id}, which is not there")]
    NoSuchPartition {
        /// The topic.
        id: TopicId,
        /// The partition.
        partition: u32,
    },
    /// Partitions were added after a count that the topic does not have.
    #[error("partitions are added from {first} on to topic id {id}, which has {count}")]
    PartitionsDoNotFollow {
        /// The topic.
        id: TopicId,
        /// Where the record adds them.
        first: u32,
        /// How many there are.
        count: usize,
    },
    /// An assignment has no replica, names one twice, or has a leader, ISR or ELR outside of its
    /// replicas.
    #[error(
        "an assignment of topic id {id} has no replicas or one twice, or a leader, ISR or ELR \
         outside of them"
    )]
    BadAssignment {
        /// The topic.
        id: TopicId,
    },
    /// A record concerns a node that is not in the image.
    #[error("the record concerns node {node}, which is not there")]
    NoSuchNode {
        /// The node.
        node: NodeId,
    },
    /// A number that only grows would go back.
    #[error("{what} would go from {current} to {next}; it only grows")]
    GoesBack {
        /// Which number.
        what: &'static str,
        /// What it is.
        current: u64,
        /// What the record says.
        next: u64,
    },
}
