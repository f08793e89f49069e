//! SyncGroup: the leader hands in the assignment, every member gets its own.

use crate::codec::{Str, message};
use bytes::Bytes;

message! {
    /// A member asks for its assignment; the leader brings all.
    pub struct SyncGroupRequest: 0..=5, flexible 4 {
        /// The group.
        group_id: Str,
        /// The generation the member is in.
        generation_id: i32,
        /// The member.
        member_id: Str,
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [3..],
        /// The class of protocols the member believes in.
        protocol_type: Option<Str> [5..],
        /// The protocol the member believes in.
        protocol_name: Option<Str> [5..],
        /// The assignments, from the leader alone.
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// A member's assignment.
    pub struct SyncGroupRequestAssignment {
        /// The member.
        member_id: Str,
        /// What it is given, in the protocol's own format.
        assignment: Bytes,
    }
}

message! {
    /// The member's assignment.
    pub struct SyncGroupResponse: 0..=5, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The class of protocols.
        protocol_type: Option<Str> [5..],
        /// The protocol.
        protocol_name: Option<Str> [5..],
        /// What the member is given, in the protocol's own format.
        assignment: Bytes,
    }
}
