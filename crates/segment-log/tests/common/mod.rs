//! What the tests of the log share: batches, logs in temporary directories, reading all of one.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod disk;
pub mod image;
pub mod model;
pub mod workload;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchHeader, Batches, Compression, DecodeLimits, Producer, RecordToWrite,
};
use plimsoll_segment_log::{
    Identity, LogConfig, LogHost, LogReader, Minimum, OpenError, Opened, ReadError, ToAppend, open,
};
use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};

pub const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

pub const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 26,
    max_records: 1 << 20,
};

pub fn identity() -> Identity {
    Identity {
        topic_id: TopicId::from_bytes(*b"a-topic-of-tests"),
        partition: 3,
    }
}

pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        segment_age: None,
        index_interval_bytes: 512,
        producer_expiry: Duration::from_secs(3600),
        decode: LIMITS,
    }
}

/// Small segments and dense indexes, so that short workloads meet every edge.
pub fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 200,
        ..config()
    }
}

pub fn host() -> LogHost {
    LogHost::new(64)
}

pub fn open_in(dir: &Path, config: LogConfig) -> Opened {
    try_open(dir, config, &host()).expect("the log opens")
}

pub fn try_open(dir: &Path, config: LogConfig, host: &LogHost) -> Result<Opened, OpenError> {
    open(&dir.join("log"), identity(), config, host)
}

pub fn time(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub fn offset(value: u64) -> Offset {
    Offset::new(value)
}

/// A batch made of a builder.
pub fn finish(builder: BatchBuilder) -> ToAppend {
    of_bytes(builder.build(Offset::ZERO).expect("it builds"))
}

pub fn of_bytes(bytes: Bytes) -> ToAppend {
    let header = *Batch::parse(&bytes).expect("it is whole").header();
    ToAppend { header, bytes }
}

/// A batch of `values` at `timestamp`.
pub fn batch_at(timestamp: i64, values: &[&[u8]]) -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder
            .push(&record(timestamp, None, Some(value)))
            .expect("it fits");
    }
    finish(builder)
}

pub fn batch(values: &[&[u8]]) -> ToAppend {
    batch_at(1_000, values)
}

pub fn record<'a>(
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> RecordToWrite<'a> {
    RecordToWrite {
        timestamp: time(timestamp),
        key,
        value,
        headers: &[],
    }
}

/// A batch of keyed records; `None` is a tombstone.
pub fn keyed(timestamp: i64, records: &[(&str, Option<&str>)]) -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        let record = record(timestamp, Some(key.as_bytes()), value.map(str::as_bytes));
        builder.push(&record).expect("it fits");
    }
    finish(builder)
}

/// A producer's batch of `count` records.
pub fn produced(id: u64, epoch: i16, sequence: i32, count: usize, timestamp: i64) -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
        id: ProducerId::new(id).expect("in range"),
        epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
    });
    for n in 0..count {
        let value = format!("{id}/{epoch}/{sequence}+{n}");
        builder
            .push(&record(timestamp, None, Some(value.as_bytes())))
            .expect("it fits");
    }
    finish(builder)
}

/// Everything in the log, batch by batch.
pub fn read_all(reader: &LogReader) -> Result<Vec<(BatchHeader, Bytes)>, ReadError> {
    read_from(reader, reader.log_start(), 1 << 20)
}

pub fn read_from(
    reader: &LogReader,
    mut from: Offset,
    max_bytes: usize,
) -> Result<Vec<(BatchHeader, Bytes)>, ReadError> {
    let mut all = Vec::new();
    loop {
        let slices = reader.read(from, Offset::MAX, max_bytes, Minimum::OneBatch)?;
        assert_eq!(
            slices.bytes,
            slices.chunks.iter().map(Bytes::len).sum::<usize>()
        );
        for chunk in &slices.chunks {
            for batch in Batches::new(chunk) {
                let batch = batch.expect("served batches are whole");
                all.push((*batch.header(), chunk.slice_ref(batch.bytes())));
            }
        }
        if slices.next == from {
            return Ok(all);
        }
        from = slices.next;
    }
}

/// The values of all records, with their offsets.
pub fn values(reader: &LogReader) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut values = Vec::new();
    for (_, bytes) in read_all(reader).expect("readable") {
        let batch = Batch::parse(&bytes).expect("whole");
        for record in batch.records(&LIMITS).expect("within limits").iter() {
            let record = record.expect("whole");
            values.push((record.offset.get(), record.value.map(<[u8]>::to_vec)));
        }
    }
    values
}

/// A small generator of numbers: the tests print their seeds.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
