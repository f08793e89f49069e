//! ListGroups: the groups that a node coordinates.

use crate::codec::{Str, message};

message! {
    /// Asks for groups.
    pub struct ListGroupsRequest: 0..=5, flexible 3 {
        /// The states to list; empty for all.
        states_filter: Vec<Str> [4..],
        /// The types to list, such as "classic"; empty for all.
        types_filter: Vec<Str> [5..],
    }
}

message! {
    /// The groups.
    pub struct ListGroupsResponse: 0..=5, flexible 3 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The groups.
        groups: Vec<ListedGroup>,
    }

    /// A group.
    pub struct ListedGroup {
        /// Its id.
        group_id: Str,
        /// Its class of protocols, such as "consumer".
        protocol_type: Str,
        /// Its state, such as "Stable".
        group_state: Str [4..],
        /// Its type, such as "classic".
        group_type: Str [5..],
    }
}
