//! DeleteGroups: forget groups that have no members, and their offsets.

use crate::codec::{Str, message};

message! {
    /// Forgets groups.
    pub struct DeleteGroupsRequest: 0..=2, flexible 2 {
        /// The groups.
        groups_names: Vec<Str>,
    }
}

message! {
    /// What became of each group.
    pub struct DeleteGroupsResponse: 0..=2, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by group.
        results: Vec<DeletableGroupResult>,
    }

    /// The outcome of one group.
    pub struct DeletableGroupResult {
        /// The group.
        group_id: Str,
        /// What went wrong, 0 for nothing.
        error_code: i16,
    }
}
