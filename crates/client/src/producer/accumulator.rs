//! All partitions' batches, shared by those who give records and the task that sends them.
//!
//! Pure but for telling whoever waits: time is an argument. Not here: sockets, leaders, retries of
//! anything but batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use plimsoll_record_batch::{BatchBuilder, BuildError, RecordToWrite};
use plimsoll_types::{TopicName, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Duration, Instant};

use super::batch::{Batch, Body, Landed, News};
use super::config::{Acks, ProducerConfig};
use super::queue::{Identity, Queue};
use crate::ClientError;
use crate::partitioner::next_sticky;

/// Batches under way to one partition at once, with an identity: what brokers keep track of.
const NUMBERED_AT_ONCE: usize = 5;

/// The batches of a producer.
#[derive(Debug)]
pub(super) struct Accumulator {
    config: ProducerConfig,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Where records without a key go, by topic.
    sticky: HashMap<TopicName, u32>,
    random: RandomState,
    /// The last identity given, for partitions that had none before.
    identity: Option<Identity>,
    next_id: u64,
    /// Batches that nothing is known of yet.
    outstanding: BTreeSet<u64>,
    /// Whether a batch began or was closed since the sending task was told to look.
    news: bool,
    /// The oldest outstanding batch, or the next there will be.
    oldest: watch::Sender<u64>,
    is_closed: bool,
    /// How many wait for everything to be sent: batches do not linger.
    pub(super) flushing: usize,
}

/// Where a record went.
pub(super) struct Given {
    /// The news of its batch.
    pub(super) news: watch::Receiver<News>,
    /// Its place in the batch.
    pub(super) index: u32,
    /// Whether the sending task should look.
    pub(super) wake: bool,
}

impl Accumulator {
    pub(super) fn new(config: ProducerConfig) -> Self {
        Self {
            config,
            queues: BTreeMap::new(),
            sticky: HashMap::new(),
            random: RandomState::new(),
            identity: None,
            next_id: 0,
            outstanding: BTreeSet::new(),
            news: false,
            oldest: watch::Sender::new(0),
            is_closed: false,
            flushing: 0,
        }
    }

    /// The partition for a record without a key, of so many bytes: the last one's, until its
    /// batch is full.
    pub(super) fn sticky(&mut self, topic: &TopicName, partitions: u32, bytes: usize) -> u32 {
        let current = self.sticky.get(topic).copied();
        let Some(partition) = current.filter(|current| *current < partitions) else {
            return self.move_on(topic, partitions);
        };
        let topic_partition = TopicPartition {
            topic: topic.clone(),
            partition,
        };
        if self.close_if_full(&topic_partition, bytes) {
            return self.move_on(topic, partitions);
        }
        partition
    }

    /// Closes a partition's growing batch if `bytes` more would make it too large.
    fn close_if_full(&mut self, partition: &TopicPartition, bytes: usize) -> bool {
        let Some(queue) = self.queues.get_mut(partition) else {
            return false;
        };
        let full = |open: &Batch| open.bytes() + bytes > self.config.batch_bytes;
        let full = queue.open.as_ref().is_some_and(full);
        if full {
            queue.close();
            self.news = true;
        }
        full
    }

    fn move_on(&mut self, topic: &TopicName, partitions: u32) -> u32 {
        let current = self.sticky.get(topic).copied();
        let any = self.random.hash_one((self.next_id, topic.as_str()));
        let next = next_sticky(current, partitions, any);
        self.sticky.insert(topic.clone(), next);
        next
    }

    /// Puts a record into its partition's batch. `room` is its share of the buffer.
    pub(super) fn give(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        record: &RecordToWrite<'_>,
        room: OwnedSemaphorePermit,
    ) -> Result<Given, ClientError> {
        if self.is_closed {
            return Err(ClientError::Closed);
        }
        self.close_if_full(partition, room.num_permits());
        let next_id = self.next_id;
        if !self.queues.contains_key(partition) {
            self.queues
                .insert(partition.clone(), Queue::new(self.identity));
        }
        let queue = self.queues.get_mut(partition).expect("just put there");
        let batch = match &mut queue.open {
            Some(batch) => {
                push(batch, record)?;
                // Of one semaphore, so they merge.
                batch.room.merge(room);
                batch
            }
            open => {
                let mut batch = Batch {
                    id: next_id,
                    body: Body::Growing(Box::new(BatchBuilder::new(self.config.compression))),
                    records: 0,
                    created: now,
                    producer: None,
                    outcome_unknown: false,
                    last_error: None,
                    news: watch::Sender::new(None),
                    room,
                };
                push(&mut batch, record)?;
                self.next_id += 1;
                self.outstanding.insert(next_id);
                self.news = true; // one more to look after
                open.insert(batch)
            }
        };
        Ok(Given {
            news: batch.news.subscribe(),
            index: batch.records - 1,
            wake: std::mem::take(&mut self.news),
        })
    }

