//! Clients: they speak the Kafka protocol to the brokers, and try again as real ones do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_broker::{Answer, Connection};
use plimsoll_record_batch::{
    BatchBuilder, Batches, Compression, DecodeLimits, Producer, RecordToWrite,
};
use plimsoll_types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use plimsoll_wire::init_producer_id::InitProducerIdRequest;
use plimsoll_wire::metadata::{MetadataRequest, MetadataRequestTopic};
use plimsoll_wire::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use plimsoll_wire::{ErrorCode, Request, Response, decode_response, encode_request};

use crate::history::{History, Number};
use crate::kernel::{Kernel, Owner};
use crate::net::{Net, Slot, Way, await_reply, fill, slot};

mod trim;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What all clients of a run share.
pub(crate) struct Scene {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) net: Arc<Net>,
    pub(crate) history: Arc<History>,
    pub(crate) topic: String,
    pub(crate) nodes: u32,
    /// Producers stop when it is set, each after its last batch is answered.
    pub(crate) over: Mutex<bool>,
}

impl Scene {
    pub(crate) fn is_over(&self) -> bool {
        *self.over.lock()
    }
}

/// One client.
pub(crate) struct Client {
    scene: Arc<Scene>,
    /// Its place in the network; above all nodes.
    number: u32,
    /// The leader of its partition and its epoch, as it last heard.
    leader: Option<(u32, i32)>,
    /// The high watermark that it saw.
    mark: i64,
}

/// Reads what a record says of itself.
pub(crate) fn number_of(value: Option<&[u8]>) -> Option<Number> {
    Some(Number::from_be_bytes(value?.get(..8)?.try_into().ok()?))
}

impl Client {
    pub(crate) fn new(scene: &Arc<Scene>, number: u32) -> Self {
        Self {
            scene: Arc::clone(scene),
            number: 1000 + number,
            leader: None,
            mark: 0,
        }
    }

