//! Kafka's v2 record batch: one layout on the wire, on disk and between replicas.
//!
//! A batch is parsed and checked where it lies, stamped outside its checksum, read record by
//! record without allocation, and built. Not here: files, sockets, what a broker answers, message
//! formats before v2. Always holds: bytes from a stranger cost at most their own length and the
//! [`DecodeLimits`] given, and never panic.
//!
//! ```
//! use plimsoll_record_batch::{Batch, BatchBuilder, Compression, DecodeLimits, Keys};
//! use plimsoll_record_batch::{RecordToWrite, stamp};
//! use plimsoll_types::{LeaderEpoch, Offset, Timestamp};
//!
//! let mut builder = BatchBuilder::new(Compression::Lz4);
//! for value in ["a", "b"] {
//!     builder.push(&RecordToWrite {
//!         timestamp: Timestamp::from_millis(1_700_000_000_000),
//!         key: None,
//!         value: Some(value.as_bytes()),
//!         headers: &[(b"trace", Some(b"7"))],
//!     })?;
//! }
//! let mut bytes = builder.build(Offset::ZERO)?.to_vec();
//!
//! // What a broker does: check it, then give it its place in the log.
//! let limits = DecodeLimits { max_decompressed_bytes: 1 << 20, max_records: 10_000 };
//! Batch::parse(&bytes)?.check_records(&limits, Keys::Optional)?;
//! stamp(&mut bytes, Offset::new(40), LeaderEpoch::new(3));
//!
//! // What a consumer does.
//! let batch = Batch::parse(&bytes)?;
//! assert_eq!(batch.header().end(), Offset::new(42));
//! let records = batch.records(&limits)?;
//! let values: Result<Vec<_>, _> = records.iter().map(|record| record.map(|r| r.value)).collect();
//! assert_eq!(values?, [Some(&b"a"[..]), Some(&b"b"[..])]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::indexing_slicing)]

mod attributes;
mod batch;
mod builder;
mod compression;
mod error;
mod header;
mod lz4;
mod record;
mod snappy;
mod stamp;
mod varint;

pub use attributes::{Attributes, TimestampType};
pub use batch::{Batch, Batches, Checked, DecodeLimits, Keys};
pub use builder::{BatchBuilder, RecordToWrite, recompress};
pub use compression::Compression;
pub use error::{BatchError, BuildError, RecompressError, RecordProblem};
pub use header::{BatchHeader, Producer};
pub use record::{Headers, Record, RecordIter, Records};
pub use stamp::{
    stamp, stamp_log_append_time, stamp_max_timestamp, stamp_producer, stamped_prefix,
};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Bytes of base offset, length and leader epoch, which the checksum does not cover.
pub const STAMP_BYTES: usize = 16;

/// CRC-32C (Castagnoli), as the batch and Kafka use it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a 32-bit CRC has 32 bits")
}
