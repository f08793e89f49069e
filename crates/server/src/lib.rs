//! The sockets of a Plimsoll node: the Kafka listener and its connections, the links to other
//! nodes ([`peer`]), and the clock.
//!
//! Accepts connections, cuts the byte stream into frames, hands each frame to a [`Service`] (the
//! broker), and writes the replies back in the order in which the requests came. It does not know
//! what a request means, and it decides nothing about records. What always holds:
//!
//! - every buffer, queue and wait here has a limit ([`Limits`]), and reaching one slows or ends
//!   the connection that caused it, not its neighbours;
//! - requests of one connection are started in the order in which they came, and answered in it;
//! - record bytes of a reply go from where they are mapped to the socket without a copy;
//! - a panic while serving one connection ends that connection, and is counted.

mod admission;
mod alarm;
mod budget;
mod clock;
mod config;
mod connection;
mod counters;
mod listener;
pub mod peer;
mod pipeline;
mod read;
mod repeated;
mod service;
mod workers;
mod write;

pub use clock::TokioClock;
pub use config::{Limits, MIN_FRAME_BYTES_PER_SECOND, SocketConfig};
pub use counters::{Count, Counters, End, Level, Refusal};
pub use listener::{BindError, Drained, Listener, Server, Stats};
pub use service::Service;
pub use workers::TokioWorkers;
