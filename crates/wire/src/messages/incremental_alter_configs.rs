//! IncrementalAlterConfigs: change single settings of topics or brokers.

use crate::codec::{Str, message, some};

message! {
    /// Changes settings, or checks that it could.
    pub struct IncrementalAlterConfigsRequest: 0..=1, flexible 1 {
        /// Whose, and how.
        resources: Vec<AlterConfigsResource>,
        /// Whether only to check.
        validate_only: bool,
    }

    /// One resource's changes; settings not named stay.
    pub struct AlterConfigsResource {
        /// What it is: 2 a topic, 4 a broker.
        resource_type: i8,
        /// Its name; for a broker its id.
        resource_name: Str,
        /// The changes.
        configs: Vec<AlterableConfig>,
    }

    /// A change.
    pub struct AlterableConfig {
        /// The setting's name.
        name: Str,
        /// What to do: 0 set, 1 back to the default, 2 append to the list, 3 take from the list.
        config_operation: i8,
        /// The value to do it with.
        value: Option<Str> = some(),
    }
}

message! {
    /// What became of each resource.
    pub struct IncrementalAlterConfigsResponse: 0..=1, flexible 1 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The outcomes, by resource.
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// The outcome of one resource.
    pub struct AlterConfigsResourceResponse {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
        /// What it is: 2 a topic, 4 a broker.
        resource_type: i8,
        /// Its name; for a broker its id.
        resource_name: Str,
    }
}
