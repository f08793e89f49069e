//! The table of topic config keys.
//!
//! Names, meanings, defaults and node-level synonyms are Kafka's where Kafka has the key, so that
//! what an operator knows stays true.

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number within these bounds, both included, in 32 bits.
    Int {
        /// The least legal value.
        min: i32,
        /// The greatest legal value.
        max: i32,
    },
    /// A whole number within these bounds, both included, in 64 bits.
    Long {
        /// The least legal value.
        min: i64,
        /// The greatest legal value.
        max: i64,
    },
    /// A fraction from 0 to 1, both included.
    Ratio,
    /// `true` or `false`.
    Truth,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A non-empty comma-separated list of these words.
    List(&'static [&'static str]),
}

impl Kind {
    /// The kind's code in Kafka's DescribeConfigs answers.
    #[must_use]
    pub const fn wire_code(self) -> i8 {
        match self {
            Self::Truth => 1,
            Self::Choice(_) => 2,
            Self::Int { .. } => 3,
            Self::Long { .. } => 5,
            Self::Ratio => 6,
            Self::List(_) => 7,
        }
    }
}

/// One config that a topic can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicKey {
    /// Its name on a topic.
    pub name: &'static str,
    /// Its name as a node's default for all topics.
    pub node_name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when nobody says anything.
    pub default: &'static str,
    /// Whether one node may differ from another. What counts as committed must not.
    pub per_node: bool,
    /// One or two sentences for DescribeConfigs and `plimsoll config explain`.
    pub documentation: &'static str,
}

/// The key `name` of a topic.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    let at = KEYS.binary_search_by_key(&name, |key| key.name).ok()?;
    KEYS.get(at)
}

/// The topic key whose node-wide default is called `name`.
#[must_use]
pub fn node_key(name: &str) -> Option<&'static TopicKey> {
    KEYS.iter().find(|key| key.node_name == name)
}

const MILLIS: Kind = Kind::Long {
    min: 0,
    max: i64::MAX,
};

