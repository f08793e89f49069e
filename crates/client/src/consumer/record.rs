//! Records as a consumer hands them out, cut from what a fetch brought.
//!
//! Batches are read one at a time when their turn comes, so no more than one is decompressed. What
//! always holds: the position only grows, and passes records that were never handed out only where
//! there are none to hand out.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use plimsoll_record_batch::{
    Batch, BatchError, BatchHeader, Batches, DecodeLimits, HEADER_BYTES, Record, RecordIter,
    TimestampType,
};
use plimsoll_types::{LeaderEpoch, Offset, Timestamp, TopicName, TopicPartition};

use crate::ClientError;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Whose clock that is of.
    pub timestamp_type: TimestampType,
    /// The epoch in which it was written, if told.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What a fetch brought of one partition, not yet handed out.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Batches not yet read; the last may be cut short.
    rest: Bytes,
    /// The records of the batch being handed out, and its end.
    ready: VecDeque<ConsumedRecord>,
    ready_end: Offset,
}

impl Chunk {
    /// Over the records of a fetch from `position`.
    ///
    /// Bytes that hold not even one whole batch would be fetched for ever: they are an error.
    pub(super) fn new(bytes: Bytes) -> Result<Self, BatchError> {
        if !bytes.is_empty() && Batches::new(&bytes).next().is_none() {
            // Says what is missing.
            Batch::parse(&bytes)?;
        }
        Ok(Self {
            rest: bytes,
            ..Self::default()
        })
    }

    /// The next record at or after `position`, which moves behind it.
    pub(super) fn next(
        &mut self,
        partition: &TopicPartition,
        position: &mut Offset,
        limits: &DecodeLimits,
    ) -> Result<Option<ConsumedRecord>, ClientError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                *position = match self.ready.front() {
                    Some(_) => record.offset + 1,
                    None => self.ready_end,
                };
                return Ok(Some(record));
            }
            let read = self.read_batch(partition, *position, limits);
            let read = read.map_err(|cause| ClientError::Batch {
                topic_partition: partition.clone(),
                offset: *position,
                cause,
            })?;
            match read {
                // Whatever was in it is not for us: pass it.
                Some(end) if self.ready.is_empty() => *position = end.max(*position),
                Some(end) => self.ready_end = end,
                None => return Ok(None),
            }
        }
    }

    /// Reads the next whole batch, if there is one, and tells its end. After an error it is still
    /// the next.
    fn read_batch(
        &mut self,
        partition: &TopicPartition,
        position: Offset,
        limits: &DecodeLimits,
    ) -> Result<Option<Offset>, BatchError> {
        let bytes = self.rest.clone();
        let Some(batch) = Batches::new(&bytes).next().transpose()? else {
            self.rest = Bytes::new();
            return Ok(None);
        };
        let header = *batch.header();
        let mut ready = VecDeque::new();
        if header.end() > position && !header.attributes.is_control() {
            let payload = match batch.records(limits)?.into_payload() {
                // Not copied: a part of the frame.
                Cow::Borrowed(_) => bytes.slice(HEADER_BYTES..batch.bytes().len()),
                Cow::Owned(payload) => Bytes::from(payload),
            };
            for record in RecordIter::new(&header, &payload) {
                let record = record?;
                if record.offset >= position {
                    ready.push_back(consumed(partition, &header, &payload, &record));
                }
            }
        }
        self.rest = bytes.slice(batch.bytes().len()..);
        self.ready = ready;
        Ok(Some(header.end()))
    }
}

/// The record, keeping the payload that it is a part of.
fn consumed(
    partition: &TopicPartition,
    header: &BatchHeader,
    payload: &Bytes,
    record: &Record<'_>,
) -> ConsumedRecord {
    ConsumedRecord {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: header.attributes.timestamp_type(),
        leader_epoch: header.leader_epoch,
        key: record.key.map(|key| payload.slice_ref(key)),
        value: record.value.map(|value| payload.slice_ref(value)),
        headers: headers(payload, record),
    }
}

fn headers(payload: &Bytes, record: &Record<'_>) -> Vec<(Bytes, Option<Bytes>)> {
    let headers = record.headers.map(|(key, value)| {
        let value = value.map(|value| payload.slice_ref(value));
        (payload.slice_ref(key), value)
    });
    headers.collect()
}

#[cfg(test)]
mod tests {
    use plimsoll_record_batch::{BatchBuilder, Compression, RecordToWrite};

    use super::*;

    const LIMITS: DecodeLimits = DecodeLimits {
        max_decompressed_bytes: 1 << 20,
        max_records: 1_000,
    };

    fn batch(base: u64, values: &[&str], compression: Compression, control: bool) -> Bytes {
        let mut builder = BatchBuilder::new(compression);
        if control {
            builder = builder.control();
        }
        for value in values {
            builder
                .push(&RecordToWrite {
                    timestamp: Timestamp::from_millis(5),
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[(b"h", Some(b"v"))],
                })
                .expect("small");
        }
        builder.build(Offset::new(base)).expect("small")
    }

    fn partition() -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: 0,
        }
    }

    /// Values handed out from `position`, and the position after.
    fn read(bytes: Vec<u8>, position: u64) -> (Vec<String>, u64) {
        let mut chunk = Chunk::new(bytes.into()).expect("a whole batch");
        let mut position = Offset::new(position);
        let mut values = Vec::new();
        while let Some(record) = chunk
            .next(&partition(), &mut position, &LIMITS)
            .expect("reads")
        {
            let value = record.value.expect("has one");
            values.push(String::from_utf8_lossy(&value).into_owned());
        }
        (values, position.get())
    }

    #[test]
    fn records_before_the_position_are_passed() {
        let bytes = batch(10, &["a", "b", "c"], Compression::Lz4, false);
        assert_eq!(read(bytes.to_vec(), 11), (vec!["b".into(), "c".into()], 13));
    }

    #[test]
    fn control_batches_move_the_position_and_nothing_else() {
        let mut bytes = batch(0, &["a"], Compression::None, false).to_vec();
        bytes.extend(batch(1, &["marker"], Compression::None, true));
        assert_eq!(read(bytes, 0), (vec!["a".into()], 2));
    }

    #[test]
    fn a_partial_batch_at_the_end_is_left_for_the_next_fetch() {
        let mut bytes = batch(0, &["a"], Compression::None, false).to_vec();
        bytes.extend(&batch(1, &["b"], Compression::None, false)[..70]);
        assert_eq!(read(bytes, 0), (vec!["a".into()], 1));
    }

    #[test]
    fn a_partial_batch_alone_is_an_error() {
        let bytes = batch(0, &["a"], Compression::None, false).slice(..65);
        let refused = Chunk::new(bytes);
        assert!(matches!(refused, Err(BatchError::Truncated { .. })));
    }

    #[test]
    fn a_damaged_batch_is_an_error_that_names_the_place() {
        let mut bytes = batch(3, &["a"], Compression::None, false).to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        let mut chunk = Chunk::new(bytes.into()).expect("looked at later");
        let refused = chunk.next(&partition(), &mut Offset::new(3), &LIMITS);
        assert!(matches!(refused, Err(ClientError::Batch { offset, .. }) if offset.get() == 3));
    }
}
