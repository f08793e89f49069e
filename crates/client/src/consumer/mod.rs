//! Reading partitions, assigned by hand: seek, poll, and know where the end is.
//!
//! Not here: groups and committed offsets. What always holds: each node has at most one fetch of
//! this consumer under way, and partitions with records not yet handed out are not fetched, so
//! memory stays within `max_bytes` a node and one decompressed batch; polls end at their time.

mod config;
mod fetch;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use config::{ConsumerConfig, OutOfRange, StartAt};
use fetch::{Brought, Fetched, Wanted};
use plimsoll_types::{NodeId, Offset, TopicName, TopicPartition};
use plimsoll_wire::{ApiKey, ErrorCode};
use record::Chunk;
pub use record::ConsumedRecord;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::Owned;
use crate::{At, Client, ClientError, OffsetsFound};

/// A consumer of partitions that are assigned to it by hand.
pub struct Consumer {
    own: Owned,
    config: ConsumerConfig,
    partitions: BTreeMap<TopicPartition, Assigned>,
    /// The last partition that was handed out of; the next poll begins after it.
    turn: Option<TopicPartition>,
    /// What is under way.
    tasks: JoinSet<Done>,
    /// Nodes with a fetch under way.
    fetching: BTreeSet<NodeId>,
    /// Topics being asked for.
    asking: BTreeSet<TopicName>,
    next_stretch: u64,
    /// Since when nothing but failures that may pass came back.
    failing_since: Option<Instant>,
    /// After such a failure: when to try again.
    not_before: Option<Instant>,
}

/// One partition.
struct Assigned {
    /// A stretch of positions: from a seek to the next. Answers to an older one are thrown away.
    stretch: u64,
    position: Position,
    high_watermark: Option<Offset>,
    /// Fetched and not yet handed out.
    chunk: Option<Chunk>,
    fetching: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// To be looked up.
    Wanted(At),
    /// Being looked up.
    Sought(At),
    /// The next offset to hand out.
    At(Offset),
}

/// A task that ended.
enum Done {
    Fetched(Fetched),
    Found(
        Vec<(TopicPartition, u64)>,
        Result<OffsetsFound, ClientError>,
    ),
    Asked(TopicName, Result<(), ClientError>),
}

impl Consumer {
    /// A consumer without partitions.
    #[must_use]
    pub fn new(client: Client, config: ConsumerConfig) -> Self {
        Self {
            own: Owned::new(client),
            config,
            partitions: BTreeMap::new(),
            turn: None,
            tasks: JoinSet::new(),
            fetching: BTreeSet::new(),
            asking: BTreeSet::new(),
            next_stretch: 0,
            failing_since: None,
            not_before: None,
        }
    }

