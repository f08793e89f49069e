//! What is kept in the log: the same values are written and, after a restart, loaded.

use crate::{Blob, Text};
use plimsoll_types::{LeaderEpoch, Timestamp, TopicName};
use std::time::Duration;

/// One record of the compacted offsets topic. A later one with the same key replaces it; one
/// without value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecord {
    /// A group's members and their assignment. Key: the group.
    Group {
        /// The group.
        group: Text,
        /// Its state, none once deleted.
        value: Option<GroupSnapshot>,
    },
    /// A committed offset. Key: group, topic and partition.
    Offset {
        /// The group.
        group: Text,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// The position, none once deleted.
        value: Option<CommittedOffset>,
    },
}

/// A generation of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// The kind of group; none for one that only keeps offsets.
    pub protocol_type: Option<Text>,
    /// The generation.
    pub generation: i32,
    /// The protocol the members agreed on; none without members.
    pub protocol: Option<Text>,
    /// The leader's member id; none without members.
    pub leader: Option<Text>,
    /// When the group came into its state, where known.
    pub state_since: Option<Timestamp>,
    /// The members, in the order of their ids.
    pub members: Vec<MemberSnapshot>,
}

/// A member and its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSnapshot {
    /// The member id.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The client's name for itself.
    pub client_id: Text,
    /// Where the client was.
    pub client_host: Text,
    /// How long the member may take to join again.
    pub rebalance_timeout: Duration,
    /// How long the member may be silent.
    pub session_timeout: Duration,
    /// What the member told the assignor, for the protocol agreed on.
    pub subscription: Blob,
    /// The topics in `subscription`, where the loader could read them. Not itself kept: written
    /// records need not carry it on.
    pub topics: Option<Vec<Text>>,
    /// What the member was assigned.
    pub assignment: Blob,
}

/// A position a group keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read, or a client's own mark below zero.
    pub offset: i64,
    /// The leader epoch of the last record read, where known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's note.
    pub metadata: Text,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it ends, where an old client asked for that itself.
    pub expires_at: Option<Timestamp>,
}
