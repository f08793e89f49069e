//! The peer protocol: what nodes of one cluster say to each other.
//!
//! Requests and replies go over control connections, both ways; the frames of streams carry records
//! from leaders to followers, and back what the followers have. The layout is drawn in
//! `docs/wire.md`.
//!
//! Not here: sockets, and the frames and the exchange of a connection (`plimsoll_server::peer`),
//! nor what anybody does with a message. What always holds, for bytes from anybody:
//! - nothing panics, and a message takes memory in proportion to the bytes that came;
//! - every bit of an [`Append`]'s records is covered by the batches' own CRC-32C or by the
//!   [`seal`], both of which whoever appends them must check; everything else is for the
//!   transport to sum;
//! - records and opaque payloads are parts of the frame they came in, and records go out as the
//!   slices they were given in.
//!
//! ```
//! use plimsoll_wire::peer::{Reply, Request};
//!
//! assert_eq!(Request::decode(Request::Probe.encode())?, Request::Probe);
//! assert!(Reply::decode(b"\xff".to_vec().into()).is_err());
//! # Ok::<(), plimsoll_wire::Malformed>(())
//! ```

mod control;
mod stream;
mod value;

pub use control::{
    DigestReply, DigestRequest, Disk, Failed, FailureCode, Heartbeat, HeartbeatReply, Identity,
    LogInfo, Reply, Request,
};
pub use stream::{
    Ack, Acks, Append, Attach, Attached, Detach, EpochStart, MAX_CHUNK_BYTES, Mark, Marks, Nack,
    NackReason, Purpose, Refused, RefusedReason, Reset, Revoke, StreamFrame, seal,
};
