//! The peer protocol: what nodes of one cluster say to each other.
//!
//! Two kinds of connection, told apart by the hello's [`Purpose`]: *control* carries numbered
//! requests and replies both ways; *streams* carry records from leaders to followers, and back
//! what the followers have. The layout is drawn in `docs/wire.md`.
//!
//! Not here: sockets, and what anybody does with a message. What always holds, for bytes from
//! anybody:
//! - nothing panics, and a message takes memory in proportion to the bytes that came;
//! - a frame whose bytes were changed on the way is refused by its CRC-32, but for the records of
//!   an [`Append`], which carry their own CRC-32C: who appends them must check it;
//! - records and opaque payloads are parts of the frame they came in, and records go out as the
//!   slices they were given in.
//!
//! ```
//! use bytes::BytesMut;
//! use plimsoll_types::NodeId;
//! use plimsoll_wire::peer::{self, Frame, MAX_HELLO_BYTES, Purpose, Splitter};
//!
//! let hello = peer::Hello::new(NodeId::new(1).expect("small"), Purpose::Control);
//! let mut stream = BytesMut::from(peer::encode(&Frame::Hello(hello.clone())).concat());
//! let mut splitter = Splitter::new(MAX_HELLO_BYTES);
//! let frame = splitter.next(&mut stream)?.expect("a whole frame");
//! assert_eq!(peer::decode(frame)?, Frame::Hello(hello));
//! # Ok::<(), peer::FrameFault>(())
//! ```

mod control;
mod frame;
mod hello;
mod stream;
mod value;

pub use control::{
    DigestReply, DigestRequest, Disk, Failed, FailureCode, Heartbeat, HeartbeatReply, Identity,
    LogInfo, Reply, Request,
};
pub use frame::{
    Frame, FrameFault, MAX_CONTROL_BYTES, MAX_HELLO_BYTES, MAX_STREAM_BYTES, PREFIX_BYTES,
    Splitter, decode, encode,
};
pub use hello::{Denied, DeniedReason, Hello, Purpose, VERSIONS, Versions, Welcome};
pub use stream::{
    Ack, Acks, Append, Attach, Attached, EpochStart, MAX_CHUNK_BYTES, Mark, Marks, Nack,
    NackReason, Refused, RefusedReason, Reset, StreamFrame,
};
