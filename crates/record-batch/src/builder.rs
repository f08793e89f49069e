//! Writes batches: a producer's from nothing, and compaction's from what survives of another.
//!
//! Records are encoded as they are pushed, behind room for the header, so an uncompressed batch
//! is never copied. What is built always parses.

use bytes::Bytes;
use plimsoll_types::{LeaderEpoch, Offset, Timestamp};

use crate::attributes::TimestampType;
use crate::stamp::stamp_crc;
use crate::varint::{put_varint, put_varlong, varint_bytes, varlong_bytes};
use crate::{
    Attributes, Batch, BatchHeader, BuildError, Compression, DecodeLimits, HEADER_BYTES, Producer,
    RecompressError, Record,
};

/// A record on its way into a batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordToWrite<'a> {
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers: key and value, in order, duplicates and any bytes allowed.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// One batch in the making.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    attributes: Attributes,
    leader_epoch: Option<LeaderEpoch>,
    producer: Option<Producer>,
    /// Set by the first record, unless set before.
    base_timestamp: Option<Timestamp>,
    /// Of the records so far; fixed for append time.
    max_timestamp: Option<Timestamp>,
    /// The batch that survivors are kept of: its offsets stay.
    original: Option<BatchHeader>,
    records: u32,
    /// The least offset delta that the next record may have.
    next_delta: u32,
    /// Room for the header, then the records so far.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch, its records to be compressed so.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            attributes: Attributes::new(compression),
            leader_epoch: None,
            producer: None,
            base_timestamp: None,
            max_timestamp: None,
            original: None,
            records: 0,
            next_delta: 0,
            bytes: vec![0; HEADER_BYTES],
        }
    }

    /// What survives of the batch `original`: attributes, leader epoch, producer, base offset and
    /// last offset stay; records are kept by [`BatchBuilder::keep`]. None is fine.
    #[must_use]
    pub fn survivors_of(original: &BatchHeader) -> Self {
        Self {
            attributes: original.attributes,
            leader_epoch: original.leader_epoch,
            producer: original.producer,
            base_timestamp: Some(original.base_timestamp),
            max_timestamp: original.append_time(),
            original: Some(*original),
            ..Self::new(original.attributes.compression())
        }
    }

    /// Names the idempotent producer, whose first sequence number goes to the first record.
    #[must_use]
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self
    }

    /// Sets the leader epoch. Unset, it is what producers send: none.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = Some(epoch);
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional(true);
        self
    }

    /// Marks the batch as a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes = self.attributes.with_control(true);
        self
    }

    /// Gives all records the append time `now`.
    #[must_use]
    pub fn log_append_time(mut self, now: Timestamp) -> Self {
        let append_time = TimestampType::LogAppendTime;
        self.attributes = self.attributes.with_timestamp_type(append_time);
        self.max_timestamp = Some(now);
        self
    }

    /// Sets the time from which the batch's tombstones may go. Before the first record: it takes
    /// the place of the base timestamp, which the records' timestamps count from.
    ///
    /// # Panics
    /// If a record is in the batch already.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Timestamp) -> Self {
        assert!(
            self.records == 0,
            "the base timestamp is fixed by the first record"
        );
        self.attributes = self.attributes.with_delete_horizon(true);
        self.base_timestamp = Some(horizon);
        self
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes so far, header included, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Appends a record at the next offset.
    ///
    /// # Errors
    /// When the batch would become too large, or timestamps lie too far apart. The batch is as
    /// it was.
    pub fn push(&mut self, record: &RecordToWrite<'_>) -> Result<(), BuildError> {
        let headers = record.headers.iter().copied();
        let fields = Encoded {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers,
        };
        self.append(self.next_delta, &fields)
    }

    /// Appends a record of the batch that this one is [`BatchBuilder::survivors_of`], at its own
    /// offset.
    ///
    /// # Errors
    /// When the record lies outside that batch or not after the last kept; else as
    /// [`BatchBuilder::push`].
    pub fn keep(&mut self, record: &Record<'_>) -> Result<(), BuildError> {
        let offset = record.offset;
        let wrong = BuildError::Offset { offset };
        let original = self.original.ok_or(wrong)?;
        if offset < original.base || offset > original.last_offset() {
            return Err(wrong);
        }
        let delta = u32::try_from(offset.since(original.base)).map_err(|_| wrong)?;
        if delta < self.next_delta {
            return Err(wrong);
        }
        let fields = Encoded {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        self.append(delta, &fields)
    }

    /// Finishes the batch with its first record at `base`. Survivors keep their base offset, and
    /// `base` must be it.
    ///
    /// # Errors
    /// When the batch is too large, its codec gives up, or offsets overflow.
    pub fn build(self, base: Offset) -> Result<Bytes, BuildError> {
        let last_offset_delta = match self.original {
            Some(original) if original.base != base => {
                return Err(BuildError::Offset { offset: base });
            }
            Some(original) => original.last_offset_delta,
            None => self.next_delta.saturating_sub(1),
        };
        base.checked_add(u64::from(last_offset_delta) + 1)
            .ok_or(BuildError::Overflow)?;
        let fallback = self.original.map(|original| original.max_timestamp);
        let header = BatchHeader {
            base,
            batch_bytes: 0,
            leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: self.max_timestamp.or(fallback).unwrap_or(Timestamp::NONE),
            producer: self.producer,
            records: self.records,
        };
        let compression = self.attributes.compression();
        if compression == Compression::None || self.records == 0 {
            return seal(header, self.bytes);
        }
        let plain = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        seal(header, compress_behind_header(compression, plain)?)
    }

    fn append<'h, H>(&mut self, delta: u32, fields: &Encoded<'_, H>) -> Result<(), BuildError>
    where
        H: Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    {
        let offset_delta = i32::try_from(delta).map_err(|_| BuildError::Overflow)?;
        let base_timestamp = self.base_timestamp.unwrap_or(fields.timestamp);
        let timestamp_delta = fields
            .timestamp
            .as_millis()
            .checked_sub(base_timestamp.as_millis())
            .ok_or(BuildError::Overflow)?;
        let body = fields.bytes(timestamp_delta, offset_delta)?;
        let total = self.bytes.len() + varint_bytes(body) + body.cast_unsigned() as usize;
        i32::try_from(total).map_err(|_| BuildError::TooLarge)?;
        self.base_timestamp = Some(base_timestamp);
        if self.attributes.timestamp_type() == TimestampType::CreateTime {
            self.max_timestamp = self.max_timestamp.max(Some(fields.timestamp));
        }
        put_varint(&mut self.bytes, body);
        fields.write(&mut self.bytes, timestamp_delta, offset_delta);
        self.records += 1;
        self.next_delta = delta + 1;
        Ok(())
    }
}