/// Every topic config key, by name.
pub const KEYS: &[TopicKey] = &[
    TopicKey {
        name: "cleanup.policy",
        node_name: "log.cleanup.policy",
        kind: Kind::List(&["compact", "delete"]),
        default: "delete",
        per_node: true,
        documentation: "What happens to old segments: \"delete\" drops them by retention.ms and \
            retention.bytes, \"compact\" keeps the last record of each key; both may be given.",
    },
    TopicKey {
        name: "commit.stall.ms",
        node_name: "commit.stall.ms",
        kind: Kind::Long {
            min: 100,
            max: i64::MAX,
        },
        default: "1000",
        per_node: false,
        documentation: "How long one in-sync replica alone may hold back what is committed before \
            it leaves the ISR, as long as enough others stay in it.",
    },
    TopicKey {
        name: "compression.type",
        node_name: "compression.type",
        kind: Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        default: "producer",
        per_node: true,
        documentation: "How batches are compressed in the log: by the named codec, not at all \
            (\"uncompressed\"), or as the producer sent them (\"producer\").",
    },
    TopicKey {
        name: "delete.retention.ms",
        node_name: "log.cleaner.delete.retention.ms",
        kind: MILLIS,
        default: "86400000",
        per_node: true,
        documentation: "How long a compacted topic keeps the tombstone of a deleted key, so that \
            a consumer that reads from the start sees the deletion.",
    },
    TopicKey {
        name: "durability",
        node_name: "log.durability",
        kind: Kind::Choice(&["fsync", "os"]),
        default: "fsync",
        per_node: false,
        documentation: "When a replica counts a record as held: \"fsync\" once it is synced to \
            disk, \"os\" once the operating system has it, which a power cut can undo.",
    },
    TopicKey {
        name: "index.interval.bytes",
        node_name: "log.index.interval.bytes",
        kind: Kind::Int {
            min: 512,
            max: i32::MAX,
        },
        default: "4096",
        per_node: true,
        documentation: "How many bytes of log lie between two entries of its offset index: less \
            is more index and shorter searches.",
    },
    TopicKey {
        name: "max.compaction.lag.ms",
        node_name: "log.cleaner.max.compaction.lag.ms",
        kind: Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        default: "9223372036854775807",
        per_node: true,
        documentation: "The longest that a record of a compacted topic may wait for compaction, \
            however clean the log is.",
    },
    TopicKey {
        name: "max.message.bytes",
        node_name: "message.max.bytes",
        kind: Kind::Int {
            min: 0,
            max: i32::MAX,
        },
        default: "1048588",
        per_node: true,
        documentation: "The largest record batch that is taken, after compression. Lowering it \
            never hides what was taken before.",
    },
    TopicKey {
        name: "message.timestamp.after.max.ms",
        node_name: "log.message.timestamp.after.max.ms",
        kind: MILLIS,
        default: "3600000",
        per_node: true,
        documentation: "How far a record's timestamp may be ahead of this node's clock; only \
            with message.timestamp.type=CreateTime.",
    },
    TopicKey {
        name: "message.timestamp.before.max.ms",
        node_name: "log.message.timestamp.before.max.ms",
        kind: MILLIS,
        default: "9223372036854775807",
        per_node: true,
        documentation: "How far a record's timestamp may be behind this node's clock; only with \
            message.timestamp.type=CreateTime.",
    },
    TopicKey {
        name: "message.timestamp.type",
        node_name: "log.message.timestamp.type",
        kind: Kind::Choice(&["CreateTime", "LogAppendTime"]),
        default: "CreateTime",
        per_node: true,
        documentation: "Whose time a record carries: its producer's (\"CreateTime\") or that of \
            its arrival at the leader (\"LogAppendTime\").",
    },
    TopicKey {
        name: "min.cleanable.dirty.ratio",
        node_name: "log.cleaner.min.cleanable.ratio",
        kind: Kind::Ratio,
        default: "0.5",
        per_node: true,
        documentation: "The share of a compacted log that must be new since the last compaction \
            before it is compacted again.",
    },
    TopicKey {
        name: "min.compaction.lag.ms",
        node_name: "log.cleaner.min.compaction.lag.ms",
        kind: MILLIS,
        default: "0",
        per_node: true,
        documentation: "The shortest that a record of a compacted topic stays uncompacted.",
    },
    TopicKey {
        name: "min.insync.replicas",
        node_name: "min.insync.replicas",
        kind: Kind::Int {
            min: 1,
            max: i32::MAX,
        },
        default: "1",
        per_node: false,
        documentation: "How many in-sync replicas must hold a record before it counts as \
            committed; with fewer in sync, producers with acks=all are refused.",
    },
    TopicKey {
        name: "replica.lag.time.max.ms",
        node_name: "replica.lag.time.max.ms",
        kind: Kind::Long {
            min: 1000,
            max: i64::MAX,
        },
        default: "10000",
        per_node: false,
        documentation: "How long an in-sync replica may go without having caught up with its \
            leader before it leaves the ISR.",
    },
    TopicKey {
        name: "retention.bytes",
        node_name: "log.retention.bytes",
        kind: Kind::Long {
            min: -1,
            max: i64::MAX,
        },
        default: "-1",
        per_node: true,
        documentation: "The size above which a partition drops its oldest segments; -1 for no \
            limit.",
    },
    TopicKey {
        name: "retention.ms",
        node_name: "log.retention.ms",
        kind: Kind::Long {
            min: -1,
            max: i64::MAX,
        },
        default: "604800000",
        per_node: true,
        documentation: "The age above which a partition drops its oldest segments; -1 for no \
            limit.",
    },
    TopicKey {
        name: "segment.bytes",
        node_name: "log.segment.bytes",
        kind: Kind::Int {
            min: MIN_SEGMENT_BYTES,
            max: i32::MAX,
        },
        default: "1073741824",
        per_node: true,
        documentation: "The size at which a partition starts a new segment file. Retention and \
            compaction work on whole segments, never on the one being written.",
    },
    TopicKey {
        name: "segment.ms",
        node_name: "log.roll.ms",
        kind: Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        default: "604800000",
        per_node: true,
        documentation: "The age at which a partition starts a new segment file although the old \
            one is not full.",
    },
    TopicKey {
        name: "unclean.leader.election.enable",
        node_name: "unclean.leader.election.enable",
        kind: Kind::Truth,
        default: "false",
        per_node: false,
        documentation: "Kafka's name for a choice of unclean.recovery.strategy, where that is not \
            set: \"true\" is \"proactive\", \"false\" is \"none\".",
    },
    TopicKey {
        name: "unclean.recovery.strategy",
        node_name: "unclean.recovery.strategy",
        kind: Kind::Choice(&["none", "balanced", "proactive"]),
        default: "none",
        per_node: false,
        documentation: "What happens when no replica is left that is known to be complete: \
            nothing, until a person decides (\"none\"); the best of those that last were complete \
            leads once all of them were asked (\"balanced\"); the best of those that answer leads, \
            at the price of records (\"proactive\").",
    },
];

