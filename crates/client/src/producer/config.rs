//! How a producer behaves.

use std::time::Duration;

use plimsoll_record_batch::Compression;

/// Who must have a record before it counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: it counts once it is written to the socket.
    None,
    /// The leader.
    Leader,
    /// All replicas in sync.
    All,
}

impl Acks {
    pub(super) fn to_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How records are gathered and sent.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Who must have a record before it counts as delivered.
    pub acks: Acks,
    /// Whether retries leave no duplicates and no gaps. With [`Acks::All`] only; without it, one
    /// batch at a time is under way to each partition, which keeps the order too.
    pub idempotent: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How large a batch grows before it is sent, uncompressed. A larger record gets its own.
    pub batch_bytes: usize,
    /// The largest record, with all that a batch adds to it.
    pub max_record_bytes: usize,
    /// The most that one request carries, but for a single larger batch.
    pub max_request_bytes: usize,
    /// What records not yet delivered may take; [`Producer::send`](super::Producer::send) waits
    /// for room.
    pub buffer_bytes: usize,
    /// How long after it was given a record may be delivered; then it has failed.
    pub delivery_timeout: Duration,
}

impl ProducerConfig {
    /// Acks from all in sync, idempotent, uncompressed; batches of 64 KiB that wait 5 ms; records
    /// and requests of a MiB; 32 MiB of buffer; two minutes to deliver.
    #[must_use]
    pub fn new() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            max_record_bytes: 1 << 20,
            max_request_bytes: 1 << 20,
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent && self.acks == Acks::All
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self::new()
    }
}
