//! What a broker is told once, at its start. Plain and complete; whoever boots it holds the defaults.

use std::time::Duration;

use plimsoll_controller::{Limits, NodeDefaults};
use plimsoll_types::NodeId;

/// One broker's configuration.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// This node.
    pub node: NodeId,
    /// The cluster it belongs to, as clients are told.
    pub cluster_id: String,
    /// Its failure zone (KIP-392), if the operator names one.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub advertised: Advertised,
    /// Node-wide values behind the topics' own configs.
    pub topic_defaults: NodeDefaults,
    /// Bounds on what topics may be created, and their default shape.
    pub limits: Limits,
    /// Whether a Metadata request may create the topic it names.
    pub auto_create_topics: bool,
    /// Most bytes of one fetch response that are not a single first batch.
    pub fetch_max_bytes: u32,
    /// Bounds on what a compressed batch may unfold to when it is checked.
    pub max_decompressed_bytes: usize,
    /// Consumer groups.
    pub groups: GroupConfig,
    /// How long an idempotent producer's state outlives its last batch (by log time).
    pub producer_id_expiration: Duration,
    /// Most segments that are mapped or open at a time; the rest are opened again when needed.
    pub max_open_segments: usize,
    /// Bytes of the volume that are kept for metadata, checkpoints and committed offsets: with less
    /// left the node takes no records, until there is twice as much.
    pub disk_reserve_bytes: u64,
    /// Bytes a second that are read in the background to see whether they still are what was
    /// written; 0: none.
    pub scrub_bytes_per_second: u64,
    /// Between the ends of two rounds of that.
    pub scrub_interval: Duration,
    /// The clocks of a cluster.
    pub cluster: ClusterConfig,
    /// Threads that sync logs.
    pub flush_threads: usize,
    /// Threads that open logs at a start.
    pub recovery_threads: usize,
    /// The node's settings as text, for DescribeConfigs of the broker: name, value, default or not.
    pub settings: Vec<Setting>,
}

/// The clocks by which a node takes part in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Between two signs of life to the active controller. Well below [`ClusterConfig::session`].
    pub heartbeat: Duration,
    /// How long a node may be silent before this one, as the active controller, fences it. Never
    /// shorter than agreed, because nodes trust themselves by what is agreed.
    pub session: Duration,
    /// Replication's clocks and bounds.
    pub replication: plimsoll_replicator::Config,
}

impl ClusterConfig {
    /// The values agreed for a cluster.
    #[must_use]
    pub const fn agreed() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            session: Duration::from_secs(3),
            replication: plimsoll_replicator::Config::agreed(),
        }
    }
}

/// The address that clients are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One of the node's own settings, as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's name where the meaning is Kafka's.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Whether nobody set it.
    pub is_default: bool,
    /// What it means.
    pub documentation: String,
}

/// Consumer groups and the topic that keeps their offsets.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Partitions of `__consumer_offsets`, when it is created.
    pub offsets_partitions: u32,
    /// How long an empty group waits for more members before its first assignment.
    pub initial_rebalance_delay: Duration,
    /// Least session timeout a member may ask for.
    pub min_session_timeout: Duration,
    /// Greatest session timeout a member may ask for.
    pub max_session_timeout: Duration,
    /// Most members of one group.
    pub max_members: usize,
    /// Longest metadata string of a committed offset.
    pub max_offset_metadata_bytes: usize,
    /// How long an empty group keeps its offsets.
    pub offsets_retention: Duration,
}
