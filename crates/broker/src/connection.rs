//! What the broker remembers of one client connection.

use std::net::SocketAddr;
use std::sync::OnceLock;

/// One client connection, from accept to close; shared by the requests that are in flight on it.
#[derive(Debug)]
pub struct Connection {
    /// Unique in this process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    software: OnceLock<Software>,
}

/// What the client says it is (KIP-511), for logs and for nothing that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// Such as `librdkafka` or `apache-kafka-java`.
    pub name: String,
    /// Such as `2.3.0`.
    pub version: String,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            software: OnceLock::new(),
        }
    }

    /// What the client said it is, once it did.
    #[must_use]
    pub fn software(&self) -> Option<&Software> {
        self.software.get()
    }

    /// Takes down what the client says it is; the first word stands.
    pub(crate) fn introduce(&self, software: Software) {
        // A client may repeat itself; that is not an error.
        let _ = self.software.set(software);
    }
}
