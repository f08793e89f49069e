//! What the links between nodes counted.

use crate::counters::{Count, Level};

/// The counters of a node's peer network; statistics, read at scrape.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Connections accepted.
    pub accepted: Count,
    /// Accepted connections open now.
    pub accepted_open: Level,
    /// Accepted connections that were turned away in words.
    pub denied: Count,
    /// Connections closed at once, because too many were open.
    pub refused: Count,
    /// Connections made.
    pub connected: Count,
    /// Attempts to connect that failed.
    pub connect_failures: Count,
    /// Connections that ended after they had stood.
    pub lost: Count,
    /// Of these, ended by us because the peer was silent.
    pub silent: Count,
    /// Of these, ended by us because the peer took no bytes.
    pub stalled: Count,
    /// Frames that were malformed or failed their checksum; each ended its connection.
    pub bad_frames: Count,
    /// Times that a peer's process was found gone.
    pub suspicions: Count,
    /// Requests of peers answered.
    pub requests: Count,
    /// Requests of peers turned away because too many were under way.
    pub busy: Count,
    /// Bytes read.
    pub bytes_in: Count,
    /// Bytes written.
    pub bytes_out: Count,
}
