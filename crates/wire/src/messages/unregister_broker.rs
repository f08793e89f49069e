//! UnregisterBroker: forget a node that will not come back.

use crate::codec::{Str, message, some};

message! {
    /// Forgets a node.
    pub struct UnregisterBrokerRequest: 0..=0, flexible 0 {
        /// Which.
        broker_id: i32,
    }
}

message! {
    /// What became of it.
    pub struct UnregisterBrokerResponse: 0..=0, flexible 0 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
    }
}
