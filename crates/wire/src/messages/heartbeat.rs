//! Heartbeat: a member lives, and learns of rebalances.

use crate::codec::{Str, message};

message! {
    /// A member lives.
    pub struct HeartbeatRequest: 0..=4, flexible 4 {
        /// The group.
        group_id: Str,
        /// The generation the member is in.
        generation_id: i32,
        /// The member.
        member_id: Str,
        /// The static member's name, if it is one.
        group_instance_id: Option<Str> [3..],
    }
}

message! {
    /// What the member should do.
    pub struct HeartbeatResponse: 0..=4, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What went wrong, 0 for nothing; 27 to join again.
        error_code: i16,
    }
}
