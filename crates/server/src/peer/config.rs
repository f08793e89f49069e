//! The times and limits of the links between nodes, complete: `node` alone holds their defaults.

use std::time::Duration;

use crate::config::SocketConfig;

/// How peer connections are made, watched and bounded.
///
/// The limits add up: what the links of a node hold is, a connection, one unfinished frame (memory
/// grows with what arrived of it) and `max_queued_bytes` with one frame on top; a control
/// connection holds at most `max_inflight_requests` requests more.
#[derive(Clone, Copy, Debug)]
pub struct PeerConfig {
    /// How sockets are set up; the user timeout is to be short here.
    pub sockets: SocketConfig,
    /// Time in which a TCP connection must stand.
    pub connect_timeout: Duration,
    /// Time in which hello and welcome must be exchanged.
    pub hello_timeout: Duration,
    /// The wait after the first failed attempt to connect.
    pub min_retry: Duration,
    /// The longest wait between two attempts.
    pub max_retry: Duration,
    /// The wait after a refusal that only a person can mend, such as another cluster's.
    pub denied_retry: Duration,
    /// A link that has sent nothing for so long sends a beat.
    pub beat: Duration,
    /// Silence that is always borne.
    pub min_silence: Duration,
    /// Silence that always ends a link. Between the two the link's own rhythm decides.
    pub max_silence: Duration,
    /// Time for which a peer may take none of the bytes that wait for it.
    pub max_write_stall: Duration,
    /// Accepted connections at once.
    pub max_accepted: usize,
    /// Accepted connections at once that have not said who they are.
    pub max_strangers: usize,
    /// Calls to one peer that may wait or be under way.
    pub max_pending_calls: usize,
    /// Requests of one connection that may be under way; further ones are answered "busy".
    pub max_inflight_requests: usize,
    /// The greatest frame of a control connection.
    pub max_control_frame: u32,
    /// The greatest frame of a stream.
    pub max_stream_frame: u32,
    /// Bytes that may wait for a socket before nothing more is asked of a stream or taken of calls.
    pub max_queued_bytes: usize,
    /// Reply bytes that may wait for a peer that does not read; above it the connection is closed.
    pub max_queued_reply_bytes: usize,
}
