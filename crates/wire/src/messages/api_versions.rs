//! ApiVersions: what the broker speaks. The first request of nearly every client.

use crate::codec::{Str, message};

message! {
    /// Asks what the broker speaks.
    pub struct ApiVersionsRequest: 0..=4, flexible 3 {
        /// The name of the client library.
        client_software_name: Str [3..],
        /// Its version.
        client_software_version: Str [3..],
    }
}

message! {
    /// What the broker speaks.
    pub struct ApiVersionsResponse: 0..=4, flexible 3 {
        /// What went wrong, 0 for nothing; 35 if the version asked with is not spoken.
        error_code: i16,
        /// The APIs.
        api_keys: Vec<ApiVersion>,
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
    } tagged {
        /// The features the broker can be switched to. Before version 4 those whose least
        /// version is 0 must be left out, which [`encode_response`](crate::encode_response) does.
        0 => supported_features: Vec<SupportedFeatureKey> [3..],
        /// The version of `finalized_features`, -1 for none.
        1 => finalized_features_epoch: i64 [3..] = -1,
        /// The features that are switched on in the cluster.
        2 => finalized_features: Vec<FinalizedFeatureKey> [3..],
        /// Whether a migration from ZooKeeper could begin. Never, here.
        3 => zk_migration_ready: bool [3..],
    }

    /// One API.
    pub struct ApiVersion {
        /// Its number.
        api_key: i16,
        /// The first version offered.
        min_version: i16,
        /// The last version offered.
        max_version: i16,
    }

    /// A feature that can be switched on.
    pub struct SupportedFeatureKey {
        /// Its name.
        name: Str [3..],
        /// The least version.
        min_version: i16 [3..],
        /// The greatest version.
        max_version: i16 [3..],
    }

    /// A feature that is switched on.
    pub struct FinalizedFeatureKey {
        /// Its name.
        name: Str [3..],
        /// The greatest version in use.
        max_version_level: i16 [3..],
        /// The least version in use.
        min_version_level: i16 [3..],
    }
}
