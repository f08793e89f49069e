//! What several test files share: messages made from their statements, and frames around them.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod generate;
pub(crate) mod shape;

use plimsoll_wire::{ApiKey, StructSchema};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From client to broker.
    Request,
    /// From broker to client.
    Response,
}

impl Direction {
    pub(crate) fn schema(self, api: ApiKey) -> &'static StructSchema {
        match self {
            Self::Request => api.request_schema(),
            Self::Response => api.response_schema(),
        }
    }
}

/// Every message in every version served.
pub(crate) fn every_message() -> impl Iterator<Item = (Direction, ApiKey, i16)> {
    ApiKey::ALL.iter().flat_map(|api| {
        api.served().flat_map(|version| {
            [Direction::Request, Direction::Response].map(|direction| (direction, *api, version))
        })
    })
}

/// The correlation id in frames made here.
pub(crate) const CORRELATION_ID: i32 = 0x0102_0304;

/// A header written by hand, as the protocol's description has it, before `body`.
pub(crate) fn framed(direction: Direction, api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let flexible = api.is_flexible(version);
    if direction == Direction::Request {
        frame.extend_from_slice(&api.code().to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
    }
    frame.extend_from_slice(&CORRELATION_ID.to_be_bytes());
    if direction == Direction::Request {
        frame.extend_from_slice(b"\0\x02me");
    }
    let tagged = match direction {
        Direction::Request => flexible,
        Direction::Response => flexible && api != ApiKey::ApiVersions,
    };
    if tagged {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}
