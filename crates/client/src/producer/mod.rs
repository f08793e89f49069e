//! Sending records: gathered into batches by partition, sent to leaders, again where that helps.
//!
//! What always holds: records of one partition arrive in the order in which they were given; what
//! is not delivered takes at most `buffer_bytes`; each record's fate is known within
//! `delivery_timeout` and the time of one request; with idempotence, retries leave neither
//! duplicates nor gaps.

mod accumulator;
mod batch;
mod config;
mod queue;
mod sender;

use std::sync::Arc;

use accumulator::Accumulator;
use batch::News;
use bytes::Bytes;
pub use config::{Acks, ProducerConfig};
use parking_lot::Mutex;
use plimsoll_record_batch::{HEADER_BYTES, RecordToWrite};
use plimsoll_types::{Offset, Timestamp, TopicName, TopicPartition};
use sender::Sender;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::partitioner::partition_of;
use crate::{Client, ClientError, clock};

/// What a record may add to its bytes: the numbers around them.
const RECORD_OVERHEAD_BYTES: usize = 36;
/// The same for a header.
const RECORD_HEADER_OVERHEAD_BYTES: usize = 10;

/// A producer; clones share it. Records that are not delivered when the last goes are given up:
/// [`Producer::flush`] first.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

struct Shared {
    client: Client,
    config: ProducerConfig,
    accumulator: Mutex<Accumulator>,
    /// Room for records not yet delivered.
    buffer: Arc<Semaphore>,
    /// There is something to send.
    wake: Notify,
}

/// The sending task, which ends with this.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition; `None` to let its key decide, or the producer if it has none.
    pub partition: Option<u32>,
    /// Its timestamp; `None` for now.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order; keys may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl ProducerRecord {
    /// A record with a value, for any partition.
    #[must_use]
    pub fn new(topic: TopicName, value: impl Into<Bytes>) -> Self {
        Self {
            topic,
            partition: None,
            timestamp: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// No less than it takes in a batch.
    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| key.len() + length(value) + RECORD_HEADER_OVERHEAD_BYTES);
        let own = length(&self.key) + length(&self.value) + RECORD_OVERHEAD_BYTES;
        own + headers.sum::<usize>()
    }
}

/// The fate of a record, to be known. Dropping it loses the news, not the record.
#[derive(Clone, Debug)]
pub struct Delivery {
    partition: u32,
    index: u32,
    news: watch::Receiver<News>,
}

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its partition.
    pub partition: u32,
    /// Its offset; `None` without acks, or if the broker only knows that it has it.
    pub offset: Option<Offset>,
    /// The broker's time of the append, if the topic stamps it.
    pub append_time: Option<Timestamp>,
}

impl Delivery {
    /// Waits until the record is delivered or given up.
    ///
    /// # Errors
    /// Why it is not delivered. After an error that [`ClientError::is_transport`] it may have
    /// been written all the same.
    pub async fn wait(mut self) -> Result<Delivered, ClientError> {
        let told = self.news.wait_for(Option::is_some).await;
        let told = told.map_err(|_| ClientError::Closed)?;
        let landed = told.clone().unwrap_or(Err(ClientError::Closed))?;
        let after = |base: Offset| base.checked_add(u64::from(self.index));
        Ok(Delivered {
            partition: self.partition,
            offset: landed.base.and_then(after),
            append_time: landed.append_time,
        })
    }
}

impl Producer {
    /// A producer with its task, on the current runtime.
    #[must_use]
    pub fn new(client: Client, config: ProducerConfig) -> Self {
        let buffer = config.buffer_bytes.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            client,
            accumulator: Mutex::new(Accumulator::new(config.clone())),
            buffer: Arc::new(Semaphore::new(buffer)),
            config,
            wake: Notify::new(),
        });
        let task = tokio::spawn(Sender::new(shared.clone()).run());
        Self {
            shared,
            _task: Arc::new(Task(task)),
        }
    }

    /// The client it sends through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Takes a record, as soon as there is room for it. What becomes of it, the [`Delivery`] tells.
    ///
    /// # Errors
    /// When the topic or partition does not exist, the record is too large, or there is no room
    /// within the delivery timeout. The record is not sent then.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let room = self.room(record.bytes()).await?;
        let partitions = match self.shared.client.fresh_partitions(&record.topic) {
            Some(partitions) => partitions,
            None => {
                let topic = self.shared.client.topic(&record.topic).await?;
                u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)
            }
        };
        self.give(&record, partitions, room)
    }

    /// Room in the buffer for a record of so many bytes.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ClientError> {
        let config = &self.shared.config;
        let max = config.max_record_bytes.min(config.buffer_bytes);
        let too_large = ClientError::RecordTooLarge { bytes, max };
        let permits = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes + HEADER_BYTES <= max);
        let permits = permits.ok_or(too_large)?;
        let buffer = self.shared.buffer.clone();
        if let Ok(room) = buffer.clone().try_acquire_many_owned(permits) {
            return Ok(room);
        }
        self.shared.wake.notify_one();
        let begun = Instant::now();
        let waiting = timeout(config.delivery_timeout, buffer.acquire_many_owned(permits)).await;
        let room = waiting.map_err(|_| ClientError::GaveUp {
            what: "room in the buffer",
            waited: begun.elapsed(),
            last: None,
        })?;
        room.map_err(|_| ClientError::Closed)
    }

    fn give(
        &self,
        record: &ProducerRecord,
        partitions: u32,
        room: OwnedSemaphorePermit,
    ) -> Result<Delivery, ClientError> {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect();
        let to_write = RecordToWrite {
            timestamp: record.timestamp.unwrap_or_else(clock::wall),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let mut accumulator = self.shared.accumulator.lock();
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) if partition >= partitions => {
                return Err(ClientError::NoPartition {
                    topic: record.topic.clone(),
                    partition,
                    partitions: partitions as usize,
                });
            }
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, partitions),
            (None, None) => accumulator.sticky(&record.topic, partitions, room.num_permits()),
        };
        let topic = record.topic.clone();
        let place = TopicPartition { topic, partition };
        let given = accumulator.give(Instant::now(), &place, &to_write, room)?;
        drop(accumulator);
        if given.wake {
            self.shared.wake.notify_one();
        }
        Ok(Delivery {
            partition,
            index: given.index,
            news: given.news,
        })
    }

    /// Sends all that was taken so far without lingering, and waits until the fate of each record
    /// is known; the [`Delivery`]s tell it.
    pub async fn flush(&self) {
        let (mark, mut oldest) = {
            let mut accumulator = self.shared.accumulator.lock();
            accumulator.flushing += 1;
            accumulator.mark()
        };
        let flushing = Flushing(&self.shared);
        self.shared.wake.notify_one();
        // Each batch's time ends, and if the sending task did, all batches have.
        let _ = oldest.wait_for(|oldest| *oldest >= mark).await;
        drop(flushing);
    }
}

/// Ends a flush, also one that is cancelled.
struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.accumulator.lock().flushing -= 1;
    }
}
