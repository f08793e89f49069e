//! What the listener counted, for whoever prints metrics.
//!
//! Plain counters, read at scrape. They are statistics: relaxed, each right by itself, not
//! consistent with one another.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: usize) {
        if more > 0 {
            self.0.fetch_add(more as u64, Ordering::Relaxed);
        }
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, to: usize) {
        self.0.store(to as u64, Ordering::Relaxed);
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason as a metric's label: lower case, underscores.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a connection was closed before a byte was read from it.
    Refusal {
        /// The node has as many as it may.
        TooManyConnections = "too_many_connections",
        /// Its address has as many as it may.
        TooManyFromAddress = "too_many_from_address",
        /// Its socket could not be set up.
        SocketSetup = "socket_setup",
    }
}

reasons! {
    /// Why a connection ended.
    End {
        /// The client closed it.
        ClientClosed = "client_closed",
        /// The network or the client's machine broke it.
        ConnectionLost = "connection_lost",
        /// No request came for too long.
        Idle = "idle",
        /// A frame took too long to arrive.
        SlowSender = "slow_sender",
        /// The client did not take its replies.
        SlowReader = "slow_reader",
        /// A frame was announced that is longer than frames may be, or of negative length.
        FrameSize = "frame_size",
        /// The first bytes were a TLS handshake.
        Tls = "tls",
        /// The first bytes were an HTTP request.
        Http = "http",
        /// The broker would not go on, for example after a request that cannot be decoded.
        Broker = "broker",
        /// A frame could not arrive in time because request memory was used up.
        RequestMemory = "request_memory",
        /// The node stopped.
        Shutdown = "shutdown",
        /// A bug: its task panicked.
        Panicked = "panicked",
    }
}

/// The counters of one listener.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted by the kernel and taken over, refused ones included.
    pub accepted: Count,
    /// Connections open now.
    pub open: Level,
    /// Times that accepting failed, for example for want of file descriptors.
    pub accept_errors: Count,
    /// Bytes read.
    pub bytes_in: Count,
    /// Bytes written.
    pub bytes_out: Count,
    /// Frames handed to the broker.
    pub requests: Count,
    /// Times that a connection stopped reading because request memory was used up.
    pub starved: Count,
    refused: [Count; Refusal::ALL.len()],
    ended: [Count; End::ALL.len()],
}

impl Counters {
    /// Connections refused for this reason.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].get()
    }

    /// Connections that ended for this reason.
    #[must_use]
    pub fn ended(&self, reason: End) -> u64 {
        self.ended[reason as usize].get()
    }

    pub(crate) fn count_refused(&self, reason: Refusal) {
        self.refused[reason as usize].add(1);
    }

    pub(crate) fn count_ended(&self, reason: End) {
        self.ended[reason as usize].add(1);
    }
}
