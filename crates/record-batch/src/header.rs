//! The 61 bytes before a batch's records, decoded and range-checked.
//!
//! ```text
//!  0 base offset i64        21 attributes i16          51 producer epoch i16
//!  8 length i32             23 last offset delta i32   53 base sequence i32
//! 12 leader epoch i32       27 base timestamp i64      57 record count i32
//! 16 magic i8 = 2           35 max timestamp i64       61 records
//! 17 CRC-32C u32 of 21..    43 producer id i64
//! ```
//! `length` counts what follows it. All numbers are big-endian.

use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::attributes::{Attributes, TimestampType};
use crate::{BatchError, HEADER_BYTES, STAMP_BYTES};

/// Bytes up to and including the length field.
pub(crate) const PREFIX_BYTES: u32 = 12;
/// What the length field says of a batch without records.
const LEAST_LENGTH: u32 = 49;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
/// The first byte that the checksum covers.
pub(crate) const CHECKED_AT: usize = 21;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
/// Producer id, epoch and base sequence, after each other.
pub(crate) const PRODUCER_AT: usize = 43;
pub(crate) const MAGIC: i8 = 2;

/// The idempotent producer of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch. As the wire has it: a stranger's may be negative.
    pub epoch: ProducerEpoch,
    /// Sequence number of the first record; the others follow. -1 in control batches; as the
    /// wire has it, so a stranger's may be anything.
    pub base_sequence: i32,
}

/// A batch's header. Ranges hold: the last offset exists, `records` fit `last_offset_delta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (of the first there was, if compaction took it).
    pub base: Offset,
    /// Bytes of the whole batch, the 12 of base offset and length included.
    pub batch_bytes: u32,
    /// Epoch of the leader that appended it; `None` before it was.
    pub leader_epoch: Option<LeaderEpoch>,
    /// CRC-32C of everything after the checksum field.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset.
    pub last_offset_delta: u32,
    /// What the records' timestamp deltas count from.
    pub base_timestamp: Timestamp,
    /// The greatest timestamp of the records, as the producer said; the append time if the
    /// timestamp type is [`TimestampType::LogAppendTime`].
    pub max_timestamp: Timestamp,
    /// The idempotent producer; `None` if its id is negative.
    pub producer: Option<Producer>,
    /// Records in the batch. Zero is legal: compaction keeps an emptied batch for its producer.
    pub records: u32,
}

