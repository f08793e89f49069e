//! Every configuration key: name, default, meaning.
//!
//! Kafka's names where the meaning is Kafka's. The defaults are here and nowhere else, each with
//! its reason where it is not Kafka's. Topic defaults (`log.retention.ms` and the like) are not
//! repeated: their table is `plimsoll_controller::config::keys`, and [`find`] looks there too.

use plimsoll_controller::config::keys as topic_keys;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number within these bounds, both included.
    Number {
        /// The least legal value.
        min: i64,
        /// The greatest legal value.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// `HOST:PORT`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A topic's default; its value is checked with all of them.
    TopicDefault,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its dotted name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when nobody sets it; empty where that depends on the machine, which `meaning`
    /// then says.
    pub default: &'static str,
    /// One or two sentences.
    pub meaning: &'static str,
}

/// The key `name`.
#[must_use]
pub fn find(name: &str) -> Option<Key> {
    all().find(|key| key.name == name)
}

/// Every key: the node's own, then the topic defaults that a node may set.
pub fn all() -> impl Iterator<Item = Key> {
    let topic_defaults = topic_keys::KEYS
        .iter()
        .filter(|key| key.per_node)
        .map(|key| Key {
            name: key.node_name,
            kind: Kind::TopicDefault,
            default: key.default,
            meaning: key.documentation,
        });
    KEYS.iter().copied().chain(topic_defaults)
}

/// Keys of Kafka, or of other systems' habits, that are not ours, each with what to do instead.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "advertised.listeners",
        "say kafka.advertise = \"HOST:PORT\"",
    ),
    ("broker.id", "say node.id"),
    (
        "controller.quorum.voters",
        "say cluster.voters = \"1@HOST:PORT,2@HOST:PORT,3@HOST:PORT\"",
    ),
    (
        "durability",
        "set it on a topic: plimsoll topic set TOPIC durability=os",
    ),
    ("flush.messages", "set durability on a topic instead"),
    ("flush.ms", "set durability on a topic instead"),
    ("listeners", "say kafka.listen = \"HOST:PORT\""),
    ("log.dir", "say data.dir"),
    ("log.dirs", "say data.dir; a node has one"),
    (
        "log.durability",
        "set durability on a topic: plimsoll topic set TOPIC durability=os",
    ),
    (
        "log.flush.interval.messages",
        "set durability on a topic instead",
    ),
    ("log.flush.interval.ms", "set durability on a topic instead"),
    ("log.retention.hours", "say log.retention.ms"),
    ("log.retention.minutes", "say log.retention.ms"),
    ("log.roll.hours", "say log.roll.ms"),
    (
        "max.connections",
        "say max.connections.per.node; in TOML the other name is a table",
    ),
    (
        "min.insync.replicas",
        "set it on a topic; it must not differ between nodes",
    ),
    ("process.roles", "leave it out; every node does everything"),
    ("zookeeper.connect", "leave it out; there is no ZooKeeper"),
];

const COUNT: i64 = i32::MAX as i64;
const POSITIVE: Kind = Kind::Number { min: 1, max: COUNT };
const MILLIS: Kind = Kind::Number {
    min: 1,
    max: i64::MAX,
};
const MILLIS_OR_ZERO: Kind = Kind::Number {
    min: 0,
    max: i64::MAX,
};
const BYTES: Kind = Kind::Number {
    min: 1024,
    max: COUNT,
};
const BUFFER: Kind = Kind::Number {
    min: -1,
    max: COUNT,
};
const THREADS: Kind = Kind::Number { min: 1, max: 1024 };

macro_rules! keys {
    ($($name:literal $kind:expr, $default:literal, $meaning:literal;)*) => {
        /// The node's own keys, by subject.
        pub const KEYS: &[Key] = &[$(
            Key { name: $name, kind: $kind, default: $default, meaning: $meaning },
        )*];
    };
}

