//! The node's configuration: read, checked and completed once, before anything starts.
//!
//! [`layers::Layers`] is the raw form, which mirrors file, environment and flags and may be
//! empty; [`Config`] is the complete, typed form. No other crate knows a default.

mod cluster;
mod explain;
mod file;
pub mod keys;
mod layers;
mod timing;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_broker::{Advertised, BrokerConfig, GroupConfig};
use plimsoll_cli::{Code, Failure};
use plimsoll_controller::{NodeDefaults, config::keys as topic_keys};
use plimsoll_quorum::raft;
use plimsoll_segment_log::disk::{Disk, RealDisk};
use plimsoll_server::{Limits, SocketConfig};
use plimsoll_types::NodeId;

pub use cluster::Cluster;
pub use explain::{explain, explain_all};
pub use layers::{Layers, Origin, Setting};
pub use value::Address;

/// Time between two keepalive probes, and how long silence lasts before the first.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// More connections than this are rarely meant.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;
/// Between two rounds of scrubbing where damage is to be found soon.
const OFTEN: Duration = Duration::from_secs(5);
/// How long a half-closed client still gets replies.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(5);

/// A node's complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Its failure zone.
    pub rack: Option<String>,
    /// Where Kafka clients connect.
    pub kafka_listen: Address,
    /// Where they are told to come back to, if that is another address.
    pub kafka_advertise: Option<Address>,
    /// Where other nodes connect.
    pub peer_listen: Address,
    /// Whether somebody chose that address.
    pub peer_listen_is_set: bool,
    /// Where other nodes are told to come back to, if that is another address.
    pub peer_advertise: Option<Address>,
    /// With whom it forms a cluster.
    pub cluster: Cluster,
    /// The clocks of the metadata quorum.
    pub quorum: raft::Timing,
    /// Where HTTP is served.
    pub http_listen: Address,
    /// How sockets are set up.
    pub sockets: SocketConfig,
    /// What clients may take; as many connections as the file limit allows, at most.
    pub limits: Limits,
    /// Whether somebody asked for so many connections.
    pub max_connections_is_set: bool,
    /// Threads.
    pub threads: Threads,
    /// What recurs.
    pub maintenance: Maintenance,
    /// How long requests may take to finish at a stop.
    pub shutdown_grace: Duration,
    /// What is logged, and how.
    pub logging: Logging,
    /// The file system under the logs: the machine's, but where somebody is to play with it.
    pub disk: Arc<dyn Disk>,
    broker: BrokerConfig,
}

/// How many threads do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Threads that serve connections.
    pub network: usize,
    /// Threads for work that may wait for the disk.
    pub io: usize,
}

/// How often housekeeping is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Old segments are looked for, and recovery points written.
    pub round: Duration,
    /// Logs to compact are looked for.
    pub compaction: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Level or filters.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Config {
    /// Completes and types what was set.
    ///
    /// # Errors
    /// When two values do not go together, or one is not legal after all.
    pub fn new(layers: &Layers) -> Result<Self, Failure> {
        let read = Read { layers };
        let node = NodeId::new(read.number("node.id")?)
            .ok_or_else(|| Failure::new(Code::BadValue, "node.id is too large"))?;
        let rack = read.optional("broker.rack");
        let cluster = read.cluster(node)?;
        let voter = cluster.address_of(node);
        let peer_listen_is_set = layers.get("peer.listen").origin != Origin::Default;
        Ok(Self {
            node,
            data_dir: PathBuf::from(read.text("data.dir")),
            rack: rack.clone(),
            kafka_listen: read.address("kafka.listen")?,
            kafka_advertise: read.optional_address("kafka.advertise")?,
            peer_listen: match &voter {
                Some(voter) if !peer_listen_is_set => voter.clone(),
                _ => read.address("peer.listen")?,
            },
            peer_listen_is_set: peer_listen_is_set || voter.is_some(),
            peer_advertise: match read.optional_address("peer.advertise")? {
                None => voter,
                told => told,
            },
            cluster: cluster.clone(),
            quorum: read.quorum()?,
            http_listen: read.address("http.listen")?,
            sockets: read.sockets()?,
            limits: read.limits()?,
            max_connections_is_set: read.number::<u32>("max.connections.per.node")? > 0,
            threads: Threads {
                network: read.threads("num.network.threads", 1)?,
                io: read.number("num.io.threads")?,
            },
            maintenance: Maintenance {
                round: read.millis("log.retention.check.interval.ms")?,
                compaction: read.millis("log.cleaner.backoff.ms")?,
            },
            shutdown_grace: read.millis("shutdown.grace.ms")?,
            logging: Logging {
                level: read.text("logging.level"),
                format: match read.text("logging.format").as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                },
            },
            disk: Arc::new(RealDisk),
            broker: read.broker(node, rack, &cluster)?,
        })
    }

    /// Has damage found within seconds: for a cluster to play with.
    pub(crate) fn scrub_often(&mut self) {
        self.broker.scrub_interval = self.broker.scrub_interval.min(OFTEN);
    }

    /// The broker's part, with what is known only once the node has its data directory, ports and
    /// file descriptors.
    #[must_use]
    pub fn broker(
        &self,
        cluster_id: String,
        advertised: Advertised,
        max_open_segments: usize,
    ) -> BrokerConfig {
        BrokerConfig {
            cluster_id,
            advertised,
            max_open_segments,
            ..self.broker.clone()
        }
    }
}

