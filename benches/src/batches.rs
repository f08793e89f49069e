//! Record batches to append, parse and send.

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchBuilder, BatchHeader, Compression, RecordToWrite};
use plimsoll_types::{Offset, Timestamp};

/// A batch of `records` records with values of `value_bytes` each.
///
/// # Panics
/// If that is more than a batch holds.
#[must_use]
pub fn batch(records: u32, value_bytes: usize) -> Bytes {
    let value = vec![b'v'; value_bytes];
    let timestamp = Timestamp::from_millis(1_700_000_000_000);
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        let record = RecordToWrite {
            timestamp,
            key: Some(b"key"),
            value: Some(&value),
            headers: &[],
        };
        builder
            .push(&record)
            .expect("a bench's records are in bounds");
    }
    builder
        .build(Offset::ZERO)
        .expect("a bench's batch is in bounds")
}

/// A batch of about `bytes`, in records of 1 KiB or one smaller record.
///
/// # Panics
/// If that is more than a batch holds.
#[must_use]
pub fn batch_of_bytes(bytes: usize) -> Bytes {
    let value_bytes = bytes.min(1024);
    let records = u32::try_from(bytes / value_bytes).expect("a bench's batch is in bounds");
    batch(records, value_bytes)
}

/// The header of a batch that [`batch`] made.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn header_of(batch: &Bytes) -> BatchHeader {
    *Batch::parse(batch).expect("it was built here").header()
}
