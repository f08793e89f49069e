//! What can happen to a coordinator: requests with their defaults resolved, writes that ended, and
//! time that passed.

use crate::{Blob, Text, WriteError, WriteId};
use plimsoll_types::{LeaderEpoch, Monotonic, Timestamp, TopicName};
use std::time::Duration;

/// The time of an input, by both clocks: one orders and times out, the other is only written down
/// (and decides how old a committed offset is, which must survive restarts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; all timeouts.
    pub monotonic: Monotonic,
    /// Commit timestamps and retention.
    pub wall: Timestamp,
}

/// Whom a reply goes to. Chosen by the caller, who uses each value once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// One way to assign that a member offers, in its order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name.
    pub name: Text,
    /// What the member tells the assignor.
    pub metadata: Blob,
    /// The topics in `metadata`, where the caller could read them (protocol type `consumer`).
    pub topics: Option<Vec<Text>>,
}

/// A wish to be a member in the next generation.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group.
    pub group: Text,
    /// The member id, empty when the member has none yet.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The client's name for itself.
    pub client_id: Text,
    /// Where the client is.
    pub client_host: Text,
    /// How long the member may be silent.
    pub session_timeout: Duration,
    /// How long the member may take to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// The kind of group, `consumer` for consumers.
    pub protocol_type: Text,
    /// What the member can do, best first.
    pub protocols: Vec<Protocol>,
    /// Whether a new dynamic member must join twice, the second time with the id it was given
    /// (KIP-394: JoinGroup v4 and later without instance id).
    pub require_member_id: bool,
    /// Whether the client understands "you lead, but do not assign" (KIP-814: JoinGroup v9).
    pub may_skip_assignment: bool,
    /// Unique text for a new member id; the caller's, since randomness is not had here.
    pub fresh_id: Text,
}

/// A member's question for its assignment; the leader's carries everyone's.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The group.
    pub group: Text,
    /// The member id.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The generation joined.
    pub generation: i32,
    /// The protocol type, if the client tells it (v5 and later).
    pub protocol_type: Option<Text>,
    /// The protocol, if the client tells it (v5 and later).
    pub protocol: Option<Text>,
    /// The leader's decision: member id and assignment.
    pub assignments: Vec<(Text, Blob)>,
}

/// A sign of life.
#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: Text,
    /// The member id.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The generation the member is in.
    pub generation: i32,
}

/// Members that leave, or that an administrator removes.
#[derive(Clone, Debug)]
pub struct LeaveRequest {
    /// The group.
    pub group: Text,
    /// Who leaves.
    pub members: Vec<Leaver>,
}

/// One of those that leave.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// The member id; empty to remove by instance id alone.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
}

/// Positions to keep for a group.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The group.
    pub group: Text,
    /// The member id, empty for a consumer outside group membership.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The generation the member is in, negative outside group membership.
    pub generation: i32,
    /// How long to keep the offsets, where an old client says so itself (v2 to v4).
    pub retention: Option<Duration>,
    /// The positions. Their topics exist: the caller has sorted out others.
    pub offsets: Vec<OffsetToCommit>,
}

/// One position to keep.
#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: u32,
    /// The next offset to read. Clients may keep marks of their own below zero (KafkaJS commits -2
    /// for "from the start"); those are kept as they are.
    pub offset: i64,
    /// The leader epoch of the last record read, where known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's note.
    pub metadata: Text,
}

/// Positions to forget.
#[derive(Clone, Debug)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group: Text,
    /// Topics and partitions.
    pub offsets: Vec<(TopicName, u32)>,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// JoinGroup came.
    Join {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: JoinRequest,
    },
    /// SyncGroup came.
    Sync {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: SyncRequest,
    },
    /// Heartbeat came.
    Heartbeat {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: HeartbeatRequest,
    },
    /// LeaveGroup came.
    Leave {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: LeaveRequest,
    },
    /// OffsetCommit came.
    Commit {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: CommitRequest,
    },
    /// OffsetDelete came.
    DeleteOffsets {
        /// Who asks.
        reply: ReplyTo,
        /// What for.
        request: OffsetDeleteRequest,
    },
    /// DeleteGroups came and named this group.
    DeleteGroup {
        /// Who asks.
        reply: ReplyTo,
        /// The group.
        group: Text,
    },
    /// A write ended. The results come in the order of the writes, as a log's end grows.
    Written {
        /// Which.
        write: WriteId,
        /// How.
        result: Result<(), WriteError>,
    },
    /// Topics were deleted: what was committed for them goes.
    TopicsDeleted {
        /// Which.
        topics: Vec<TopicName>,
    },
    /// Time passed.
    Tick,
    /// The partition is no longer this node's: everyone who waits is told so, and all is forgotten.
    Unloaded,
}