    /// One request and its response; `None` if none came in time.
    pub(crate) async fn ask(&self, node: u32, version: i16, request: Request) -> Option<Response> {
        let net = Arc::clone(&self.scene.net);
        let kernel = Arc::clone(&net.kernel);
        let api = request.api();
        let frame = encode_request(version, 7, Some("sim"), &request)
            .concat()
            .slice(4..);
        let slot: Slot<Option<Bytes>> = slot();
        let connection = net.connection();
        let way = |from, to| Way {
            from,
            to,
            connection,
        };
        let (there, back) = (way(self.number, node), way(node, self.number));
        let (told, carrier) = (Arc::clone(&slot), Arc::clone(&net));
        net.send(there, move || {
            let Some(process) = carrier.process(node) else {
                carrier.send(back, move || fill(&told, None));
                return;
            };
            let net = Arc::clone(&carrier);
            carrier.kernel.spawn(process.owner, async move {
                let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 4711));
                let connection = Arc::new(Connection::new(connection, peer));
                let answer = process.broker.answer(&connection, frame).await;
                let reply = match answer {
                    Answer::Reply(encoded) => Some(encoded.concat().slice(4..)),
                    Answer::Nothing | Answer::Close(_) => None,
                };
                net.send(back, move || fill(&told, reply));
            });
        });
        let reply = await_reply(&kernel, &slot, PATIENCE).await;
        net.forget(connection);
        let (_, response) = decode_response(api, version, reply??).ok()?;
        Some(response)
    }

    pub(crate) fn any_node(&self) -> u32 {
        self.scene.kernel.draw(|rng| rng.u32(1..=self.scene.nodes))
    }

    pub(crate) async fn pause(&self) {
        let wait = self.scene.kernel.between(PAUSE / 2, PAUSE * 2);
        self.scene.kernel.sleep(wait).await;
    }

    /// Asks some node who leads the partition.
    async fn find_leader(&mut self, partition: i32) {
        self.leader = None;
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(self.scene.topic.as_str().into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response = self
            .ask(self.any_node(), 12, Request::Metadata(request))
            .await;
        let Some(Response::Metadata(metadata)) = response else {
            return;
        };
        let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        let found = partitions
            .into_iter()
            .find(|p| p.partition_index == partition);
        self.leader = found.and_then(|found| {
            let leader = u32::try_from(found.leader_id).ok()?;
            Some((leader, found.leader_epoch))
        });
    }

    /// Produces until the scene is over.
    pub(crate) async fn produce(mut self, partition: i32, pace: Duration) {
        let kernel = Arc::clone(&self.scene.kernel);
        let mut life = 0;
        while !self.scene.is_over() {
            let Some(id) = self.producer_id().await else {
                self.pause().await;
                continue;
            };
            life += 1;
            let producer = self.number * 1000 + life;
            let mut sequence = 0;
            while !self.scene.is_over() {
                let count = kernel.draw(|rng| rng.u32(1..=4));
                let numbers = self.scene.history.begin(partition, producer, count);
                let batch = self.batch(&numbers, id, sequence);
                if !self.write(partition, &numbers, &batch).await {
                    break;
                }
                sequence += i32::try_from(count).unwrap_or(0);
                kernel.sleep(kernel.between(Duration::ZERO, pace)).await;
            }
        }
    }

    async fn producer_id(&self) -> Option<ProducerId> {
        let request = Request::InitProducerId(InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        });
        match self.ask(self.any_node(), 4, request).await {
            Some(Response::InitProducerId(answer)) if answer.error_code == 0 => {
                ProducerId::new(u64::try_from(answer.producer_id).ok()?)
            }
            _ => None,
        }
    }

    fn batch(&self, numbers: &[Number], id: ProducerId, base_sequence: i32) -> Bytes {
        let kernel = &self.scene.kernel;
        let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
            id,
            epoch: ProducerEpoch(0),
            base_sequence,
        });
        for number in numbers {
            let mut value = number.to_be_bytes().to_vec();
            let padding = kernel.draw(|rng| match rng.u8(..20) {
                0 => rng.usize(..20_000),
                _ => rng.usize(..100),
            });
            value.resize(8 + padding, 0xAB);
            builder
                .push(&RecordToWrite {
                    timestamp: Timestamp::from_millis(1_700_000_000_000),
                    key: None,
                    value: Some(&value),
                    headers: &[],
                })
                .expect("a small record");
        }
        builder.build(Offset::ZERO).expect("a small batch")
    }

    /// Sends a batch until it is known what became of it; false if this producer is at its end.
    async fn write(&mut self, partition: i32, numbers: &[Number], batch: &Bytes) -> bool {
        let history = Arc::clone(&self.scene.history);
        let mut tried = false;
        loop {
            let Some((leader, _)) = self.leader else {
                self.pause().await;
                self.find_leader(partition).await;
                continue;
            };
            let first = !std::mem::replace(&mut tried, true);
            let Some(answer) = self.try_write(leader, partition, batch).await else {
                self.leader = None;
                continue;
            };
            match ErrorCode::from_code(answer.error_code) {
                Some(ErrorCode::None) => {
                    history.acked(numbers, answer.base_offset);
                    return true;
                }
                // The broker forgot nothing, so a hole in the sequences is a hole in the log.
                Some(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId) => {
                    let code = answer.error_code;
                    let what = format!(
                        "records from {} of partition {partition} were refused by node {leader} \
                         with {code}: what the producer sent before them is not there",
                        numbers.first().copied().unwrap_or(0)
                    );
                    history.broke(self.scene.kernel.now(), "lost", what);
                    return false;
                }
                Some(code) if !code.is_retriable() && code != ErrorCode::UnknownServerError => {
                    // Before it, no attempt may have got as far as the log.
                    if first {
                        history.refused(numbers);
                    }
                    return false;
                }
                _ => self.leader = None,
            }
        }
    }

    async fn try_write(
        &self,
        leader: u32,
        partition: i32,
        batch: &Bytes,
    ) -> Option<PartitionProduceResponse> {
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 2000,
            topic_data: vec![TopicProduceData {
                name: self.scene.topic.as_str().into(),
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(batch.clone().into()),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        match self.ask(leader, 9, Request::Produce(request)).await? {
            Response::Produce(answer) => {
                let mut topics = answer.responses.into_iter();
                topics.next()?.partition_responses.into_iter().next()
            }
            _ => None,
        }
    }

    /// Reads a partition from its start, for ever.
    pub(crate) async fn consume(mut self, partition: i32) {
        let who = format!("consumer {}", self.number);
        let mut next = 0;
        loop {
            next = self.read_once(&who, partition, next).await;
        }
    }

    /// Asks for what stands at `next`, as `who`; what is next after it. This client reads one
    /// partition.
    pub(crate) async fn read_once(&mut self, who: &str, partition: i32, next: i64) -> i64 {
        let Some((leader, epoch)) = self.leader else {
            self.pause().await;
            self.find_leader(partition).await;
            return next;
        };
        let deleted = self.scene.history.trimmed(partition);
        let Some(answer) = self.try_read(leader, epoch, partition, next).await else {
            self.leader = None;
            return next;
        };
        let now = self.scene.kernel.now();
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) if next < deleted => {
                let what = format!(
                    "{who} was given {partition}/{next} by node {leader}, and all below {deleted} was deleted"
                );
                self.scene.history.broke(now, "trimmed", what);
            }
            Some(ErrorCode::None) => {}
            Some(ErrorCode::OffsetOutOfRange)
                if next < self.scene.history.trims_up_to(partition) =>
            {
                return self.begin_anew(who, partition, next).await;
            }
            Some(ErrorCode::OffsetOutOfRange) => {
                let what = format!(
                    "{who} asked node {leader} for {partition}/{next}, which it read up to, and was told that it is out of range"
                );
                self.scene.history.broke(now, "gap", what);
                self.leader = None;
                return next;
            }
            _ => {
                self.leader = None;
                self.pause().await;
                return next;
            }
        }
        // A leader that does not know yet says so.
        if (0..self.mark).contains(&answer.high_watermark) {
            let what = format!(
                "{who} saw the high watermark of partition {partition} at {}, and then at {} on node {leader}",
                self.mark, answer.high_watermark
            );
            self.scene.history.broke(now, "back", what);
        }
        self.mark = self.mark.max(answer.high_watermark);
        self.take(who, partition, next, self.mark, &answer)
    }

    fn take(
        &self,
        who: &str,
        partition: i32,
        mut next: i64,
        mark: i64,
        answer: &PartitionData,
    ) -> i64 {
        let history = &self.scene.history;
        let now = self.scene.kernel.now();
        let Some(records) = &answer.records else {
            return next;
        };
        for (offset, number) in records_of(&records.to_bytes()) {
            if offset < next {
                continue;
            }
            if offset > next {
                let what = format!("{who} was given {partition}/{offset} when {next} was next");
                history.broke(now, "gap", what);
            }
            if answer.high_watermark >= 0 && offset >= mark {
                let what = format!(
                    "{who} was given {partition}/{offset} with the high watermark at {mark}"
                );
                history.broke(now, "invented", what);
            }
            match number {
                Some(number) => history.read(now, who, partition, offset, number),
                None => history.broke(
                    now,
                    "invented",
                    format!("{who} was given a record without a number at {partition}/{offset}"),
                ),
            }
            next = offset + 1;
        }
        next
    }

    async fn try_read(
        &self,
        leader: u32,
        epoch: i32,
        partition: i32,
        next: i64,
    ) -> Option<PartitionData> {
        let most = self.scene.kernel.draw(|rng| rng.i32(1..200_000));
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: most,
            topics: vec![FetchTopic {
                topic: self.scene.topic.as_str().into(),
                partitions: vec![FetchPartition {
                    partition,
                    current_leader_epoch: epoch,
                    fetch_offset: next,
                    partition_max_bytes: most,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        match self.ask(leader, 12, Request::Fetch(request)).await? {
            Response::Fetch(answer) => {
                let mut topics = answer.responses.into_iter();
                topics.next()?.partitions.into_iter().next()
            }
            _ => None,
        }
    }
}

/// The offsets and numbers of all records in some batches.
pub(crate) fn records_of(bytes: &[u8]) -> Vec<(i64, Option<Number>)> {
    let limits = DecodeLimits {
        max_decompressed_bytes: 64 << 20,
        max_records: u32::MAX,
    };
    let mut found = Vec::new();
    for batch in Batches::new(bytes).flatten() {
        let Ok(records) = batch.records(&limits) else {
            continue;
        };
        for record in records.iter().flatten() {
            let offset = i64::try_from(record.offset.get()).unwrap_or(i64::MAX);
            found.push((offset, number_of(record.value)));
        }
    }
    found
}

/// Starts a client's life.
pub(crate) fn start(scene: &Arc<Scene>, life: impl Future<Output = ()> + Send + 'static) {
    scene.kernel.spawn(Owner::WORLD, life);
}
