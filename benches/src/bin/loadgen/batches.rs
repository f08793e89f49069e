//! The batches that are sent, and reading what comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use plimsoll_client::Topic;
use plimsoll_record_batch::{BatchBuilder, Compression, RecordToWrite};
use plimsoll_types::{Offset, Timestamp};
use plimsoll_wire::Request;
use plimsoll_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::load::Load;

/// How long a broker may take over a produce request.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// Makes batches. Their values do not compress, and begin with the time they are about.
pub(crate) struct BatchMaker {
    value: Vec<u8>,
    records: u32,
    now: Timestamp,
}

impl BatchMaker {
    pub(crate) fn new(load: &Load) -> Result<Self> {
        let len = usize::try_from(load.record_bytes).context("a record larger than memory")?;
        ensure!(len >= STAMP_BYTES, "a record has room for its time");
        Ok(Self {
            value: noise(len),
            records: load.batch_records,
            now: wall(),
        })
    }

    /// A batch about the moment `at` after the run began.
    pub(crate) fn make(&mut self, at: Duration) -> Result<Bytes> {
        let nanos = u64::try_from(at.as_nanos()).context("a run of ages")?;
        self.value[..STAMP_BYTES].copy_from_slice(&nanos.to_be_bytes());
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..self.records {
            let value = Some(self.value.as_slice());
            builder.push(&RecordToWrite {
                timestamp: self.now,
                key: None,
                value,
                headers: &[],
            })?;
        }
        Ok(builder.build(Offset::ZERO)?)
    }
}

const STAMP_BYTES: usize = size_of::<u64>();

/// The moment that a record made by [`BatchMaker`] is about.
pub(crate) fn moment(value: &[u8]) -> Option<Duration> {
    let stamp = value.first_chunk::<STAMP_BYTES>()?;
    Some(Duration::from_nanos(u64::from_be_bytes(*stamp)))
}

/// The request that carries `batch` to one partition.
pub(crate) fn request(topic: &Topic, partition: u32, acks: i16, batch: Bytes) -> Result<Request> {
    let partition = PartitionProduceData {
        index: i32::try_from(partition).context("a partition number beyond the protocol's")?,
        records: Some(batch.into()),
    };
    let topic_data = TopicProduceData {
        name: topic.name.as_str().into(),
        topic_id: topic.id,
        partition_data: vec![partition],
    };
    Ok(Request::Produce(ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![topic_data],
    }))
}

/// Bytes that no codec makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    words.flatten().take(len).collect()
}

#[expect(clippy::disallowed_methods, reason = "records carry the time of day")]
fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
