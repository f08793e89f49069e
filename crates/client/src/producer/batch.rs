//! A batch on its way, and the news of it.

use bytes::Bytes;
use plimsoll_record_batch::{BatchBuilder, BuildError, Producer, stamp_producer};
use plimsoll_types::{Offset, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::ClientError;

/// What became of a batch; `None` until it is known.
pub(super) type News = Option<Result<Landed, ClientError>>;

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Landed {
    /// The first record's offset, if told.
    pub(super) base: Option<Offset>,
    /// The broker's time of the append, if it stamps it.
    pub(super) append_time: Option<Timestamp>,
}

/// Records of one partition that travel together.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counts up in the order of making, over all partitions.
    pub(super) id: u64,
    pub(super) body: Body,
    pub(super) records: u32,
    pub(super) created: Instant,
    /// The identity and sequence number it was sent under.
    pub(super) producer: Option<Producer>,
    /// Whether an attempt ended without an answer: it may have been written.
    pub(super) outcome_unknown: bool,
    /// What the last attempt met.
    pub(super) last_error: Option<ClientError>,
    /// Whom to tell.
    pub(super) news: watch::Sender<News>,
    /// Its share of the producer's buffer, given back with it.
    pub(super) room: OwnedSemaphorePermit,
}

/// The bytes, before and after they are fixed.
#[derive(Debug)]
pub(super) enum Body {
    Growing(Box<BatchBuilder>),
    Built(Bytes),
}

impl Batch {
    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        match &self.body {
            Body::Growing(builder) => builder.bytes(),
            Body::Built(bytes) => bytes.len(),
        }
    }

    /// The bytes to send, compressed at the first asking, under its current identity.
    pub(super) fn build(&mut self) -> Result<Bytes, BuildError> {
        let built = match &mut self.body {
            Body::Growing(builder) => {
                let empty = BatchBuilder::new(plimsoll_record_batch::Compression::None);
                let mut builder = std::mem::replace(&mut **builder, empty);
                if let Some(producer) = self.producer {
                    builder = builder.producer(producer);
                }
                builder.build(Offset::ZERO)?
            }
            Body::Built(bytes) => bytes.clone(),
        };
        self.body = Body::Built(built.clone());
        Ok(built)
    }

    /// Gives it an identity; one that was sent under another is stamped anew.
    pub(super) fn identify(&mut self, producer: Producer) {
        self.producer = Some(producer);
        if let Body::Built(bytes) = &mut self.body {
            let mut anew = bytes.to_vec();
            stamp_producer(&mut anew, producer);
            *bytes = anew.into();
        }
    }

    /// Tells whoever waits, and gives back its room.
    pub(super) fn tell(self, outcome: Result<Landed, ClientError>) {
        self.news.send_replace(Some(outcome));
    }
}