keys! {
    "node.id" Kind::Number { min: 0, max: COUNT }, "1",
        "This node's number in the cluster. Fixed once the data directory exists.";
    "data.dir" Kind::Text, "./data",
        "Where everything durable lives. Locked while a node runs on it.";
    "broker.rack" Kind::Text, "",
        "This node's failure zone, as clients are told. None unless set.";

    "cluster.voters" Kind::Text, "",
        "The nodes that form the cluster and keep its metadata, each as ID@HOST:PORT of its peer \
         port, separated by commas; the same on all of them. Without it, and without \
         cluster.join, a node is a cluster of its own.";
    "cluster.join" Kind::Text, "",
        "Peer addresses of nodes of a cluster that this node joins, separated by commas. Of no \
         effect once it has joined.";

    "broker.heartbeat.interval.ms" Kind::Number { min: 50, max: 1000 }, "500",
        "Milliseconds between two signs of life that this node gives the active controller. At \
         most a second, because a node trusts itself for 1.8 seconds after one that was answered.";
    "broker.session.timeout.ms" Kind::Number { min: 3000, max: 600_000 }, "3000",
        "Milliseconds of silence after which the active controller fences a node. A process that \
         is gone is fenced at once all the same. No shorter than 3000, by which every node stops \
         trusting itself.";
    "controller.quorum.heartbeat.interval.ms" Kind::Number { min: 10, max: 10_000 }, "100",
        "Milliseconds between two signs of life of the metadata quorum's leader.";
    "controller.quorum.election.timeout.ms" Kind::Number { min: 100, max: 60_000 }, "500",
        "Milliseconds of the leader's silence after which a voter may stand for election; each \
         draws between this and half as much again. The same on all voters; at least three \
         heartbeats, and more over slow networks.";

    "replica.lag.time.max.ms" Kind::Number { min: 1000, max: 3_600_000 }, "10000",
        "Milliseconds for which a replica may lack something that its leader has before it leaves \
         those in sync.";
    "replica.commit.stall.ms" Kind::Number { min: 100, max: 600_000 }, "1000",
        "Milliseconds for which one replica may hold back what enough others have before it leaves \
         those in sync: how long writes with acks=all stand still when a follower hangs.";
    "replica.stream.stall.ms" Kind::Number { min: 500, max: 600_000 }, "2000",
        "Milliseconds without progress, though there is something to send, after which a follower's \
         stream is begun anew.";
    "replica.catch.up.max.bytes.per.second" Kind::Number { min: 1 << 20, max: i64::MAX }, "268435456",
        "Bytes a second that this node sends to each node whose replicas are not in sync. Those in \
         sync are not held to it.";

    "kafka.listen" Kind::Address, "127.0.0.1:9092",
        "Where Kafka clients connect. Port 0 takes a free one. Loopback by default, because \
         nothing authenticates clients yet.";
    "kafka.advertise" Kind::Address, "",
        "The address clients are told to come back to. By default the one listened on, or this \
         machine's host name when that is all interfaces.";
    "peer.listen" Kind::Address, "127.0.0.1:9093",
        "Where other nodes connect. By default this node's own address among cluster.voters. \
         Whoever reaches this port is trusted.";
    "peer.advertise" Kind::Address, "",
        "The address other nodes are told to come back to. By default this node's own among \
         cluster.voters, or the one listened on.";
    "http.listen" Kind::Address, "127.0.0.1:9644",
        "Where health, metrics and the admin API are served. Loopback by default, because \
         nothing authenticates callers yet.";

    "max.connections.per.node" Kind::Number { min: 0, max: COUNT }, "0",
        "Most client connections at once; further ones are closed at once. 0 for 10000, or half \
         of what the process's file limit leaves, whichever is less.";
    "max.connections.per.ip" POSITIVE, "5000",
        "Most client connections at once from one address.";
    "connections.max.idle.ms" MILLIS, "600000",
        "Time without a request after which a connection is closed.";
    "socket.request.max.bytes" Kind::Number { min: 1024, max: COUNT - 4 }, "104857600",
        "The greatest request that is read.";
    "socket.frame.timeout.ms" MILLIS, "30000",
        "Time in which a request must arrive whole, with a second more for every 64 KiB of it \
         that did.";
    "socket.write.timeout.ms" MILLIS, "600000",
        "Time for which a client may leave its replies unread. As long as the idle limit, because \
         a consumer that works on its records for minutes does not read meanwhile.";
    "socket.send.buffer.bytes" BUFFER, "-1",
        "The kernel's send buffer of a connection; -1 lets the kernel tune it.";
    "socket.receive.buffer.bytes" BUFFER, "-1",
        "The kernel's receive buffer of a connection; -1 lets the kernel tune it.";
    "socket.listen.backlog.size" POSITIVE, "1024",
        "Connections that may wait to be accepted. Above Kafka's 50, so that a restart's \
         reconnecting clients are not turned away.";
    "queued.max.request.bytes" Kind::Number { min: 1 << 20, max: i64::MAX }, "268435456",
        "Memory for requests of all connections that are being read or answered; above it, \
         reading pauses.";
    "connection.max.inflight.requests" POSITIVE, "64",
        "Requests of one connection that may be under way; above it, reading from it pauses.";
    "connection.max.queued.reply.bytes" BYTES, "1048576",
        "Reply bytes of one connection that may wait for its socket before its next request is \
         started.";

    "num.network.threads" Kind::Number { min: 0, max: 1024 }, "0",
        "Threads that serve connections; 0 for one a core.";
    "num.io.threads" THREADS, "16",
        "Threads for work that may wait for the disk.";
    "num.flush.threads" THREADS, "16",
        "Threads that sync logs to the disk: more of them make more partitions durable at once.";
    "num.recovery.threads.per.data.dir" Kind::Number { min: 0, max: 1024 }, "0",
        "Threads that open logs at a start; 0 for two a core.";

    "auto.create.topics.enable" Kind::Flag, "true",
        "Whether asking for a topic that does not exist creates it.";
    "num.partitions" POSITIVE, "1",
        "Partitions of a topic whose creator does not say how many.";
    "default.replication.factor" Kind::Number { min: 1, max: 32767 }, "",
        "Replicas of a partition whose creator does not say how many. By default as many as there \
         are voters, at most 3; and 3 on a node that joined.";
    "max.partitions.per.node" POSITIVE, "20000",
        "Most partitions on one node.";
    "fetch.max.bytes" BYTES, "57671680",
        "Most record bytes of one fetch reply, a single large batch aside.";
    "message.max.decompressed.bytes" BYTES, "134217728",
        "What a compressed batch may unfold to when it is checked; a batch that claims more is \
         refused.";
    "producer.id.expiration.ms" MILLIS, "86400000",
        "How long an idempotent producer is remembered after its last batch.";

    "group.initial.rebalance.delay.ms" MILLIS_OR_ZERO, "3000",
        "How long a new group waits for more members before its first assignment.";
    "group.min.session.timeout.ms" MILLIS, "6000",
        "Shortest session timeout that a group member may ask for.";
    "group.max.session.timeout.ms" MILLIS, "1800000",
        "Longest session timeout that a group member may ask for.";
    "group.max.size" POSITIVE, "5000",
        "Most members of one group. Bounded, unlike Kafka's, because every join of a member costs \
         what all members cost.";
    "offset.metadata.max.bytes" Kind::Number { min: 0, max: 1 << 20 }, "4096",
        "Longest text a consumer may commit beside an offset.";
    "offsets.topic.num.partitions" POSITIVE, "50",
        "Partitions of the internal topic that keeps committed offsets. Fixed once it exists.";
    "offsets.retention.minutes" POSITIVE, "10080",
        "How long a group without members keeps its offsets.";

    "disk.reserve.bytes" Kind::Number { min: 0, max: i64::MAX }, "268435456",
        "Room on the data directory's volume that is kept for metadata, checkpoints and committed \
         offsets. With less left a node takes no records and leads nothing, until there is twice as \
         much.";
    "scrub.max.bytes.per.second" Kind::Number { min: 0, max: i64::MAX }, "4194304",
        "What is read in the background, a second at most, to see whether logs still are what was \
         written: a terabyte takes three days. 0 for none.";
    "scrub.interval.ms" MILLIS_OR_ZERO, "3600000",
        "Time between the ends of two rounds of that.";
    "log.retention.check.interval.ms" MILLIS, "60000",
        "How often old segments are looked for, and recovery points written, so that a start \
         after a crash reads little. Kafka looks every five minutes.";
    "log.cleaner.backoff.ms" MILLIS, "15000",
        "How often logs to compact are looked for.";
    "shutdown.grace.ms" MILLIS_OR_ZERO, "5000",
        "How long requests under way may take to finish once the node was told to stop.";

    "logging.level" Kind::Text, "info",
        "What is logged: error, warn, info, debug or trace; or filters such as \
         \"info,plimsoll_server=debug\". Read again on SIGHUP.";
    "logging.format" Kind::Choice(&["auto", "text", "json"]), "auto",
        "How it is logged; \"auto\" is text on a terminal and JSON elsewhere.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_given_once_and_none_is_a_table_of_another() {
        let names: BTreeSet<_> = all().map(|key| key.name).collect();
        assert_eq!(names.len(), all().count());
        for name in &names {
            let table = format!("{name}.");
            assert!(
                !names.iter().any(|other| other.starts_with(&table)),
                "{name} is a table too"
            );
        }
    }

    #[test]
    fn names_can_be_written_as_environment_variables() {
        assert!(all().all(|key| key.name.chars().all(|c| c.is_ascii_lowercase() || c == '.')));
    }

    #[test]
    fn what_is_elsewhere_is_not_here() {
        for (name, _) in ELSEWHERE {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn defaults_are_legal() {
        for key in all().filter(|key| !key.default.is_empty()) {
            assert_eq!(key.kind.check(key.default), Ok(()), "{}", key.name);
        }
    }
}
