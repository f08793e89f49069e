//! What a broker writes into a batch before it appends it.
//!
//! Base offset and leader epoch stand outside the checksum, so stamping them costs 16 bytes.
//! Timestamps stand inside: changing them takes the checksum anew.

use plimsoll_types::{LeaderEpoch, Offset, Timestamp};

use crate::attributes::TimestampType;
use crate::header::{self, CHECKED_AT, CRC_AT, LEADER_EPOCH_AT, MAX_TIMESTAMP_AT, PRODUCER_AT};
use crate::{Attributes, BatchHeader, Producer, STAMP_BYTES, crc32c};

/// Writes base offset and leader epoch into `batch`, the bytes of one parsed batch.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    header::put(batch, 0, base.to_wire().to_be_bytes());
    header::put(batch, LEADER_EPOCH_AT, epoch.to_wire().to_be_bytes());
}

/// The first [`STAMP_BYTES`] of the batch as stamped, for a vectored write that leaves the batch
/// itself where it is: these bytes, then the batch from [`STAMP_BYTES`] on.
#[must_use]
pub fn stamped_prefix(header: &BatchHeader, base: Offset, epoch: LeaderEpoch) -> [u8; STAMP_BYTES] {
    header::stamp_bytes(header.batch_bytes, base, epoch.to_wire())
}

/// Gives all records of `batch` the append time `now`, and takes the checksum anew.
///
/// # Panics
/// If `batch` is not the bytes of exactly one parsed batch.
pub fn stamp_log_append_time(batch: &mut [u8], now: Timestamp) {
    let bits = i16::from_be_bytes(header::field(batch, CHECKED_AT));
    let attributes = Attributes::from_bits(bits).expect("a parsed batch has a codec that exists");
    let attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
    header::put(batch, CHECKED_AT, attributes.bits().to_be_bytes());
    stamp_max_timestamp(batch, now);
}

/// Puts the greatest timestamp right where a client got it wrong, and takes the checksum anew.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn stamp_max_timestamp(batch: &mut [u8], max_timestamp: Timestamp) {
    let millis = max_timestamp.as_millis();
    header::put(batch, MAX_TIMESTAMP_AT, millis.to_be_bytes());
    stamp_crc(batch);
}

/// Gives `batch` to another idempotent producer, and takes the checksum anew: for a client that
/// sends records again under a new identity.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn stamp_producer(batch: &mut [u8], producer: Producer) {
    header::put(batch, PRODUCER_AT, header::producer_bytes(Some(producer)));
    stamp_crc(batch);
}

/// Takes the checksum of `batch`, which has one batch's bytes, and writes it.
pub(crate) fn stamp_crc(batch: &mut [u8]) {
    let crc = crc32c(batch.get(CHECKED_AT..).unwrap_or_default());
    header::put(batch, CRC_AT, crc.to_be_bytes());
}
