//! LeaveGroup: members leave a classic group.

use crate::codec::{Str, message, some};

message! {
    /// Members leave; before version 3 one does.
    pub struct LeaveGroupRequest: 0..=5, flexible 4 {
        /// The group.
        group_id: Str,
        /// The member.
        member_id: Str [..=2],
        /// The members.
        members: Vec<MemberIdentity> [3..],
    }

    /// A member that leaves.
    pub struct MemberIdentity {
        /// Its id, empty to name a static member alone.
        member_id: Str [3..],
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [3..],
        /// Why it leaves, for a person.
        reason: Option<Str> [5..],
    }
}

message! {
    /// Who has left.
    pub struct LeaveGroupResponse: 0..=5, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What went wrong with the whole request, 0 for nothing.
        error_code: i16,
        /// The outcomes, by member.
        members: Vec<MemberResponse> [3..],
    }

    /// The outcome of one member.
    pub struct MemberResponse {
        /// Its id.
        member_id: Str [3..],
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [3..] = some(),
        /// What went wrong, 0 for nothing.
        error_code: i16 [3..],
    }
}
