//! A broker in a hundred lines: one node, topics in memory, and a hook to make it misbehave.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use plimsoll_record_batch::{BatchHeader, stamp};
use plimsoll_types::{LeaderEpoch, Offset};
use plimsoll_wire::api_versions::{ApiVersion, ApiVersionsResponse};
use plimsoll_wire::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use plimsoll_wire::find_coordinator::{Coordinator, FindCoordinatorResponse};
use plimsoll_wire::frame::Splitter;
use plimsoll_wire::init_producer_id::InitProducerIdResponse;
use plimsoll_wire::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use plimsoll_wire::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use plimsoll_wire::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use plimsoll_wire::{ApiKey, Request, RequestHeader, Response, decode_request, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the fake does instead of what it should.
pub(crate) enum Act {
    /// What it should.
    Behave,
    /// Answers so.
    Answer(Box<Response>),
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Does as asked, and closes the connection instead of answering.
    CloseAfter,
    /// Says nothing.
    Ignore,
}

type Hook = Box<dyn FnMut(&RequestHeader, &Request) -> Act + Send>;

/// A running fake; it ends with this.
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// What it holds.
pub(crate) struct State {
    port: u16,
    /// Batches by topic and partition.
    pub(crate) topics: Mutex<BTreeMap<String, Vec<Vec<Bytes>>>>,
    /// Every request that came.
    pub(crate) seen: Mutex<Vec<Request>>,
    hook: Mutex<Hook>,
    producers: Mutex<i64>,
}

impl Fake {
    /// One with these topics and their numbers of partitions.
    pub(crate) async fn start(topics: &[(&str, usize)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let topics = topics
            .iter()
            .map(|(name, partitions)| ((*name).to_owned(), vec![Vec::new(); *partitions]));
        let state = Arc::new(State {
            port,
            topics: Mutex::new(topics.collect()),
            seen: Mutex::default(),
            hook: Mutex::new(Box::new(|_, _| Act::Behave)),
            producers: Mutex::new(100),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self {
            address: format!("127.0.0.1:{port}"),
            state,
            _tasks: tasks,
        }
    }

    /// From now on asks `hook` first.
    pub(crate) fn hook(&self, hook: impl FnMut(&RequestHeader, &Request) -> Act + Send + 'static) {
        *self.state.hook.lock() = Box::new(hook);
    }

    /// How many requests of `api` came.
    pub(crate) fn count(&self, api: ApiKey) -> usize {
        let seen = self.state.seen.lock();
        seen.iter().filter(|request| request.api() == api).count()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, state.clone()));
    }
}

async fn serve(mut socket: TcpStream, state: Arc<State>) {
    let mut splitter = Splitter::new(1 << 24);
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = splitter.next(&mut buffer).expect("our own client") {
            let (header, request) = decode_request(frame).expect("our own client");
            state.seen.lock().push(request.clone());
            let act = (state.hook.lock())(&header, &request);
            let bytes = match act {
                Act::Behave => match state.answer(&request) {
                    Some(answer) => encode_response(&header, &answer).concat().to_vec(),
                    None => continue,
                },
                Act::Answer(answer) => encode_response(&header, &answer).concat().to_vec(),
                Act::Raw(bytes) => bytes,
                Act::Close => return,
                Act::CloseAfter => {
                    state.answer(&request);
                    return;
                }
                Act::Ignore => continue,
            };
            if socket.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

impl State {
    /// What a broker would answer; nothing to acks=0.
    pub(crate) fn answer(&self, request: &Request) -> Option<Response> {
        Some(match request {
            Request::ApiVersions(_) => versions().into(),
            Request::Metadata(asked) => self.metadata(asked).into(),
            Request::Produce(produce) => {
                let answer = self.produce(produce);
                return (produce.acks != 0).then(|| answer.into());
            }
            Request::Fetch(fetch) => self.fetch(fetch).into(),
            Request::ListOffsets(asked) => self.list_offsets(asked).into(),
            Request::FindCoordinator(asked) => FindCoordinatorResponse {
                coordinators: vec![Coordinator {
                    key: asked.key.clone(),
                    node_id: 1,
                    host: "127.0.0.1".into(),
                    port: self.port.into(),
                    ..Default::default()
                }],
                ..Default::default()
            }
            .into(),
            Request::InitProducerId(_) => {
                let mut producers = self.producers.lock();
                *producers += 1;
                InitProducerIdResponse {
                    producer_id: *producers,
                    ..Default::default()
                }
                .into()
            }
            other => panic!("the fake does not answer {}", other.api()),
        })
    }

    fn metadata(&self, asked: &MetadataRequest) -> MetadataResponse {
        let topics = self.topics.lock();
        let names: Vec<String> = match &asked.topics {
            None => topics.keys().cloned().collect(),
            Some(named) => named
                .iter()
                .filter_map(|t| t.name.clone().map(String::from))
                .collect(),
        };
        let described = names.iter().map(|name| match topics.get(name) {
            None => MetadataResponseTopic {
                error_code: 3,
                name: Some(name.into()),
                ..Default::default()
            },
            Some(partitions) => MetadataResponseTopic {
                name: Some(name.into()),
                partitions: (0..)
                    .zip(partitions)
                    .map(|(partition_index, _)| MetadataResponsePartition {
                        partition_index,
                        leader_id: 1,
                        leader_epoch: 3,
                        replica_nodes: vec![1],
                        isr_nodes: vec![1],
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: "127.0.0.1".into(),
                port: self.port.into(),
                ..Default::default()
            }],
            cluster_id: Some("fake".into()),
            controller_id: 1,
            topics: described.collect(),
            ..Default::default()
        }
    }

    fn produce(&self, produce: &ProduceRequest) -> ProduceResponse {
        let mut topics = self.topics.lock();
        let responses = produce.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let log = topics
                    .get_mut(topic.name.as_str())
                    .and_then(|logs| logs.get_mut(usize::try_from(data.index).ok()?));
                let records = data.records.clone().expect("records").to_bytes();
                let (error_code, base_offset) = match log {
                    Some(log) => append(log, &records),
                    None => (3, -1),
                };
                PartitionProduceResponse {
                    index: data.index,
                    error_code,
                    base_offset,
                    ..Default::default()
                }
            });
            TopicProduceResponse {
                name: topic.name.clone(),
                partition_responses: partitions.collect(),
                ..Default::default()
            }
        });
        ProduceResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }

    fn fetch(&self, fetch: &FetchRequest) -> FetchResponse {
        let topics = self.topics.lock();
        let responses = fetch.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let log = &topics[topic.topic.as_str()][at(wanted.partition)];
                let (end, mut records) = (end(log), BytesMut::new());
                for bytes in log {
                    let header = parse(bytes);
                    if header.end().to_wire() > wanted.fetch_offset {
                        records.extend_from_slice(bytes);
                    }
                }
                let outside = wanted.fetch_offset > end;
                PartitionData {
                    partition_index: wanted.partition,
                    error_code: i16::from(outside),
                    high_watermark: if outside { -1 } else { end },
                    records: Some(records.freeze().into()),
                    ..Default::default()
                }
            });
            FetchableTopicResponse {
                topic: topic.topic.clone(),
                partitions: partitions.collect(),
                ..Default::default()
            }
        });
        FetchResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }

    fn list_offsets(&self, asked: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = self.topics.lock();
        let answered = asked.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = at(wanted.partition_index);
                let log = &topics[topic.name.as_str()][index];
                let offset = match wanted.timestamp {
                    -1 => end(log),
                    -2 => 0,
                    time => log
                        .iter()
                        .map(parse)
                        .find(|header| header.max_timestamp.as_millis() >= time)
                        .map_or(-1, |header| header.base.to_wire()),
                };
                ListOffsetsPartitionResponse {
                    partition_index: wanted.partition_index,
                    offset,
                    ..Default::default()
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            }
        });
        ListOffsetsResponse {
            topics: answered.collect(),
            ..Default::default()
        }
    }
}

