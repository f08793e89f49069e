//! The replicator's ends of a stream, in the bytes of one.

use std::task::{Context, Poll};

use bytes::Bytes;
use plimsoll_replicator::{FollowLink, LeadLink};
use plimsoll_types::Monotonic;
use plimsoll_wire::peer::StreamFrame;

use super::{Outgoing, PeerStream};

/// A follower's end: this node's replicas follow those of the node it opened the stream to.
pub struct Following {
    link: FollowLink,
    frames: Vec<StreamFrame>,
}

/// A leader's end: this node's replicas lead those of the node that opened the stream.
pub struct Leading {
    link: LeadLink,
    frames: Vec<StreamFrame>,
}

impl Following {
    /// Carries `link`.
    #[must_use]
    pub fn new(link: FollowLink) -> Self {
        Self {
            link,
            frames: Vec::new(),
        }
    }
}

impl Leading {
    /// Carries `link`.
    #[must_use]
    pub fn new(link: LeadLink) -> Self {
        Self {
            link,
            frames: Vec::new(),
        }
    }
}

fn decode(head: Bytes, tail: Bytes) -> Result<StreamFrame, String> {
    StreamFrame::decode(head, tail).map_err(|error| error.to_string())
}

fn encode(frames: &mut Vec<StreamFrame>, out: &mut Vec<Outgoing>) {
    out.extend(frames.drain(..).map(|frame| {
        let (head, tail) = frame.encode();
        Outgoing { head, tail }
    }));
}

impl PeerStream for Following {
    fn receive(&mut self, head: Bytes, tail: Bytes, now: Monotonic) -> Result<(), String> {
        let frame = decode(head, tail)?;
        self.link
            .receive(frame, now)
            .map_err(|error| error.to_string())
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<Outgoing>,
    ) -> Poll<()> {
        let polled = self.link.poll_outgoing(cx, now, &mut self.frames);
        encode(&mut self.frames, out);
        polled
    }

    fn closed(&mut self, now: Monotonic) {
        self.link.closed(now);
    }
}

impl PeerStream for Leading {
    fn receive(&mut self, head: Bytes, tail: Bytes, now: Monotonic) -> Result<(), String> {
        let frame = decode(head, tail)?;
        self.link
            .receive(frame, now)
            .map_err(|error| error.to_string())
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<Outgoing>,
    ) -> Poll<()> {
        let polled = self.link.poll_outgoing(cx, now, &mut self.frames);
        encode(&mut self.frames, out);
        polled
    }

    fn deadline(&self) -> Option<Monotonic> {
        Some(self.link.deadline())
    }

    fn closed(&mut self, now: Monotonic) {
        self.link.closed(now);
    }
}
