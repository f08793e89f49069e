//! What holds for a topic, and where it comes from.

use super::keys::{self, KEYS, TopicKey};
use super::value::canonical;
use crate::image::{Image, Topic};
use crate::record::ConfigResource;
use crate::refusal::ConfigFault;
use crate::rules::is_internal;
use plimsoll_types::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node's defaults for topics, from its own configuration file; checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeDefaults(BTreeMap<&'static str, String>);

impl NodeDefaults {
    /// Takes defaults by node-level name (`log.retention.ms`).
    ///
    /// # Errors
    /// A name that is none, a value that is not legal, or a key that must be the same on every
    /// node and therefore cannot come from one node's file.
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigFault> {
        let mut defaults = BTreeMap::new();
        for (name, value) in values {
            let key = keys::node_key(name).ok_or_else(|| ConfigFault::Unknown {
                scope: "broker",
                key: name.to_owned(),
                suggestion: keys::topic_key(name).map(|key| key.node_name),
            })?;
            if !key.per_node {
                let key = name.to_owned();
                return Err(ConfigFault::ClusterWide { key });
            }
            defaults.insert(key.name, canonical(name, key.kind, value)?);
        }
        Ok(Self(defaults))
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Set on the node at run time.
    DynamicNode,
    /// Set on every node at run time.
    DynamicEveryNode,
    /// In the node's configuration file.
    StaticNode,
    /// Built in.
    Default,
}

impl Source {
    /// The source's code in Kafka's DescribeConfigs answers.
    #[must_use]
    pub const fn wire_code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicNode => 2,
            Self::DynamicEveryNode => 3,
            Self::StaticNode => 4,
            Self::Default => 5,
        }
    }
}

/// One of the places where a key has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym<'a> {
    /// The key's name at that place.
    pub name: &'static str,
    /// Its value there.
    pub value: &'a str,
    /// The place.
    pub source: Source,
}

/// A key with the value that holds and all that it could have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'static TopicKey,
    /// Every value there is, the one that holds first; never empty.
    pub synonyms: Vec<Synonym<'a>>,
}

impl<'a> Entry<'a> {
    /// The value that holds.
    #[must_use]
    pub fn value(&self) -> &'a str {
        self.synonyms.first().map_or(self.key.default, |s| s.value)
    }

    /// Where the value that holds comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.synonyms.first().map_or(Source::Default, |s| s.source)
    }
}

/// What holds for `key` on `node`: for `topic`, or for topics without a value of their own.
#[must_use]
pub fn entry<'a>(
    key: &'static TopicKey,
    image: &'a Image,
    defaults: &'a NodeDefaults,
    node: NodeId,
    topic: Option<&'a Topic>,
) -> Entry<'a> {
    let dynamic = |resource| image.configs(&resource)?.get(key.node_name);
    let places = [
        (
            Source::Topic,
            key.name,
            topic.and_then(|t| t.configs.get(key.name)),
        ),
        (
            Source::DynamicNode,
            key.node_name,
            dynamic(ConfigResource::Node(node)),
        ),
        (
            Source::DynamicEveryNode,
            key.node_name,
            dynamic(ConfigResource::EveryNode),
        ),
        (Source::StaticNode, key.node_name, defaults.0.get(key.name)),
    ];
    let set = places.into_iter().filter_map(|(source, name, value)| {
        let value = value?.as_str();
        Some(Synonym {
            name,
            value,
            source,
        })
    });
    let built_in = Synonym {
        name: key.node_name,
        value: key.default,
        source: Source::Default,
    };
    Entry {
        key,
        synonyms: set.chain(std::iter::once(built_in)).collect(),
    }
}

/// [`entry`] for every key, by name.
pub fn entries<'a>(
    image: &'a Image,
    defaults: &'a NodeDefaults,
    node: NodeId,
    topic: Option<&'a Topic>,
) -> impl Iterator<Item = Entry<'a>> {
    KEYS.iter()
        .map(move |key| entry(key, image, defaults, node, topic))
}

/// When a replica counts a record as held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is synced.
    Fsync,
    /// Once the operating system has it.
    Os,
}

/// What happens when no replica is left that is known to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UncleanRecovery {
    /// Nothing, until a person decides.
    None,
    /// The best of those that last were complete leads, once all of them were asked.
    Balanced,
    /// The best of those that answer leads.
    Proactive,
}

/// What happens when no replica of `topic` is left that is known to be complete. Where
/// `unclean.recovery.strategy` has no value, Kafka's `unclean.leader.election.enable` decides.
#[must_use]
pub fn unclean_recovery(image: &Image, topic: Option<&Topic>) -> UncleanRecovery {
    let everywhere = image.configs(&ConfigResource::EveryNode);
    let places = [topic.map(|topic| &topic.configs), everywhere];
    for configs in places.into_iter().flatten() {
        let text = |key: &str| configs.get(key).map(String::as_str);
        let enable = text("unclean.leader.election.enable");
        match (text("unclean.recovery.strategy"), enable) {
            (Some("balanced"), _) => return UncleanRecovery::Balanced,
            (Some("proactive"), _) | (None, Some("true")) => return UncleanRecovery::Proactive,
            (Some(_), _) | (None, Some(_)) => return UncleanRecovery::None,
            (None, None) => {}
        }
    }
    UncleanRecovery::None
}