fn at(index: i32) -> usize {
    usize::try_from(index).expect("our own client")
}

/// Everything the client can speak.
fn versions() -> ApiVersionsResponse {
    let apis = ApiKey::ALL.iter().map(|api| ApiVersion {
        api_key: api.code(),
        min_version: *api.advertised().start(),
        max_version: *api.advertised().end(),
    });
    ApiVersionsResponse {
        api_keys: apis.collect(),
        ..Default::default()
    }
}

pub(crate) fn parse(bytes: &Bytes) -> BatchHeader {
    BatchHeader::decode(bytes).expect("a batch")
}

fn end(log: &[Bytes]) -> i64 {
    log.last().map_or(0, |bytes| parse(bytes).end().to_wire())
}

/// Error code and base offset. Like a broker, takes each numbered batch once and in order.
fn append(log: &mut Vec<Bytes>, records: &Bytes) -> (i16, i64) {
    let header = parse(records);
    if let Some(producer) = header.producer {
        let before = log.iter().rev().map(parse);
        let last = before
            .clone()
            .find(|known| known.producer.is_some_and(|known| known.id == producer.id));
        let next = last.map_or(0, |last| {
            let count = i32::try_from(last.records).expect("few");
            last.producer.expect("numbered").base_sequence + count
        });
        let same = |known: &BatchHeader| known.producer == Some(producer);
        if let Some(known) = before.clone().find(same) {
            return (0, known.base.to_wire());
        }
        if producer.base_sequence != next {
            return (45, -1);
        }
    }
    let base = end(log);
    let mut stamped = records.to_vec();
    let offset = Offset::from_wire(base).expect("positive");
    stamp(&mut stamped, offset, LeaderEpoch::new(3));
    log.push(stamped.into());
    (0, base)
}
