//! How a client behaves. Plain fields, made by `new` with the values most want.

use std::time::Duration;

/// What every part of the client shares: whom to ask first, and how long to wait.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Addresses to begin with, each `HOST:PORT`; the cluster tells the rest.
    pub bootstrap: Vec<String>,
    /// The name given to brokers, for their logs and quotas.
    pub client_id: String,
    /// How long one broker may take to accept a connection and say what it speaks.
    pub connect_timeout: Duration,
    /// How long an answer may take, unless the call says otherwise.
    pub request_timeout: Duration,
    /// How long operations that try again go on doing so.
    pub retry_timeout: Duration,
    /// The pause before the second attempt; it doubles up to a second.
    pub retry_backoff: Duration,
    /// How long what is known of topics is believed.
    pub metadata_max_age: Duration,
    /// How long a topic that does not exist may still come to be: brokers learn of a new one a
    /// moment after it was made.
    pub unknown_topic_grace: Duration,
    /// Whether asking for a topic that does not exist may make it.
    pub auto_create_topics: bool,
    /// Requests on one connection that have no answer yet.
    pub max_in_flight: usize,
    /// The largest answer taken.
    pub max_response_bytes: usize,
}

impl ClientConfig {
    /// Five seconds to connect, thirty for an answer or for retries, 100 MiB for an answer, five
    /// requests in flight, no topics made by asking.
    #[must_use]
    pub fn new<A: Into<String>>(bootstrap: impl IntoIterator<Item = A>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "plimsoll".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(50),
            metadata_max_age: Duration::from_secs(300),
            unknown_topic_grace: Duration::from_secs(1),
            auto_create_topics: false,
            max_in_flight: 5,
            max_response_bytes: 100 << 20,
        }
    }
}
