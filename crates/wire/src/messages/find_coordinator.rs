//! FindCoordinator: the node that keeps a group's or a transaction's state.

use crate::codec::{Str, message, some};

message! {
    /// Asks for the coordinators of some keys; before version 4 of one.
    pub struct FindCoordinatorRequest: 0..=6, flexible 3 {
        /// The group or transactional id.
        key: Str [..=3],
        /// What the keys are: 0 groups, 1 transactional ids, 2 share groups.
        key_type: i8 [1..],
        /// The group or transactional ids.
        coordinator_keys: Vec<Str> [4..],
    }
}

message! {
    /// Who the coordinators are.
    pub struct FindCoordinatorResponse: 0..=6, flexible 3 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// What went wrong, 0 for nothing.
        error_code: i16 [..=3],
        /// What went wrong, for a person.
        error_message: Option<Str> [1..=3] = some(),
        /// The coordinator's node id.
        node_id: i32 [..=3],
        /// Its host name or address.
        host: Str [..=3],
        /// Its port.
        port: i32 [..=3],
        /// The coordinators, by key.
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of one key.
    pub struct Coordinator {
        /// The group or transactional id.
        key: Str [4..],
        /// The coordinator's node id.
        node_id: i32 [4..],
        /// Its host name or address.
        host: Str [4..],
        /// Its port.
        port: i32 [4..],
        /// What went wrong, 0 for nothing.
        error_code: i16 [4..],
        /// What went wrong, for a person.
        error_message: Option<Str> [4..] = some(),
    }
}
