//! The replicator's ends of a stream, in the bytes of one.

use std::task::{Context, Poll};

use bytes::Bytes;
use plimsoll_replicator::{FollowLink, LeadLink, LinkError};
use plimsoll_types::Monotonic;
use plimsoll_wire::peer::StreamFrame;

use super::{Outgoing, PeerStream};

/// A follower's end: this node's replicas follow those of the node it opened the stream to.
pub type Following = Carried<FollowLink>;

/// A leader's end: this node's replicas lead those of the node that opened the stream.
pub type Leading = Carried<LeadLink>;

/// An end of a stream, frames in and frames out.
pub trait Link: Send {
    /// Takes a frame that came.
    ///
    /// # Errors
    /// If the peer does not keep to the protocol.
    fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError>;

    /// Adds what is to be sent.
    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Poll<()>;

    /// When to ask again though nothing woke the task.
    fn deadline(&self) -> Option<Monotonic>;

    /// The connection has ended.
    fn closed(&mut self, now: Monotonic);
}

/// An end of a stream, carried as bytes.
pub struct Carried<L> {
    link: L,
    frames: Vec<StreamFrame>,
}

impl<L: Link> Carried<L> {
    /// Carries `link`.
    #[must_use]
    pub fn new(link: L) -> Self {
        Self {
            link,
            frames: Vec::new(),
        }
    }
}

impl<L: Link> PeerStream for Carried<L> {
    fn receive(&mut self, head: Bytes, tail: Bytes, now: Monotonic) -> Result<(), String> {
        let frame = StreamFrame::decode(head, tail).map_err(|error| error.to_string())?;
        let taken = self.link.receive(frame, now);
        taken.map_err(|error| error.to_string())
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<Outgoing>,
    ) -> Poll<()> {
        let polled = self.link.poll_outgoing(cx, now, &mut self.frames);
        out.extend(self.frames.drain(..).map(|frame| {
            let (head, tail) = frame.encode();
            Outgoing { head, tail }
        }));
        polled
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.link.deadline()
    }

    fn closed(&mut self, now: Monotonic) {
        self.link.closed(now);
    }
}

impl Link for FollowLink {
    fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError> {
        Self::receive(self, frame, now)
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Poll<()> {
        Self::poll_outgoing(self, cx, now, out)
    }

    fn deadline(&self) -> Option<Monotonic> {
        None
    }

    fn closed(&mut self, now: Monotonic) {
        Self::closed(self, now);
    }
}

impl Link for LeadLink {
    fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> Result<(), LinkError> {
        Self::receive(self, frame, now)
    }

    fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Poll<()> {
        Self::poll_outgoing(self, cx, now, out)
    }

    fn deadline(&self) -> Option<Monotonic> {
        Some(Self::deadline(self))
    }

    fn closed(&mut self, now: Monotonic) {
        Self::closed(self, now);
    }
}
