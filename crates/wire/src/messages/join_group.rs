//! JoinGroup: become a member of a classic group, or join its next generation.

use crate::codec::{Str, message, some};
use bytes::Bytes;

message! {
    /// Joins a group.
    pub struct JoinGroupRequest: 0..=9, flexible 6 {
        /// The group.
        group_id: Str,
        /// After how long without heartbeats the member is dead, in milliseconds.
        session_timeout_ms: i32,
        /// How long members get to join a rebalance, in milliseconds; -1 as `session_timeout_ms`.
        rebalance_timeout_ms: i32 [1..] = -1,
        /// The member, empty for a new one.
        member_id: Str,
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [5..],
        /// The class of protocols, such as "consumer".
        protocol_type: Str,
        /// The protocols the member can follow, most wanted first.
        protocols: Vec<JoinGroupRequestProtocol>,
        /// Why it joins, for a person.
        reason: Option<Str> [8..],
    }

    /// A protocol the member can follow.
    pub struct JoinGroupRequestProtocol {
        /// Its name.
        name: Str,
        /// What the member tells the group's leader under it.
        metadata: Bytes,
    }
}

message! {
    /// The generation joined.
    pub struct JoinGroupResponse: 0..=9, flexible 6 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [2..],
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The generation.
        generation_id: i32 = -1,
        /// The class of protocols.
        protocol_type: Option<Str> [7..],
        /// The protocol chosen; null only with an error.
        protocol_name: Option<Str> [null 7..] = some(),
        /// The member that leads.
        leader: Str,
        /// Whether the leader keeps the assignment as it is.
        skip_assignment: bool [9..],
        /// The member that asked.
        member_id: Str,
        /// All members, told to the leader alone.
        members: Vec<JoinGroupResponseMember>,
    }

    /// A member, for the leader to assign to.
    pub struct JoinGroupResponseMember {
        /// Its id.
        member_id: Str,
        /// Its name, if it is static.
        group_instance_id: Option<Str> [5..],
        /// What it told under the protocol chosen.
        metadata: Bytes,
    }
}