/// When a replica of `topic` counts a record as held; always once it is synced where the cluster
/// keeps its own state.
#[must_use]
pub fn durability(image: &Image, topic: Option<&Topic>) -> Durability {
    let internal = topic.is_some_and(|topic| is_internal(topic.name.as_str()));
    match image.cluster_config("durability", topic) {
        "os" if !internal => Durability::Os,
        _ => Durability::Fsync,
    }
}

/// What happens to old segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// They are dropped by age and size.
    pub delete: bool,
    /// They are rewritten with the last record of each key.
    pub compact: bool,
}

/// How batches are compressed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicCompression {
    /// As they came.
    Producer,
    /// Not at all.
    Uncompressed,
    /// By gzip.
    Gzip,
    /// By snappy.
    Snappy,
    /// By lz4.
    Lz4,
    /// By zstd.
    Zstd,
}

/// Whose time a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The producer's, no further from the node's clock than this.
    CreateTime {
        /// How far behind; `None` for any.
        before_max: Option<Duration>,
        /// How far ahead; `None` for any.
        after_max: Option<Duration>,
    },
    /// The leader's, at its arrival.
    LogAppendTime,
}

/// Every config of a topic, typed; what [`resolve`] makes.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `commit.stall.ms`.
    pub commit_stall: Duration,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `delete.retention.ms`.
    pub delete_retention: Duration,
    /// `durability`.
    pub durability: Durability,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`; `None` for no bound.
    pub max_compaction_lag: Option<Duration>,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `message.timestamp.type` with `before.max.ms` and `after.max.ms`.
    pub timestamps: TimestampSource,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag: Duration,
    /// `min.insync.replicas`, at least one.
    pub min_insync_replicas: u32,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_max: Duration,
    /// `retention.bytes`; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` for no limit.
    pub retention: Option<Duration>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`; `None` for no bound.
    pub segment_age: Option<Duration>,
    /// `unclean.recovery.strategy`, or what `unclean.leader.election.enable` makes of it.
    pub unclean_recovery: UncleanRecovery,
}

/// The configs that hold for `topic` on `node`, or for a topic without any of its own.
#[must_use]
pub fn resolve(
    image: &Image,
    defaults: &NodeDefaults,
    node: NodeId,
    topic: Option<&Topic>,
) -> TopicConfig {
    let text = |name: &str| {
        let key = keys::topic_key(name).expect("resolve names keys of the table");
        entry(key, image, defaults, node, topic).value()
    };
    let int = |name| u32::try_from(long(text(name))).unwrap_or(0);
    let cleanup = text("cleanup.policy");
    TopicConfig {
        cleanup: Cleanup {
            delete: cleanup.contains("delete"),
            compact: cleanup.contains("compact"),
        },
        commit_stall: millis(text("commit.stall.ms")),
        compression: compression(text("compression.type")),
        delete_retention: millis(text("delete.retention.ms")),
        durability: durability(image, topic),
        index_interval_bytes: int("index.interval.bytes"),
        max_compaction_lag: bounded_millis(text("max.compaction.lag.ms")),
        max_message_bytes: int("max.message.bytes"),
        timestamps: match text("message.timestamp.type") {
            "LogAppendTime" => TimestampSource::LogAppendTime,
            _ => TimestampSource::CreateTime {
                before_max: bounded_millis(text("message.timestamp.before.max.ms")),
                after_max: bounded_millis(text("message.timestamp.after.max.ms")),
            },
        },
        min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
        min_compaction_lag: millis(text("min.compaction.lag.ms")),
        min_insync_replicas: int("min.insync.replicas").max(1),
        replica_lag_max: millis(text("replica.lag.time.max.ms")),
        retention_bytes: u64::try_from(long(text("retention.bytes"))).ok(),
        retention: bounded_millis(text("retention.ms")),
        segment_bytes: int("segment.bytes"),
        segment_age: bounded_millis(text("segment.ms")),
        unclean_recovery: unclean_recovery(image, topic),
    }
}

fn compression(text: &str) -> TopicCompression {
    match text {
        "uncompressed" => TopicCompression::Uncompressed,
        "gzip" => TopicCompression::Gzip,
        "snappy" => TopicCompression::Snappy,
        "lz4" => TopicCompression::Lz4,
        "zstd" => TopicCompression::Zstd,
        _ => TopicCompression::Producer,
    }
}

/// A stored number. Every stored value was checked on its way in; one that is none after all
/// reads as "no limit".
fn long(text: &str) -> i64 {
    text.parse().unwrap_or(-1)
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(u64::try_from(long(text)).unwrap_or(0))
}

/// -1 and the greatest number both mean that there is no bound.
fn bounded_millis(text: &str) -> Option<Duration> {
    let millis = u64::try_from(long(text)).ok()?;
    (millis < i64::MAX.unsigned_abs()).then(|| Duration::from_millis(millis))
}
