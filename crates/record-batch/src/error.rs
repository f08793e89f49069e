//! What can be wrong with a batch, with the numbers that say where.
//!
//! [`BatchError`] is the peer's or the disk's fault, [`BuildError`] the caller's. Neither holds
//! bytes of the batch, so both are safe to print and cheap to keep.

use plimsoll_types::Offset;

use crate::Compression;

/// Why bytes are not a batch that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed} bytes, only {got} are there")]
    Truncated {
        /// Bytes that the header, or the whole batch, takes.
        needed: usize,
        /// Bytes at hand.
        got: usize,
    },
    /// Not a v2 batch: an older message format, or no batch at all.
    #[error("the batch has magic {magic}, only 2 is spoken here")]
    Magic {
        /// The magic byte.
        magic: i8,
    },
    /// The length field cannot be true of any batch.
    #[error("the batch says it has {length} bytes after its length field, at least 49 are needed")]
    Length {
        /// The length field.
        length: i32,
    },
    /// The bytes are not those whose checksum was taken.
    #[error("batch at offset {base}: CRC-32C is {computed:#010x}, the header says {stored:#010x}")]
    Checksum {
        /// Base offset, which the checksum does not cover.
        base: Offset,
        /// The header's checksum.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The base offset is negative, or the last offset would pass the greatest there is.
    #[error("base offset {base} with last offset delta {delta} is outside the range of offsets")]
    Offsets {
        /// The base offset field.
        base: i64,
        /// The last-offset-delta field.
        delta: i32,
    },
    /// The last-offset delta is negative, or too small for the count of records.
    #[error("{records} records do not fit a last offset delta of {delta}")]
    Counts {
        /// The record-count field.
        records: i32,
        /// The last-offset-delta field.
        delta: i32,
    },
    /// The attributes name a codec that does not exist.
    #[error("compression codec {codec} does not exist")]
    Codec {
        /// The three bits of the codec.
        codec: u8,
    },
    /// The batch holds more records than the caller's limit.
    #[error("the batch holds {records} records, at most {max} are allowed")]
    TooManyRecords {
        /// The record-count field.
        records: u32,
        /// The limit.
        max: u32,
    },
    /// Decompressed, the batch is larger than the caller's limit.
    #[error("decompressed from {compression}, the batch passes {max} bytes")]
    TooLarge {
        /// The codec.
        compression: Compression,
        /// The limit.
        max: usize,
    },
    /// The records cannot be decompressed.
    #[error("the records are not valid {compression} data")]
    Corrupt {
        /// The codec.
        compression: Compression,
    },
    /// A record cannot be read, or breaks a rule.
    #[error("record {index} of the batch: {problem}")]
    Record {
        /// Which record, from 0.
        index: u32,
        /// What is wrong with it.
        problem: RecordProblem,
    },
    /// Bytes are left after the last record.
    #[error("{bytes} bytes follow the last of {records} records")]
    Trailing {
        /// The header's record count.
        records: u32,
        /// How many bytes are left.
        bytes: usize,
    },
    /// A strict check met a batch without records.
    #[error("the batch has no records")]
    Empty,
    /// A strict check met a count other than last-offset delta plus one.
    #[error("{records} records, but the last offset delta is {delta}")]
    Sparse {
        /// The record count.
        records: u32,
        /// The last-offset delta.
        delta: u32,
    },
    /// A strict check met a producer id with a negative sequence or epoch.
    #[error("an idempotent batch with producer epoch {epoch} and base sequence {sequence}")]
    Sequence {
        /// The producer-epoch field.
        epoch: i16,
        /// The base-sequence field.
        sequence: i32,
    },
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordProblem {
    /// The batch ends inside it.
    #[error("it is cut short")]
    Truncated,
    /// A variable-length number is longer than its type.
    #[error("a variable-length number is too long")]
    Varint,
    /// A length or count that cannot be negative is.
    #[error("{what} is {value}")]
    Negative {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: i32,
    },
    /// Its offset delta does not follow from the record before, or passes the batch's last.
    #[error("its offset delta is {got}, expected {expected}{}", if *.sparse { " or more" } else { "" })]
    OffsetDelta {
        /// The delta it has.
        got: i32,
        /// The delta it should have, or the least it may have.
        expected: u32,
        /// Whether gaps are allowed here.
        sparse: bool,
    },
    /// Base timestamp plus its delta is no timestamp.
    #[error("its timestamp overflows")]
    Timestamp,
    /// It says one length and its fields make another.
    #[error("it says it has {declared} bytes, its fields make {used}")]
    Length {
        /// Its length prefix.
        declared: usize,
        /// Bytes its fields take.
        used: usize,
    },
    /// It has no key, and the topic needs one.
    #[error("it has no key, which a compacted topic requires")]
    NoKey,
}

/// Why a batch cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The batch, or a record, would pass `i32::MAX` bytes.
    #[error("a batch or record cannot pass {} bytes", i32::MAX)]
    TooLarge,
    /// An offset is not above the one before, or lies outside the batch.
    #[error("offset {offset} does not follow the record before, or is outside the batch")]
    Offset {
        /// The offset.
        offset: Offset,
    },
    /// Timestamps lie too far apart for one batch, or base offset plus count overflows.
    #[error("the batch's timestamps or offsets overflow")]
    Overflow,
    /// The codec gave up.
    #[error("{compression} could not compress the records")]
    Compress {
        /// The codec.
        compression: Compression,
    },
}

/// Why a batch cannot be written anew with another codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecompressError {
    /// The batch as it is cannot be read.
    #[error(transparent)]
    Read(#[from] BatchError),
    /// The batch as it should be cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}