    /// The client it asks through.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.own.client()
    }

    /// Reads these partitions, and no others, each from where it is told.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        self.partitions.clear();
        for (partition, start) in partitions {
            self.put(partition, start);
        }
    }

    /// Goes on reading an assigned partition from elsewhere.
    ///
    /// # Errors
    /// When it is not assigned.
    pub fn seek(&mut self, partition: &TopicPartition, start: StartAt) -> Result<(), ClientError> {
        if !self.partitions.contains_key(partition) {
            return Err(ClientError::NotAssigned {
                topic_partition: partition.clone(),
            });
        }
        self.put(partition.clone(), start);
        Ok(())
    }

    fn put(&mut self, partition: TopicPartition, start: StartAt) {
        self.next_stretch += 1;
        let assigned = Assigned {
            stretch: self.next_stretch,
            position: start.look_up().map_or_else(Position::Wanted, Position::At),
            high_watermark: None,
            chunk: None,
            fetching: false,
        };
        self.partitions.insert(partition, assigned);
    }

    /// The partitions assigned.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// The next offset that a poll hands out, of each partition where it is known by now.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<TopicPartition, Offset> {
        let known = self.partitions.iter().filter_map(|(partition, assigned)| {
            let Position::At(offset) = assigned.position else {
                return None;
            };
            Some((partition.clone(), offset))
        });
        known.collect()
    }

    /// The end of what could be read of a partition when it was last fetched.
    #[must_use]
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition)?.high_watermark
    }

    /// Whether all was handed out of a partition that could be read when it was last fetched.
    #[must_use]
    pub fn is_at_end(&self, partition: &TopicPartition) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(Assigned::is_at_end)
    }

    /// Whether [`Consumer::is_at_end`] holds of every partition.
    #[must_use]
    pub fn are_all_at_end(&self) -> bool {
        self.partitions.values().all(Assigned::is_at_end)
    }

    /// The next records, as soon as there are any; none if the time is up first. May be cancelled
    /// without losing records.
    ///
    /// # Errors
    /// When a partition cannot be read: it does not exist, the position is outside the log, the
    /// broker refuses or hands out damaged bytes, or nothing came for the client's retry time. The
    /// same poll may be tried again.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumedRecord>, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            let records = self.hand_out()?;
            if !records.is_empty() {
                return Ok(records);
            }
            // What has ended by now, without waiting.
            while let Some(done) = self.tasks.try_join_next() {
                self.settle(done)?;
            }
            if self
                .partitions
                .values()
                .any(|assigned| assigned.chunk.is_some())
            {
                continue;
            }
            let pause = self.not_before.filter(|until| *until > Instant::now());
            if pause.is_none() {
                self.begin();
            }
            let until = pause.map_or(deadline, |until| until.min(deadline));
            if self.tasks.is_empty() {
                sleep_until(until).await;
            } else if let Ok(Some(done)) = timeout_at(until, self.tasks.join_next()).await {
                self.settle(done)?;
            }
            if Instant::now() >= deadline {
                return self.hand_out();
            }
        }
    }

    /// Up to `max_poll_records` of what was fetched, partitions in turn.
    fn hand_out(&mut self) -> Result<Vec<ConsumedRecord>, ClientError> {
        let mut records = Vec::new();
        let mut order: Vec<_> = self.partitions.keys().cloned().collect();
        let after = |turn: &TopicPartition| order.iter().position(|key| key > turn);
        let first = self.turn.as_ref().and_then(after).unwrap_or(0);
        order.rotate_left(first);
        for partition in order {
            let Some(assigned) = self.partitions.get_mut(&partition) else {
                continue;
            };
            let (Some(chunk), Position::At(position)) =
                (&mut assigned.chunk, &mut assigned.position)
            else {
                continue;
            };
            while records.len() < self.config.max_poll_records {
                match chunk.next(&partition, position, &self.config.limits) {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => {
                        assigned.chunk = None;
                        break;
                    }
                    // What came before it is handed out first; the error then comes again.
                    Err(_) if !records.is_empty() => return Ok(records),
                    Err(error) => {
                        assigned.chunk = None;
                        return Err(error);
                    }
                }
            }
            self.turn = Some(partition);
            if records.len() >= self.config.max_poll_records {
                break;
            }
        }
        Ok(records)
    }

    /// Begins whatever can be: looking up positions, asking for leaders, fetching.
    fn begin(&mut self) {
        self.not_before = None;
        self.begin_look_up();
        let mut by_node: BTreeMap<NodeId, Vec<Wanted>> = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for (partition, assigned) in &self.partitions {
            let Position::At(position) = assigned.position else {
                continue;
            };
            if assigned.fetching || assigned.chunk.is_some() {
                continue;
            }
            let Some((leader, leader_epoch)) = self.client().known_leader(partition) else {
                unknown.insert(partition.topic.clone());
                continue;
            };
            by_node.entry(leader).or_default().push(Wanted {
                partition: partition.clone(),
                stretch: assigned.stretch,
                position,
                leader_epoch,
                first: assigned.high_watermark.is_none(),
            });
        }
        for topic in unknown {
            if self.asking.insert(topic.clone()) {
                let client = self.client().clone();
                self.tasks.spawn(async move {
                    let asked = client.topic_anew(&topic).await;
                    Done::Asked(topic, asked.map(drop))
                });
            }
        }
        for (node, wanted) in by_node {
            if !self.fetching.insert(node) {
                continue;
            }
            for one in &wanted {
                if let Some(assigned) = self.partitions.get_mut(&one.partition) {
                    assigned.fetching = true;
                }
            }
            let (client, config) = (self.client().clone(), self.config.clone());
            let fetched = fetch::fetch(client, self.own.owner(), config, node, wanted);
            self.tasks
                .spawn(async move { Done::Fetched(fetched.await) });
        }
    }

    fn begin_look_up(&mut self) {
        let mut wanted = BTreeMap::new();
        let mut stretches = Vec::new();
        for (partition, assigned) in &mut self.partitions {
            if let Position::Wanted(at) = assigned.position {
                assigned.position = Position::Sought(at);
                wanted.insert(partition.clone(), at);
                stretches.push((partition.clone(), assigned.stretch));
            }
        }
        if !wanted.is_empty() {
            let client = self.client().clone();
            self.tasks.spawn(async move {
                let found = client.offsets(&wanted).await;
                Done::Found(stretches, found)
            });
        }
    }

    fn settle(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), ClientError> {
        // Tasks are cancelled only with the consumer, and do not panic.
        match done.map_err(|_| ClientError::Closed)? {
            Done::Fetched(fetched) => self.settle_fetch(fetched),
            Done::Found(stretches, found) => self.settle_look_up(&stretches, &found),
            Done::Asked(topic, asked) => {
                self.asking.remove(&topic);
                match asked {
                    Ok(()) => self.settle_leaderless(&topic),
                    Err(error) => self.reconsider(error),
                }
            }
        }
    }

    /// A topic is known again; if its leaders are not, waits a little before asking again.
    fn settle_leaderless(&mut self, topic: &TopicName) -> Result<(), ClientError> {
        let of_topic = self.partitions.keys().filter(|key| key.topic == *topic);
        for partition in of_topic.cloned().collect::<Vec<_>>() {
            if self.client().known_leader(&partition).is_some() {
                continue;
            }
            let partitions = self.client().fresh_partitions(topic).unwrap_or(0);
            if partition.partition >= partitions {
                return Err(ClientError::NoPartition {
                    topic: topic.clone(),
                    partition: partition.partition,
                    partitions: partitions as usize,
                });
            }
            return self.reconsider(ClientError::Broker {
                api: ApiKey::Metadata,
                subject: partition.to_string(),
                code: ErrorCode::LeaderNotAvailable,
                message: None,
            });
        }
        Ok(())
    }

    fn settle_look_up(
        &mut self,
        stretches: &[(TopicPartition, u64)],
        found: &Result<OffsetsFound, ClientError>,
    ) -> Result<(), ClientError> {
        let mut outcome = Ok(());
        for (partition, stretch) in stretches {
            let Some(assigned) = self.partitions.get_mut(partition) else {
                continue;
            };
            let Position::Sought(at) = assigned.position else {
                continue;
            };
            if assigned.stretch != *stretch {
                continue;
            }
            assigned.position = Position::Wanted(at);
            let found = found.as_ref().map_err(Clone::clone);
            let found = found.and_then(|found| match found.get(partition) {
                Some(found) => found.clone(),
                None => Err(ClientError::Nonsense {
                    api: ApiKey::ListOffsets,
                    what: "the partition asked for is not in it",
                }),
            });
            match found {
                // No record is that late: the next one written will be.
                Ok(found) => {
                    let next = Position::Wanted(At::Latest);
                    assigned.position = found.offset.map_or(next, Position::At);
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    fn settle_fetch(&mut self, fetched: Fetched) -> Result<(), ClientError> {
        self.fetching.remove(&fetched.node);
        let mut outcome = Ok(());
        let (mut brought, missing) = match fetched.answer {
            Ok(brought) => (brought, None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        for wanted in fetched.wanted {
            let current = self.partitions.get_mut(&wanted.partition);
            let Some(assigned) = current.filter(|now| now.stretch == wanted.stretch) else {
                continue;
            };
            assigned.fetching = false;
            let brought = match (brought.remove(&wanted.partition), &missing) {
                (Some(brought), _) => brought,
                (None, Some(error)) => Err(error.clone()),
                // An answer may leave out a partition without news.
                (None, None) => continue,
            };
            let kept = brought.and_then(|brought| assigned.keep(&wanted, brought));
            match kept {
                Ok(()) => self.failing_since = None,
                Err(error) => outcome = outcome.and(self.refetch(&wanted, error)),
            }
        }
        outcome
    }

    /// What a failed fetch means for the partition.
    fn refetch(&mut self, wanted: &Wanted, error: ClientError) -> Result<(), ClientError> {
        if error.is_stale() {
            self.client().forget(&wanted.partition.topic);
        }
        if error.code() != Some(ErrorCode::OffsetOutOfRange) {
            return self.reconsider(error);
        }
        let at = match self.config.out_of_range {
            OutOfRange::Earliest => At::Earliest,
            OutOfRange::Latest => At::Latest,
            OutOfRange::Fail => {
                return Err(ClientError::OutOfRange {
                    topic_partition: wanted.partition.clone(),
                    offset: wanted.position,
                });
            }
        };
        if let Some(assigned) = self.partitions.get_mut(&wanted.partition) {
            assigned.position = Position::Wanted(at);
        }
        Ok(())
    }

    /// Swallows a failure that may pass, unless it has not passed for long.
    fn reconsider(&mut self, error: ClientError) -> Result<(), ClientError> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let waited = now - since;
        if !error.is_retriable() {
            return Err(error);
        }
        if waited > self.client().config().retry_timeout {
            self.failing_since = None;
            return Err(ClientError::GaveUp {
                what: "a fetch",
                waited,
                last: Some(Box::new(error)),
            });
        }
        tracing::debug!(%error, "fetching again");
        let backoff = self.client().config().retry_backoff;
        // Longer the longer it fails, up to a second.
        let backoff = backoff.max(waited / 4).min(Duration::from_secs(1));
        self.not_before = Some(now + backoff);
        Ok(())
    }
}

impl Assigned {
    fn is_at_end(&self) -> bool {
        match (self.position, self.high_watermark) {
            (Position::At(position), Some(end)) => position >= end && self.chunk.is_none(),
            _ => false,
        }
    }

    fn keep(&mut self, wanted: &Wanted, brought: Brought) -> Result<(), ClientError> {
        self.high_watermark = brought.high_watermark.or(self.high_watermark);
        if brought.records.is_empty() {
            return Ok(());
        }
        let chunk = Chunk::new(brought.records).map_err(|cause| ClientError::Batch {
            topic_partition: wanted.partition.clone(),
            offset: wanted.position,
            cause,
        })?;
        self.chunk = Some(chunk);
        Ok(())
    }
}
