//! DescribeConfigs: the settings of topics and brokers, and where they come from.

use crate::codec::{Str, message, some};

message! {
    /// Asks for settings.
    pub struct DescribeConfigsRequest: 1..=4, flexible 4 {
        /// Whose.
        resources: Vec<DescribeConfigsResource>,
        /// Whether to tell what each value overrides.
        include_synonyms: bool,
        /// Whether to tell what each setting does.
        include_documentation: bool [3..],
    }

    /// Whose settings to tell.
    pub struct DescribeConfigsResource {
        /// What it is: 2 a topic, 4 a broker.
        resource_type: i8,
        /// Its name; for a broker its id.
        resource_name: Str,
        /// The settings to tell; null for all, empty for none.
        configuration_keys: Option<Vec<Str>> = some(),
    }
}

message! {
    /// The settings.
    pub struct DescribeConfigsResponse: 1..=4, flexible 4 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// The settings, by resource.
        results: Vec<DescribeConfigsResult>,
    }

    /// The settings of one resource.
    pub struct DescribeConfigsResult {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> = some(),
        /// What it is: 2 a topic, 4 a broker.
        resource_type: i8,
        /// Its name; for a broker its id.
        resource_name: Str,
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// A setting.
    pub struct DescribeConfigsResourceResult {
        /// Its name.
        name: Str,
        /// Its value; null for a secret.
        value: Option<Str> = some(),
        /// Whether it cannot be changed.
        read_only: bool,
        /// Where the value comes from: 1 the topic, 2 to 4 the broker, 5 the default.
        config_source: i8 = -1,
        /// Whether the value is a secret.
        is_sensitive: bool,
        /// What the value overrides, itself first.
        synonyms: Vec<DescribeConfigsSynonym>,
        /// The type of its values: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list,
        /// 8 class, 9 password.
        config_type: i8 [3..],
        /// What it does.
        documentation: Option<Str> [3..] = some(),
    }

    /// A setting that stands behind another.
    pub struct DescribeConfigsSynonym {
        /// Its name.
        name: Str,
        /// Its value.
        value: Option<Str> = some(),
        /// Where the value comes from.
        source: i8,
    }
}
