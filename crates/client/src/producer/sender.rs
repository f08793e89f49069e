//! The task that sends a producer's batches: to leaders, in requests, again where that may help.
//!
//! Not here: what a batch's answer means for it and those after it ([`super::queue`]). The task
//! never waits for one thing only: opening connections, asking for leaders and answers all run
//! beside each other, and each has an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plimsoll_types::{
    NodeId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicName, TopicPartition,
};
use plimsoll_wire::init_producer_id::InitProducerIdRequest;
use plimsoll_wire::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use plimsoll_wire::{ApiKey, Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};

use super::Shared;
use super::accumulator::least;
use super::batch::{Batch, Landed};
use super::config::Acks;
use super::queue::Identity;
use crate::error::check;
use crate::offsets::{index, millis, topic_partition};
use crate::{Client, ClientError, Connection, Lane};

/// How long an answer may take beyond what the broker was told.
const ANSWER_SLACK: Duration = Duration::from_secs(1);
/// The longest the task sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The task's own state.
pub(super) struct Sender {
    shared: Arc<Shared>,
    tasks: JoinSet<Done>,
    connecting: BTreeSet<NodeId>,
    asking: BTreeSet<TopicName>,
    identifying: bool,
    /// After a failure that was no batch's: when to try again.
    not_before: Option<Instant>,
}

/// Batches that share a request.
type Load = BTreeMap<TopicPartition, Batch>;

/// What ended.
enum Done {
    Answered(Load, Result<Response, ClientError>),
    Connected(NodeId, Option<ClientError>),
    Asked(TopicName, Option<ClientError>),
    Identified(Result<Identity, ClientError>),
}

