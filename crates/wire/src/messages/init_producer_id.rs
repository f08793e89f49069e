//! InitProducerId: a producer gets its identity, or the next epoch of it.

use crate::codec::{Str, message, some};

message! {
    /// Asks for an identity.
    pub struct InitProducerIdRequest: 0..=5, flexible 2 {
        /// The transactional id, null for a producer that is only idempotent.
        transactional_id: Option<Str> = some(),
        /// After how long an idle transaction is aborted, in milliseconds.
        transaction_timeout_ms: i32,
        /// The identity the producer has, -1 for none.
        producer_id: i64 [3..] = -1,
        /// The epoch the producer has, -1 for none.
        producer_epoch: i16 [3..] = -1,
    }
}

message! {
    /// The identity.
    pub struct InitProducerIdResponse: 0..=5, flexible 2 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// The identity, -1 for none.
        producer_id: i64 = -1,
        /// Its epoch.
        producer_epoch: i16,
    }
}
