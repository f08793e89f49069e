//! AlterConfigs: replace all settings of topics or brokers.

use crate::codec::{Str, message, some};

message! {
    /// Replaces settings, or checks that it could.
    pub struct AlterConfigsRequest: 0..=2, flexible 2 {
        /// Whose, and what by.
        resources: Vec<AlterConfigsResource>,
        /// Whether only to check.
        validate_only: bool,
    }

    /// One resource's new settings; those not named go back to their defaults.
    pub struct AlterConfigsResource {
        /// What it is: 2 a topic, 4 a broker.
        resource_type: i8,
        /// Its name; for a broker its id.
        resource_name: Str,
        /// The settings.
        configs: Vec<AlterableConfig>,
    }

    /// A setting.
    pub struct AlterableConfig {
        /// Its name.
        name: Str,
        /// Its value.
        value: Option<Str> = some(),
    }
}

message! {
    /// What became of each resource.
    pub struct AlterConfigsResponse: 0..=2, flexible 2 {
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