/// However it ends, nobody waits for it any more.
impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.buffer.close();
        self.shared.accumulator.lock().close();
    }
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tasks: JoinSet::new(),
            connecting: BTreeSet::new(),
            asking: BTreeSet::new(),
            identifying: false,
            not_before: None,
        }
    }

    /// Sends until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let until = self.step(Instant::now());
            tokio::select! {
                () = self.shared.wake.notified() => {}
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    // Tasks do not panic, and are cancelled with this one only.
                    if let Ok(done) = done {
                        self.settle(done);
                    }
                }
                () = sleep_until(until) => {}
            }
        }
    }

    /// Begins all that can be begun now. Yields when to look again.
    fn step(&mut self, now: Instant) -> Instant {
        let mut again = self.shared.accumulator.lock().tick(now);
        match self.not_before {
            Some(until) if until > now => again = least(again, Some(until)),
            _ => {
                self.not_before = None;
                self.identify_if_wanted();
                again = least(again, self.send(now));
            }
        }
        let longest = now + LONGEST_SLEEP;
        again.map_or(longest, |again| again.min(longest))
    }

    fn identify_if_wanted(&mut self) {
        if self.identifying || !self.shared.accumulator.lock().wants_identity() {
            return;
        }
        self.identifying = true;
        let client = self.shared.client.clone();
        self.tasks
            .spawn(async move { Done::Identified(identify(&client).await) });
    }

    /// Sends whatever may leave, request by request, until nothing may or its leader is busy.
    fn send(&mut self, now: Instant) -> Option<Instant> {
        let mut busy = BTreeSet::new();
        loop {
            let (ready, later) = self.shared.accumulator.lock().ready(now);
            let mut by_leader: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
            for partition in ready {
                match self.shared.client.known_leader(&partition) {
                    Some((leader, _)) if busy.contains(&leader) => {}
                    Some((leader, _)) => by_leader.entry(leader).or_default().push(partition),
                    None => self.ask(&partition.topic),
                }
            }
            let mut sent = false;
            for (leader, partitions) in by_leader {
                match self.connection(leader) {
                    Some(connection) if self.send_to(&connection, &partitions) => sent = true,
                    Some(_) | None => {
                        busy.insert(leader);
                    }
                }
            }
            if !sent {
                return later;
            }
        }
    }

    /// The connection to a leader, or none yet.
    fn connection(&mut self, leader: NodeId) -> Option<Connection> {
        let open = self.shared.client.open_node(leader, Lane::Produce);
        if open.is_none() && self.connecting.insert(leader) {
            let client = self.shared.client.clone();
            self.tasks.spawn(async move {
                let opened = client.node(leader, Lane::Produce).await;
                Done::Connected(leader, opened.err())
            });
        }
        open
    }

    fn ask(&mut self, topic: &TopicName) {
        if self.asking.insert(topic.clone()) {
            let client = self.shared.client.clone();
            let topic = topic.clone();
            self.tasks.spawn(async move {
                let asked = client.topic_anew(&topic).await;
                Done::Asked(topic, asked.err())
            });
        }
    }

    /// Sends one request with the next batch of as many partitions as it takes. Whether it did.
    fn send_to(&mut self, connection: &Connection, partitions: &[TopicPartition]) -> bool {
        let (load, request) = self.load(partitions);
        if load.is_empty() {
            return false;
        }
        let timeout = self.shared.client.config().request_timeout + ANSWER_SLACK;
        let version = connection.version_of(ApiKey::Produce);
        let pending = version.and_then(|version| connection.try_submit(version, &request, timeout));
        match pending {
            Ok(Some(pending)) => {
                let answer = async move { Done::Answered(load, pending.answer().await) };
                self.tasks.spawn(answer);
                true
            }
            Ok(None) => {
                let mut accumulator = self.shared.accumulator.lock();
                for (partition, batch) in load {
                    accumulator.stay(&partition, batch);
                }
                false
            }
            Err(error) => {
                self.settle(Done::Answered(load, Err(error)));
                false
            }
        }
    }

    /// Takes the next batch of each partition until the request is full.
    fn load(&self, partitions: &[TopicPartition]) -> (Load, Request) {
        let mut load = Load::new();
        let mut topics: BTreeMap<&TopicName, Vec<PartitionProduceData>> = BTreeMap::new();
        let mut bytes = 0;
        for partition in partitions {
            if bytes >= self.shared.config.max_request_bytes {
                break;
            }
            let Some(mut batch) = self.shared.accumulator.lock().leave(partition) else {
                continue;
            };
            // Compressed here, outside the lock that givers of records take.
            let built = match batch.build() {
                Ok(built) => built,
                Err(error) => {
                    self.settle_one(partition, batch, Err(error.into()));
                    continue;
                }
            };
            bytes += built.len();
            topics
                .entry(&partition.topic)
                .or_default()
                .push(PartitionProduceData {
                    index: index(partition.partition),
                    records: Some(built.into()),
                });
            load.insert(partition.clone(), batch);
        }
        let topic_data = topics
            .into_iter()
            .map(|(name, partition_data)| TopicProduceData {
                name: name.as_str().into(),
                partition_data,
                ..Default::default()
            });
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.shared.config.acks.to_wire(),
            timeout_ms: millis(self.shared.client.config().request_timeout),
            topic_data: topic_data.collect(),
        };
        (load, request.into())
    }

    fn settle(&mut self, done: Done) {
        match done {
            Done::Answered(load, answer) => self.settle_answer(load, answer),
            Done::Connected(leader, failed) => {
                self.connecting.remove(&leader);
                if let Some(error) = failed {
                    tracing::debug!(%error, %leader, "connecting to a leader");
                    self.shared.client.forget_led_by(leader);
                    self.pause();
                }
            }
            Done::Asked(topic, failed) => {
                self.asking.remove(&topic);
                match failed {
                    // Transport may come back before the batches' time is up.
                    Some(error) if !error.is_retriable() && !error.is_gave_up() => {
                        self.shared.accumulator.lock().fail_topic(&topic, &error);
                    }
                    // Without a leader it is asked for again.
                    _ => self.pause(),
                }
            }
            Done::Identified(identified) => {
                self.identifying = false;
                match identified {
                    Ok(identity) => self.shared.accumulator.lock().identify(identity),
                    Err(error) if error.is_retriable() || error.is_gave_up() => self.pause(),
                    Err(error) => self.shared.accumulator.lock().fail_all(&error),
                }
            }
        }
    }

    fn pause(&mut self) {
        self.not_before = Some(Instant::now() + self.shared.client.config().retry_backoff);
    }

    fn settle_answer(&self, load: Load, answer: Result<Response, ClientError>) {
        let answer = match answer {
            Ok(Response::Produce(answer)) => Ok(answer),
            Ok(_) => Err(nonsense("it is of another API")),
            Err(error) => Err(error),
        };
        let unanswered = self.shared.config.acks == Acks::None;
        let mut landed = BTreeMap::new();
        if let Ok(answer) = &answer {
            landed = outcomes(answer);
        }
        for (partition, batch) in load {
            let outcome = match (&answer, landed.remove(&partition)) {
                (Err(error), _) => Err(error.clone()),
                (Ok(_), Some(outcome)) => outcome,
                (Ok(_), None) if unanswered => Ok(Landed {
                    base: None,
                    append_time: None,
                }),
                (Ok(_), None) => Err(nonsense("a partition sent to is not in it")),
            };
            if outcome.as_ref().is_err_and(ClientError::is_stale) {
                self.shared.client.forget(&partition.topic);
            }
            self.settle_one(&partition, batch, outcome);
        }
    }

    fn settle_one(
        &self,
        partition: &TopicPartition,
        batch: Batch,
        outcome: Result<Landed, ClientError>,
    ) {
        let backoff = self.shared.client.config().retry_backoff;
        let mut accumulator = self.shared.accumulator.lock();
        accumulator.settle(Instant::now(), backoff, partition, batch, outcome);
    }
}

fn nonsense(what: &'static str) -> ClientError {
    let api = ApiKey::Produce;
    ClientError::Nonsense { api, what }
}

fn outcomes(answer: &ProduceResponse) -> BTreeMap<TopicPartition, Result<Landed, ClientError>> {
    let mut outcomes = BTreeMap::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            if let Some(key) = topic_partition(&topic.name, partition.index) {
                let outcome = outcome(&key, partition);
                outcomes.insert(key, outcome);
            }
        }
    }
    outcomes
}

fn outcome(
    partition: &TopicPartition,
    answer: &PartitionProduceResponse,
) -> Result<Landed, ClientError> {
    let message = answer.error_message.as_ref();
    check(ApiKey::Produce, answer.error_code, message, || {
        partition.to_string()
    })?;
    let append_time = Some(Timestamp::from_millis(answer.log_append_time_ms));
    Ok(Landed {
        base: Offset::from_wire(answer.base_offset),
        append_time: append_time.filter(|time| *time != Timestamp::NONE),
    })
}

async fn identify(client: &Client) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = client.ask_any(request).await?;
    let api = ApiKey::InitProducerId;
    check(api, answer.error_code, None, || {
        "an idempotent producer".to_owned()
    })?;
    let what = "the producer's id or epoch is negative";
    let id = ProducerId::from_wire(answer.producer_id).filter(|_| answer.producer_epoch >= 0);
    Ok(Identity {
        id: id.ok_or(ClientError::Nonsense { api, what })?,
        epoch: ProducerEpoch(answer.producer_epoch),
    })
}