impl BatchHeader {
    /// Decodes the header at the front of `bytes`, without looking at what follows it and
    /// without taking the checksum.
    ///
    /// # Errors
    /// Whatever of a header can be wrong by itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BatchError::Truncated {
            needed: HEADER_BYTES,
            got: bytes.len(),
        })?;
        let magic = i8::from_be_bytes(field(header, MAGIC_AT));
        if magic != MAGIC {
            return Err(BatchError::Magic { magic });
        }
        let batch_bytes = batch_bytes(i32::from_be_bytes(field(header, 8)))?;
        let base = i64::from_be_bytes(field(header, 0));
        let delta = i32::from_be_bytes(field(header, 23));
        let records = i32::from_be_bytes(field(header, 57));
        let (last_offset_delta, record_count) = counts(delta, records)?;
        let base = Offset::from_wire(base)
            .filter(|base| base.checked_add(u64::from(last_offset_delta) + 1).is_some())
            .ok_or(BatchError::Offsets { base, delta })?;
        let producer = ProducerId::from_wire(i64::from_be_bytes(field(header, PRODUCER_AT)));
        Ok(Self {
            base,
            batch_bytes,
            leader_epoch: LeaderEpoch::from_wire(i32::from_be_bytes(field(
                header,
                LEADER_EPOCH_AT,
            ))),
            crc: u32::from_be_bytes(field(header, CRC_AT)),
            attributes: Attributes::from_bits(i16::from_be_bytes(field(header, CHECKED_AT)))?,
            last_offset_delta,
            base_timestamp: Timestamp::from_millis(i64::from_be_bytes(field(header, 27))),
            max_timestamp: Timestamp::from_millis(i64::from_be_bytes(field(
                header,
                MAX_TIMESTAMP_AT,
            ))),
            producer: producer.map(|id| Producer {
                id,
                epoch: ProducerEpoch(i16::from_be_bytes(field(header, 51))),
                base_sequence: i32::from_be_bytes(field(header, 53)),
            }),
            records: record_count,
        })
    }

    /// Offset of the last record there is or was.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base + u64::from(self.last_offset_delta)
    }

    /// The offset after the last: where the next batch begins.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.base + u64::from(self.last_offset_delta) + 1
    }

    /// The time from which the batch's tombstones may go, if it has been set.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.attributes
            .has_delete_horizon()
            .then_some(self.base_timestamp)
    }

    /// The timestamp that all records share, if the broker's clock gave it.
    pub(crate) fn append_time(&self) -> Option<Timestamp> {
        (self.attributes.timestamp_type() == TimestampType::LogAppendTime)
            .then_some(self.max_timestamp)
    }

    /// The header's bytes, leaving the checksum zero.
    pub(crate) fn encode_without_crc(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let epoch = self.leader_epoch.map_or(-1, LeaderEpoch::to_wire);
        put(
            &mut bytes,
            0,
            stamp_bytes(self.batch_bytes, self.base, epoch),
        );
        put(&mut bytes, MAGIC_AT, MAGIC.to_be_bytes());
        put(&mut bytes, CHECKED_AT, self.attributes.bits().to_be_bytes());
        put(&mut bytes, 23, self.last_offset_delta.to_be_bytes());
        put(
            &mut bytes,
            27,
            self.base_timestamp.as_millis().to_be_bytes(),
        );
        let max_timestamp = self.max_timestamp.as_millis();
        put(&mut bytes, MAX_TIMESTAMP_AT, max_timestamp.to_be_bytes());
        put(&mut bytes, PRODUCER_AT, producer_bytes(self.producer));
        put(&mut bytes, 57, self.records.to_be_bytes());
        bytes
    }
}

/// The bytes of the whole batch, if the length field can be true.
pub(crate) fn batch_bytes(length: i32) -> Result<u32, BatchError> {
    match u32::try_from(length) {
        Ok(after) if after >= LEAST_LENGTH => Ok(after + PREFIX_BYTES),
        _ => Err(BatchError::Length { length }),
    }
}

fn counts(delta: i32, records: i32) -> Result<(u32, u32), BatchError> {
    match (u32::try_from(delta), u32::try_from(records)) {
        (Ok(last), Ok(count)) if count <= last.saturating_add(1) => Ok((last, count)),
        _ => Err(BatchError::Counts { records, delta }),
    }
}

/// Base offset, length and leader epoch as they stand on the wire.
pub(crate) fn stamp_bytes(batch_bytes: u32, base: Offset, epoch: i32) -> [u8; STAMP_BYTES] {
    let mut bytes = [0; STAMP_BYTES];
    put(&mut bytes, 0, base.to_wire().to_be_bytes());
    let length = batch_bytes.saturating_sub(PREFIX_BYTES);
    put(&mut bytes, 8, length.to_be_bytes());
    put(&mut bytes, LEADER_EPOCH_AT, epoch.to_be_bytes());
    bytes
}

/// Producer id, epoch and base sequence as they stand on the wire: all -1 for none.
pub(crate) fn producer_bytes(producer: Option<Producer>) -> [u8; 14] {
    let mut bytes = [0xff; 14];
    if let Some(producer) = producer {
        put(&mut bytes, 0, producer.id.to_wire().to_be_bytes());
        put(&mut bytes, 8, producer.epoch.0.to_be_bytes());
        put(&mut bytes, 10, producer.base_sequence.to_be_bytes());
    }
    bytes
}

/// The `N` bytes at `at`, both fixed by the layout.
pub(crate) fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    *header
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .expect("the layout lies within the header")
}

/// Writes the `N` bytes at `at`, both fixed by the layout.
pub(crate) fn put<const N: usize>(header: &mut [u8], at: usize, value: [u8; N]) {
    *header
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut())
        .expect("the layout lies within the header") = value;
}