    /// Closes batches that have lingered long enough, and takes out those whose time is up.
    /// Yields when to look again.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        let mut expired = Vec::new();
        let mut moved = Vec::new();
        for (partition, queue) in &mut self.queues {
            if let Some(due) = queue
                .open
                .as_ref()
                .map(|open| open.created + self.config.linger)
            {
                if due <= now || self.flushing > 0 {
                    queue.close();
                    moved.push(partition.topic.clone());
                } else {
                    again = least(again, Some(due));
                }
            }
            let Some(oldest) = now.checked_sub(self.config.delivery_timeout) else {
                continue;
            };
            expired.extend(queue.expire(oldest));
            let next = queue
                .oldest()
                .map(|made| made + self.config.delivery_timeout);
            again = least(again, next);
        }
        for topic in moved {
            // The next record chooses where to stick.
            self.sticky.remove(&topic);
        }
        for mut batch in expired {
            let error = ClientError::GaveUp {
                what: "the delivery",
                waited: now - batch.created,
                last: batch.last_error.take().map(Box::new),
            };
            self.finish(batch, Err(error));
        }
        again
    }

    /// Whether partitions wait for an identity.
    pub(super) fn wants_identity(&self) -> bool {
        self.config.is_idempotent() && self.queues.values().any(Queue::wants_identity)
    }

    /// Gives all partitions that wait for one this identity.
    pub(super) fn identify(&mut self, identity: Identity) {
        self.identity = Some(identity);
        let wanting = self
            .queues
            .values_mut()
            .filter(|queue| queue.wants_identity());
        let failed: Vec<_> = wanting.flat_map(|queue| queue.identify(identity)).collect();
        for mut batch in failed {
            let error = batch.last_error.take().unwrap_or(ClientError::Closed);
            self.finish(batch, Err(error));
        }
    }

    /// The partitions whose next batch may leave now, and when others may.
    pub(super) fn ready(&self, now: Instant) -> (Vec<TopicPartition>, Option<Instant>) {
        let mut ready = Vec::new();
        let mut later = None;
        for (partition, queue) in &self.queues {
            match queue.may_leave_at(now, self.at_once()) {
                Some(at) if at <= now => ready.push(partition.clone()),
                at => later = least(later, at),
            }
        }
        (ready, later)
    }

    /// The next batch of a partition, under way from now on.
    pub(super) fn leave(&mut self, partition: &TopicPartition) -> Option<Batch> {
        let numbered = self.config.is_idempotent();
        self.queues.get_mut(partition)?.leave(numbered)
    }

    /// A batch could not be sent for now.
    pub(super) fn stay(&mut self, partition: &TopicPartition, batch: Batch) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.stay(batch);
        }
    }

    /// A batch is back.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        backoff: Duration,
        partition: &TopicPartition,
        batch: Batch,
        outcome: Result<Landed, ClientError>,
    ) {
        let Some(queue) = self.queues.get_mut(partition) else {
            return;
        };
        if let Some((batch, outcome)) = queue.settle(now, backoff, batch, outcome) {
            self.finish(batch, outcome);
        }
    }

    /// Fails all batches of a topic that are not under way.
    pub(super) fn fail_topic(&mut self, topic: &TopicName, error: &ClientError) {
        let queues = self.queues.iter_mut();
        let of_topic = queues.filter(|(partition, _)| partition.topic == *topic);
        let failed: Vec<_> = of_topic.flat_map(|(_, queue)| queue.drain()).collect();
        for batch in failed {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// Fails all batches that are not under way.
    pub(super) fn fail_all(&mut self, error: &ClientError) {
        let failed: Vec<_> = self.queues.values_mut().flat_map(Queue::drain).collect();
        for batch in failed {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// The sending task has ended: all that is left has failed, and no more is taken.
    pub(super) fn close(&mut self) {
        self.fail_all(&ClientError::Closed);
        // Those under way are told by being dropped with the task.
        self.outstanding.clear();
        self.is_closed = true;
        self.oldest.send_replace(u64::MAX);
    }

    fn finish(&mut self, batch: Batch, outcome: Result<Landed, ClientError>) {
        self.outstanding.remove(&batch.id);
        batch.tell(outcome);
        let oldest = self.outstanding.first().copied().unwrap_or(self.next_id);
        self.oldest.send_if_modified(|known| {
            let news = *known != oldest;
            *known = oldest;
            news
        });
    }

    /// The next batch's number, and news of the oldest that nothing is known of: when that
    /// reaches this, all given so far is settled.
    pub(super) fn mark(&self) -> (u64, watch::Receiver<u64>) {
        if !self.is_closed {
            let oldest = self.outstanding.first().copied().unwrap_or(self.next_id);
            self.oldest.send_replace(oldest);
        }
        (self.next_id, self.oldest.subscribe())
    }

    /// How many batches may be under way to one partition without risking the order.
    fn at_once(&self) -> usize {
        match self.config.acks {
            Acks::None => NUMBERED_AT_ONCE,
            _ if self.config.is_idempotent() => NUMBERED_AT_ONCE,
            Acks::Leader | Acks::All => 1,
        }
    }
}

fn push(batch: &mut Batch, record: &RecordToWrite<'_>) -> Result<(), BuildError> {
    if let Body::Growing(builder) = &mut batch.body {
        builder.push(record)?;
        batch.records += 1;
    }
    Ok(())
}

/// The earlier of two times, where there are any.
pub(super) fn least(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