/// The least `segment.bytes`: a segment's files and mapping must be worth their cost.
const MIN_SEGMENT_BYTES: i32 = 16 * 1024;

/// Topic configs of Kafka that Plimsoll refuses, each with the reason.
pub const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("compression.gzip.level", CODEC_LEVEL),
    ("compression.lz4.level", CODEC_LEVEL),
    ("compression.zstd.level", CODEC_LEVEL),
    (
        "file.delete.delay.ms",
        "a dropped segment's file goes when its last reader does, without a delay",
    ),
    ("flush.messages", FLUSH),
    ("flush.ms", FLUSH),
    (
        "follower.replication.throttled.replicas",
        "there are no replication quotas",
    ),
    (
        "leader.replication.throttled.replicas",
        "there are no replication quotas",
    ),
    ("local.retention.bytes", TIERED),
    ("local.retention.ms", TIERED),
    (
        "message.downconversion.enable",
        "record formats before v2 are neither stored nor served",
    ),
    (
        "message.format.version",
        "every record is stored in format v2",
    ),
    (
        "message.timestamp.difference.max.ms",
        "it is replaced by message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
    (
        "preallocate",
        "segments are always allocated ahead of what is written",
    ),
    ("remote.log.copy.disable", TIERED),
    ("remote.log.delete.on.disable", TIERED),
    ("remote.storage.enable", TIERED),
    (
        "segment.index.bytes",
        "indexes grow as they need to; see index.interval.bytes",
    ),
    (
        "segment.jitter.ms",
        "segments roll by segment.bytes and segment.ms alone",
    ),
];

const CODEC_LEVEL: &str = "codecs run at their default level";
const FLUSH: &str = "when records are synced is said by durability (fsync or os)";
const TIERED: &str = "there is no tiered storage";

#[cfg(test)]
mod tests {
    use super::super::canonical;
    use super::*;

    #[test]
    fn keys_are_sorted_and_their_defaults_legal() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        assert!(NOT_SUPPORTED.is_sorted_by(|a, b| a.0 < b.0));
        for key in KEYS {
            assert_eq!(
                canonical(key.name, key.kind, key.default).as_deref(),
                Ok(key.default)
            );
            assert_eq!(topic_key(key.name), Some(key));
            assert_eq!(node_key(key.node_name), Some(key));
        }
    }

    #[test]
    fn no_key_is_both_honoured_and_refused() {
        assert!(
            NOT_SUPPORTED
                .iter()
                .all(|(name, _)| topic_key(name).is_none())
        );
    }
}