/// A record's fields, whichever way its headers come.
struct Encoded<'a, H> {
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: H,
}

impl<'h, H> Encoded<'_, H>
where
    H: Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
{
    /// Bytes after the record's length prefix; every length within is then known to fit too.
    fn bytes(&self, timestamp_delta: i64, offset_delta: i32) -> Result<i32, BuildError> {
        let mut count = 0i32;
        let mut bytes = 1 + varlong_bytes(timestamp_delta) + varint_bytes(offset_delta);
        bytes += nullable_bytes(self.key)? + nullable_bytes(self.value)?;
        for (key, value) in self.headers.clone() {
            bytes = bytes
                .checked_add(nullable_bytes(Some(key))? + nullable_bytes(value)?)
                .ok_or(BuildError::TooLarge)?;
            count = count.checked_add(1).ok_or(BuildError::TooLarge)?;
        }
        i32::try_from(bytes + varint_bytes(count)).map_err(|_| BuildError::TooLarge)
    }

    fn write(&self, out: &mut Vec<u8>, timestamp_delta: i64, offset_delta: i32) {
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        let count = self.headers.clone().count();
        put_varint(out, i32::try_from(count).expect("counted by `bytes`"));
        for (key, value) in self.headers.clone() {
            put_nullable(out, Some(key));
            put_nullable(out, value);
        }
    }
}

fn nullable_bytes(bytes: Option<&[u8]>) -> Result<usize, BuildError> {
    let Some(bytes) = bytes else { return Ok(1) };
    let length = i32::try_from(bytes.len()).map_err(|_| BuildError::TooLarge)?;
    Ok(varint_bytes(length) + bytes.len())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        return put_varint(out, -1);
    };
    put_varint(
        out,
        i32::try_from(bytes.len()).expect("measured by `bytes`"),
    );
    out.extend_from_slice(bytes);
}

/// The same batch with its records compressed by `to`: offsets, timestamps, record bytes and
/// producer stay. A batch that is so already comes back copied as it is.
///
/// # Errors
/// When the batch passes a limit, does not decompress, or cannot be compressed.
pub fn recompress(
    batch: &Batch<'_>,
    to: Compression,
    limits: &DecodeLimits,
) -> Result<Bytes, RecompressError> {
    let mut header = *batch.header();
    if header.attributes.compression() == to {
        return Ok(Bytes::copy_from_slice(batch.bytes()));
    }
    let plain = batch.records(limits)?.into_payload();
    header.attributes = header.attributes.with_compression(to);
    let bytes = if plain.is_empty() {
        vec![0; HEADER_BYTES]
    } else {
        compress_behind_header(to, &plain)?
    };
    Ok(seal(header, bytes)?)
}

/// Room for a header, then `plain` compressed.
fn compress_behind_header(compression: Compression, plain: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
    bytes.resize(HEADER_BYTES, 0);
    compression.compress(plain, &mut bytes)?;
    Ok(bytes)
}

/// Writes `header`, with length and checksum made true, into the room before the records.
fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Result<Bytes, BuildError> {
    let total = i32::try_from(bytes.len()).map_err(|_| BuildError::TooLarge)?;
    header.batch_bytes = total.cast_unsigned();
    crate::header::put(&mut bytes, 0, header.encode_without_crc());
    stamp_crc(&mut bytes);
    Ok(Bytes::from(bytes))
}
