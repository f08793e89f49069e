//! What each Kafka request means on this node.
//!
//! [`Broker::answer`] turns a frame into an answer: `wire` decodes it, a file of `api` decides,
//! `wire` encodes. Below it the broker keeps the metadata image and its log, hosts the partitions
//! that the image gives to this node, and runs the consumer groups.
//!
//! What always holds:
//! - X1: a produce request is answered with success only when the watermark that its `acks` and
//!   the topic's durability ask for has passed its last record.
//! - X2: a consumer is never given a record at or above the high watermark.
//! - X3: every API and version that is advertised is honoured, and no other.
//!
//! Async without a runtime: it awaits watermarks, deadlines ([`Clock`]) and blocking work
//! ([`Workers`]), and owns no thread but the flushers and the metadata log's. Not here: sockets,
//! the clock itself, formats on the wire or on disk.

mod answer;
mod api;
mod broker;
mod catalog;
mod clock;
mod cluster;
mod config;
mod connection;
mod context;
mod counters;
mod deadline;
mod disk_space;
mod error_code;
mod groups;
mod hosting;
mod maintenance;
mod metadata;

pub use answer::{Answer, CloseReason};
pub use broker::{Broker, StartError};
pub use catalog::{Catalog, Hosted, HostedTopic, Leadership, LookupError, TopicPolicy};
pub use clock::{Clock, Machine, Workers};
pub use cluster::{Membership, Part, PeerError, Peers, Trust};
pub use config::{Advertised, BrokerConfig, ClusterConfig, GroupConfig, Setting};
pub use connection::{Connection, Software};
pub use counters::{ApiCounters, Counters, LATENCY_BOUNDS_US, Latencies};
pub use disk_space::{DiskSpace, disk_space};
pub use groups::{
    CommittedOffset, DescribedGroup, DescribedMember, GroupError, GroupService, GroupState,
    GroupStats, ListFilter, ListedGroup,
};
pub use hosting::{Device, RecoveryProgress, ScrubRound};
pub use maintenance::Maintained;
pub use metadata::{ChangeError, CodecError, MetadataError, MetadataLog};
pub use plimsoll_segment_log::{DataDir, DataDirError, NodeIdentity};
