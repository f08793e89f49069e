//! The limits of the listener, complete and checked elsewhere: `node` alone holds their defaults.

use std::time::Duration;

/// How a listening socket and the sockets it accepts are set up.
#[derive(Clone, Copy, Debug)]
pub struct SocketConfig {
    /// Connections the kernel holds for us until they are accepted.
    pub backlog: u32,
    /// `SO_SNDBUF` in bytes; `None` leaves it to the kernel, which tunes it by itself.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF` in bytes; `None` leaves it to the kernel, which tunes it by itself.
    pub receive_buffer_bytes: Option<u32>,
    /// Silence after which the kernel asks whether the peer still lives.
    pub keepalive_after: Duration,
    /// Time between two such questions.
    pub keepalive_interval: Duration,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged, or the peer's window
    /// closed, until the kernel gives the connection up.
    ///
    /// Linux counts a closed window too, and a consumer that works on its records for minutes
    /// closes its window: shorter than [`Limits::max_write_stall`] this kills honest clients.
    pub user_timeout: Duration,
}

/// What one connection, and all of them together, may take.
///
/// The limits add up: what the listener holds is at most `max_inflight_request_bytes`, plus, a
/// connection, one read (256 KiB) and `max_queued_reply_bytes` and the replies in flight.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections open at once from one address.
    pub max_connections_per_address: usize,
    /// The greatest frame, without its size prefix (`socket.request.max.bytes`).
    pub max_frame_bytes: u32,
    /// Requests of one connection that may be under way; no further bytes are read above it.
    pub max_inflight_requests: usize,
    /// Bytes of requests of all connections, arrived and not yet answered. Above it only small
    /// requests are begun, and unfinished ones are given up, the greatest first.
    pub max_inflight_request_bytes: usize,
    /// Reply bytes of one connection that wait for its socket; no further request is started
    /// above it.
    pub max_queued_reply_bytes: usize,
    /// Time without any request after which a connection is closed (`connections.max.idle.ms`).
    pub max_idle: Duration,
    /// Time in which a frame must arrive whole, not counting one second for each
    /// [`MIN_FRAME_BYTES_PER_SECOND`] that did arrive; and the longest silence within one.
    pub max_frame_time: Duration,
    /// Time for which a peer may take none of the bytes that wait for it.
    pub max_write_stall: Duration,
    /// Time that requests under way get to finish after the peer has stopped sending.
    pub half_closed_grace: Duration,
}

/// A sender this fast or faster is never too slow, however great its frame.
pub const MIN_FRAME_BYTES_PER_SECOND: u32 = 64 << 10;