/// Reads typed values out of the layers.
struct Read<'a> {
    layers: &'a Layers,
}

impl Read<'_> {
    fn text(&self, name: &str) -> String {
        self.layers.get(name).value
    }

    fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// The value of a key, parsed; its text was checked when it was set.
    fn parse<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let Setting { value, origin } = self.layers.get(name);
        parse(&value).map_err(|fault| {
            Failure::new(
                Code::BadValue,
                format!("{name} = {value:?} {fault} ({origin})"),
            )
        })
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, Failure> {
        self.parse(name, |text| {
            let number = value::number(text, i64::MIN, i64::MAX)?;
            T::try_from(number).map_err(|_| "is out of range".to_owned())
        })
    }

    fn address(&self, name: &str) -> Result<Address, Failure> {
        self.parse(name, value::address)
    }

    fn optional_address(&self, name: &str) -> Result<Option<Address>, Failure> {
        match self.optional(name) {
            Some(_) => self.address(name).map(Some),
            None => Ok(None),
        }
    }

    /// With whom the node forms a cluster.
    fn cluster(&self, node: NodeId) -> Result<Cluster, Failure> {
        let (voters, join) = ("cluster.voters", "cluster.join");
        let cluster = match (self.optional(voters), self.optional(join)) {
            (None, None) => Cluster::Alone,
            (Some(_), None) => self.parse(voters, cluster::voters)?,
            (None, Some(_)) => self.parse(join, cluster::seeds)?,
            (Some(_), Some(_)) => {
                let what = "cluster.voters forms a new cluster and cluster.join joins another";
                return Err(Failure::new(
                    Code::BadValue,
                    format!("{what}. Set one of them"),
                ));
            }
        };
        cluster
            .check(node)
            .map_err(|what| Failure::new(Code::BadValue, what))?;
        Ok(cluster)
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        self.parse(name, value::flag)
    }

    fn millis(&self, name: &str) -> Result<Duration, Failure> {
        // Timers cannot reach further than this, and nobody waits longer.
        const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        Ok(Duration::from_millis(self.number(name)?).min(MAX))
    }

    /// A number of threads, 0 standing for so many a core.
    fn threads(&self, name: &str, per_core: usize) -> Result<usize, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(match self.number(name)? {
            0 => cores * per_core,
            threads => threads,
        })
    }

    fn sockets(&self) -> Result<SocketConfig, Failure> {
        let buffer = |name| Ok::<_, Failure>(u32::try_from(self.number::<i64>(name)?).ok());
        Ok(SocketConfig {
            backlog: self.number("socket.listen.backlog.size")?,
            send_buffer_bytes: buffer("socket.send.buffer.bytes")?,
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes")?,
            keepalive_after: KEEPALIVE_AFTER,
            keepalive_interval: KEEPALIVE_INTERVAL,
            // The kernel counts a closed window, too; see `SocketConfig::user_timeout`.
            user_timeout: self.millis("socket.write.timeout.ms")?,
        })
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let limits = Limits {
            max_connections: match self.number("max.connections.per.node")? {
                0 => DEFAULT_MAX_CONNECTIONS,
                connections => connections,
            },
            max_connections_per_address: self.number("max.connections.per.ip")?,
            max_frame_bytes: self.number("socket.request.max.bytes")?,
            max_inflight_requests: self.number("connection.max.inflight.requests")?,
            max_inflight_request_bytes: self.number("queued.max.request.bytes")?,
            max_queued_reply_bytes: self.number("connection.max.queued.reply.bytes")?,
            max_idle: self.millis("connections.max.idle.ms")?,
            max_frame_time: self.millis("socket.frame.timeout.ms")?,
            max_write_stall: self.millis("socket.write.timeout.ms")?,
            half_closed_grace: HALF_CLOSED_GRACE,
        };
        let frame = usize::try_from(limits.max_frame_bytes).unwrap_or(usize::MAX);
        if limits.max_inflight_request_bytes < frame {
            return Err(Failure::new(
                Code::BadValue,
                format!(
                    "queued.max.request.bytes is {}, less than the greatest single request \
                     (socket.request.max.bytes, {frame}). Raise the first or lower the second",
                    limits.max_inflight_request_bytes
                ),
            ));
        }
        Ok(limits)
    }

    fn broker(
        &self,
        node: NodeId,
        rack: Option<String>,
        cluster: &Cluster,
    ) -> Result<BrokerConfig, Failure> {
        Ok(BrokerConfig {
            node,
            cluster_id: String::new(),
            rack,
            advertised: Advertised {
                host: String::new(),
                port: 0,
            },
            topic_defaults: self.topic_defaults()?,
            limits: plimsoll_controller::Limits {
                default_partitions: self.number("num.partitions")?,
                default_replication: match self.optional("default.replication.factor") {
                    Some(_) => self.number("default.replication.factor")?,
                    None => cluster.default_replication(),
                },
                max_partitions_per_node: self.number("max.partitions.per.node")?,
            },
            auto_create_topics: self.flag("auto.create.topics.enable")?,
            fetch_max_bytes: self.number("fetch.max.bytes")?,
            max_decompressed_bytes: self.number("message.max.decompressed.bytes")?,
            groups: GroupConfig {
                offsets_partitions: self.number("offsets.topic.num.partitions")?,
                initial_rebalance_delay: self.millis("group.initial.rebalance.delay.ms")?,
                min_session_timeout: self.millis("group.min.session.timeout.ms")?,
                max_session_timeout: self.millis("group.max.session.timeout.ms")?,
                max_members: self.number("group.max.size")?,
                max_offset_metadata_bytes: self.number("offset.metadata.max.bytes")?,
                offsets_retention: Duration::from_secs(
                    60 * self.number::<u64>("offsets.retention.minutes")?,
                ),
            },
            producer_id_expiration: self.millis("producer.id.expiration.ms")?,
            max_open_segments: 0,
            disk_reserve_bytes: self.number("disk.reserve.bytes")?,
            scrub_bytes_per_second: self.number("scrub.max.bytes.per.second")?,
            scrub_interval: self.millis("scrub.interval.ms")?,
            cluster: self.timing()?,
            flush_threads: self.number("num.flush.threads")?,
            recovery_threads: self.threads("num.recovery.threads.per.data.dir", 2)?,
            settings: self.settings(),
        })
    }

    fn topic_defaults(&self) -> Result<NodeDefaults, Failure> {
        let set: Vec<(&str, String)> = topic_keys::KEYS
            .iter()
            .filter(|key| key.per_node)
            .map(|key| (key.node_name, self.layers.get(key.node_name)))
            .filter(|(_, setting)| setting.origin != Origin::Default)
            .map(|(name, setting)| (name, setting.value))
            .collect();
        NodeDefaults::new(set.iter().map(|(name, value)| (*name, value.as_str())))
            .map_err(|fault| Failure::new(Code::BadValue, fault.to_string()))
    }

    /// The node's own keys as clients are shown them; topic defaults have a table of their own.
    fn settings(&self) -> Vec<plimsoll_broker::Setting> {
        let show = |key: &keys::Key| {
            let Setting { value, origin } = self.layers.get(key.name);
            plimsoll_broker::Setting {
                name: key.name.to_owned(),
                value,
                is_default: origin == Origin::Default,
                documentation: key.meaning.to_owned(),
            }
        };
        keys::KEYS.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(set: &[(&str, &str)]) -> Result<Config, Failure> {
        let mut layers = Layers::default();
        for (name, value) in set {
            layers.set(
                name,
                value,
                Origin::Flag {
                    flag: "--set".to_owned(),
                },
            )?;
        }
        Config::new(&layers)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = config(&[]).expect("defaults go together");
        assert_eq!(config.kafka_listen.to_string(), "127.0.0.1:9092");
        assert!(config.threads.network >= 1);
        assert!(
            config
                .broker
                .settings
                .iter()
                .all(|setting| setting.is_default)
        );
    }

    #[test]
    fn topic_defaults_are_taken_and_checked() {
        let config = config(&[("log.retention.ms", "5")]).expect("legal");
        let expected = NodeDefaults::new([("log.retention.ms", "5")]).expect("legal");
        assert_eq!(config.broker.topic_defaults, expected);
        let failure = self::config(&[("log.cleanup.policy", "burn")]).expect_err("not a policy");
        assert!(failure.message.contains("burn"), "{failure}");
    }

    #[test]
    fn requests_greater_than_the_memory_for_all_are_refused() {
        let set = [("queued.max.request.bytes", "1048576")];
        let failure = config(&set).expect_err("less than one request");
        assert!(
            failure.message.contains("socket.request.max.bytes"),
            "{failure}"
        );
    }
}
