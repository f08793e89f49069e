//! Kafka's wire protocol: frames, headers and messages, in every version Plimsoll serves; and in
//! [`peer`] what its nodes say to each other.
//!
//! Each message is stated once (see `codec::define`), and its reading and writing, both ways and
//! in all versions, follow from the statement. Not here: sockets, record batches (a message's
//! records stay bytes), and what to answer.
//!
//! What always holds, for bytes from anybody:
//! - nothing panics, and nothing is read past the frame or left unread in it;
//! - the lists of a message take at most [`BUDGET_FACTOR`] times the frame's bytes and
//!   [`BUDGET_FLOOR_BYTES`] of memory, and are refused before they would take more;
//! - strings, byte strings and records are parts of the frame, not copies.
//!
//! ```
//! use bytes::BytesMut;
//! use plimsoll_wire::frame::Splitter;
//! use plimsoll_wire::metadata::{MetadataRequest, MetadataResponse};
//! use plimsoll_wire::{ApiKey, Request, decode_request, decode_response, encode_request, encode_response};
//!
//! // A client asks for all topics ...
//! let ask = MetadataRequest { topics: None, ..Default::default() };
//! let sent = encode_request(12, 7, Some("me"), &ask.into());
//!
//! // ... the broker cuts the frame off its stream, reads it, and answers ...
//! let mut stream = BytesMut::from(sent.concat());
//! let frame = Splitter::new(1 << 20).next(&mut stream)?.expect("a whole frame");
//! let (header, request) = decode_request(frame)?;
//! assert!(matches!(request, Request::Metadata(MetadataRequest { topics: None, .. })));
//! let answer = MetadataResponse { controller_id: 1, ..Default::default() };
//! let encoded = encode_response(&header, &answer.clone().into());
//!
//! // ... and the client reads the answer to what it asked.
//! let mut stream = BytesMut::from(encoded.concat());
//! let frame = Splitter::new(1 << 20).next(&mut stream)?.expect("a whole frame");
//! assert_eq!(decode_response(ApiKey::Metadata, 12, frame)?, (7, answer.into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::indexing_slicing)]

mod api;
mod codec;
pub mod consumer;
mod error_code;
pub mod frame;
pub mod internal;
mod messages;
pub mod peer;
mod request;
mod response;
mod table;

pub use api::{ApiKey, Request, Response};
pub use codec::{
    BUDGET_FACTOR, BUDGET_FLOOR_BYTES, Encoded, Field, Kind, Malformed, Message, Reason, Records,
    Rule, Str, StructSchema, decode, encode,
};
pub use error_code::ErrorCode;
pub use messages::*;
pub use request::{RequestError, RequestHeader, decode_request, encode_request};
pub use response::{ResponseError, correlation_id, decode_response, encode_response};
pub use table::table;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
