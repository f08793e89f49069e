//! Produce: check each batch, append it, and answer when the watermark that `acks` asks for is there.
//!
//! Everything up to and including the append happens in the first poll, so batches reach the logs
//! in the order of a connection's requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_controller::config::{TimestampSource, TopicCompression};
use plimsoll_partition::{Append, AppendError, Appended, Partition};
use plimsoll_record_batch::{
    self as record_batch, Batch, BatchError, Checked, Compression, Keys, TimestampType,
};
use plimsoll_segment_log::ToAppend;
use plimsoll_types::{NodeId, Timestamp};
use plimsoll_watermark::Mark;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};

use crate::api::leaders::{Endpoint, endpoints};
use crate::catalog::{HostedTopic, Leadership, LookupError};
use crate::context::Context;
use crate::counters::add;
use crate::deadline::Deadline;
use crate::error_code::Coded;

/// The least version in which a producer may send zstd (KIP-110).
const ZSTD_FROM_VERSION: i16 = 7;
/// From this version on topics go by id.
const TOPIC_IDS_FROM_VERSION: i16 = 13;

/// Answers a request; `None` for acks=0, to which there is no answer, unless it failed, which only
/// a closed connection can tell.
pub(crate) async fn handle(context: &Context, request: ProduceRequest) -> Outcome {
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return Outcome::Reply(refuse_all(&request, ErrorCode::InvalidRequiredAcks)),
    };
    if request.transactional_id.is_some() {
        // Transactions are not advertised (no AddPartitionsToTxn), so no client gets here by plan.
        return Outcome::Reply(refuse_all(
            &request,
            ErrorCode::TransactionalIdAuthorizationFailed,
        ));
    }
    let begun = context.now();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let hosted = if context.version >= TOPIC_IDS_FROM_VERSION {
            context
                .catalog()
                .topic_by_id(topic.topic_id)
                .ok_or(LookupError::UnknownTopicId)
        } else {
            context
                .catalog()
                .topic(&topic.name)
                .ok_or(LookupError::UnknownTopic)
        };
        let partitions: Vec<_> = topic
            .partition_data
            .into_iter()
            .map(|data| (data.index, begin(context, &hosted, acks, data)))
            .collect();
        topics.push((topic.name, topic.topic_id, partitions));
    }
    // From here on the order does not matter: the batches are in the logs or in their inboxes.
    let mut deadline = Deadline::after_ms(context, begun, request.timeout_ms);
    let mut failed = false;
    let mut responses = Vec::with_capacity(topics.len());
    for (name, topic_id, partitions) in topics {
        let mut partition_responses = Vec::with_capacity(partitions.len());
        for (index, begun) in partitions {
            let outcome = match begun {
                Ok(begun) => finish(context, begun, acks, &mut deadline).await,
                Err(refusal) => Err(refusal),
            };
            failed |= outcome.is_err();
            partition_responses.push(response(index, outcome));
        }
        responses.push(TopicProduceResponse {
            name,
            topic_id,
            partition_responses,
        });
    }
    match acks {
        Acks::None if failed => Outcome::Close,
        Acks::None => Outcome::Nothing,
        Acks::Leader | Acks::All => Outcome::Reply(ProduceResponse {
            node_endpoints: leaders(context, &responses),
            responses,
            ..Default::default()
        }),
    }
}

/// Where the leaders are that the responses name.
fn leaders(context: &Context, responses: &[TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let partitions = responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    let named = partitions.map(|partition| partition.current_leader.leader_id);
    let endpoint = |endpoint: Endpoint| NodeEndpoint {
        node_id: endpoint.node_id,
        host: endpoint.host,
        port: endpoint.port,
        rack: endpoint.rack,
    };
    let found = endpoints(context, named);
    found.into_iter().map(endpoint).collect()
}

/// What becomes of a produce request's connection.
pub(crate) enum Outcome {
    Reply(ProduceResponse),
    /// acks=0: the client awaits no answer.
    Nothing,
    /// acks=0 and something failed: the client learns of it by the closed connection.
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    None,
    Leader,
    All,
}

/// A batch that is on its way into its log.
struct Begun {
    partition: Arc<Partition>,
    append: Append,
    log_append_time: Option<Timestamp>,
    records: u32,
    bytes: usize,
}

/// A batch that is in the log and acknowledged as asked.
struct Done {
    appended: Appended,
    log_append_time: Option<Timestamp>,
    log_start: i64,
}

/// Why a batch was not taken, in the client's terms.
struct Refused {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<BatchIndexAndErrorMessage>,
    /// Who leads instead, if that is why.
    leader: Option<Leadership>,
}

impl Refused {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
            records: Vec::new(),
            leader: None,
        }
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            records: Vec::new(),
            leader: None,
        }
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Self {
        let leader = match &error {
            LookupError::NotLeader(leadership) => Some(*leadership),
            _ => None,
        };
        Self {
            leader,
            ..Self::new(error.code(), error.to_string())
        }
    }
}

/// Checks one partition's batch and hands it to the log.
fn begin(
    context: &Context,
    topic: &Result<Arc<HostedTopic>, LookupError>,
    acks: Acks,
    data: PartitionProduceData,
) -> Result<Begun, Refused> {
    let topic = topic
        .as_ref()
        .map_err(|error| Refused::from(error.clone()))?;
    if plimsoll_controller::rules::is_internal(topic.name.as_str()) {
        return Err(Refused::new(
            ErrorCode::InvalidTopicException,
            "the topic is the broker's own; clients do not write to it",
        ));
    }
    let partition = context.leads(topic, data.index)?;
    if acks == Acks::Leader && !context.may_vouch(partition) {
        return Err(topic.leaderless(data.index).into());
    }
    let isr = partition.watermarks().committed_isr();
    if acks == Acks::All && isr < usize::try_from(topic.policy.min_isr).unwrap_or(usize::MAX) {
        return Err(ErrorCode::NotEnoughReplicas.into());
    }
    let records = data.records.ok_or(ErrorCode::InvalidRecord)?;
    let now = context.broker.clock.wall();
    let (batch, log_append_time) = checked(context, topic, records.to_bytes(), now)?;
    let (records, bytes) = (batch.header.records, batch.bytes.len());
    let append = partition.append(batch);
    Ok(Begun {
        partition: Arc::clone(partition),
        append,
        log_append_time,
        records,
        bytes,
    })
}

/// The batch as it goes into the log, after every check that needs no log.
fn checked(
    context: &Context,
    topic: &HostedTopic,
    bytes: Bytes,
    now: Timestamp,
) -> Result<(ToAppend, Option<Timestamp>), Refused> {
    let config = &topic.policy.config;
    if bytes.is_empty() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "the partition's records are empty",
        ));
    }
    let batch = Batch::parse(&bytes)?;
    if batch.bytes().len() != bytes.len() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "a partition takes exactly one batch in a request",
        ));
    }
    let too_large = |size: usize| {
        Refused::new(
            ErrorCode::MessageTooLarge,
            format!(
                "the batch has {size} bytes, max.message.bytes is {}",
                config.max_message_bytes
            ),
        )
    };
    let max = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    if bytes.len() > max {
        return Err(too_large(bytes.len()));
    }
    let header = *batch.header();
    if header.attributes.is_control() || header.attributes.is_transactional() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "control and transactional batches are not taken here",
        ));
    }
    if header.attributes.has_delete_horizon() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "a delete horizon is the broker's to set",
        ));
    }
    let codec = header.attributes.compression();
    if codec == Compression::Zstd && context.version < ZSTD_FROM_VERSION {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    let limits = context.broker.host.decode;
    let keys = if config.cleanup.compact {
        Keys::Required
    } else {
        Keys::Optional
    };
    let times = batch.check_records(&limits, keys)?;
    let mut bytes = match wanted_codec(config.compression) {
        Some(wanted) if wanted != codec => {
            let again = record_batch::recompress(&batch, wanted, &limits)
                .map_err(|error| Refused::new(ErrorCode::InvalidRecord, error.to_string()))?;
            if again.len() > max {
                return Err(too_large(again.len()));
            }
            again
        }
        _ => bytes,
    };
    let log_append_time = match &config.timestamps {
        TimestampSource::LogAppendTime => {
            let mut stamped = bytes.to_vec();
            record_batch::stamp_log_append_time(&mut stamped, now);
            bytes = stamped.into();
            Some(now)
        }
        TimestampSource::CreateTime {
            before_max,
            after_max,
        } => {
            if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
                let message =
                    "the topic keeps the producer's timestamps; the append time is not its to set";
                return Err(Refused::new(ErrorCode::InvalidTimestamp, message));
            }
            check_times(&times, now, *before_max, *after_max)?;
            if times.max_timestamp != header.max_timestamp {
                // The index by time goes by this field, so it is made true, as Kafka does.
                let mut stamped = bytes.to_vec();
                record_batch::stamp_max_timestamp(&mut stamped, times.max_timestamp);
                bytes = stamped.into();
            }
            None
        }
    };
    // The header as it is now, after recompression and stamping.
    let header = record_batch::BatchHeader::decode(&bytes)?;
    Ok((ToAppend { header, bytes }, log_append_time))
}

fn wanted_codec(config: TopicCompression) -> Option<Compression> {
    match config {
        TopicCompression::Producer => None,
        TopicCompression::Uncompressed => Some(Compression::None),
        TopicCompression::Gzip => Some(Compression::Gzip),
        TopicCompression::Snappy => Some(Compression::Snappy),
        TopicCompression::Lz4 => Some(Compression::Lz4),
        TopicCompression::Zstd => Some(Compression::Zstd),
    }
}

/// `message.timestamp.before.max.ms` and `after.max.ms` (KIP-937), for the records' range of times.
fn check_times(
    times: &Checked,
    now: Timestamp,
    before_max: Option<Duration>,
    after_max: Option<Duration>,
) -> Result<(), Refused> {
    let refuse = |what: &str, time: Timestamp| {
        let ms = time.as_millis();
        let message = format!("timestamp {ms} is further {what} than the topic allows");
        Err(Refused::new(ErrorCode::InvalidTimestamp, message))
    };
    let (min, max) = (times.min_timestamp, times.max_timestamp);
    if min != Timestamp::NONE && before_max.is_some_and(|bound| now.since(min) > bound) {
        return refuse("in the past", min);
    }
    if max != Timestamp::NONE && after_max.is_some_and(|bound| max.since(now) > bound) {
        return refuse("in the future", max);
    }
    Ok(())
}

/// Awaits the append, and what `acks` asks for beyond it.
async fn finish(
    context: &Context,
    begun: Begun,
    acks: Acks,
    deadline: &mut Deadline,
) -> Result<Done, Refused> {
    let Begun {
        partition,
        append,
        log_append_time,
        records,
        bytes,
    } = begun;
    let appended = append.await?;
    let counters = &context.broker.counters;
    if appended.duplicate_of.is_some() {
        add(&counters.duplicates, 1);
    } else {
        add(&counters.batches_in, 1);
        add(&counters.records_in, u64::from(records));
        add(&counters.bytes_in, u64::try_from(bytes).unwrap_or(0));
    }
    // A retry is answered with the time of its first append.
    let log_append_time = log_append_time.map(|now| appended.duplicate_of.unwrap_or(now));
    if acks == Acks::All {
        let marks = partition.watermarks();
        // A duplicate waits too: its first try may not be durable yet.
        let wait = marks
            .wait_in(appended.leader_epoch, Mark::HighWatermark, appended.end)
            .map_err(|_| moved(&partition))?;
        // A failure between the append and here has ended the course already, and this wait began
        // in the one after it, where nothing will move.
        if partition.offline().is_some() {
            return Err(moved(&partition));
        }
        match deadline.bound(wait).await {
            Some(Ok(marks)) => debug_assert!(marks.high_watermark >= appended.end, "X1"),
            Some(Err(_superseded)) => return Err(moved(&partition)),
            None if !marks.min_isr_met() => {
                return Err(ErrorCode::NotEnoughReplicasAfterAppend.into());
            }
            None => return Err(ErrorCode::RequestTimedOut.into()),
        }
    }
    let log_start = partition.watermarks().log_start().to_wire();
    Ok(Done {
        appended,
        log_append_time,
        log_start,
    })
}

/// The course in which the batch was appended is over before it was acknowledged.
fn moved(partition: &Partition) -> Refused {
    match partition.offline() {
        Some(why) => Refused::from(LookupError::Offline { why }),
        None => ErrorCode::NotLeaderOrFollower.into(),
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        let records = match &error {
            BatchError::Record { index, problem } => vec![BatchIndexAndErrorMessage {
                batch_index: i32::try_from(*index).unwrap_or(i32::MAX),
                batch_index_error_message: Some(problem.to_string().into()),
            }],
            _ => Vec::new(),
        };
        Self {
            code: error.code(),
            message: Some(error.to_string()),
            records,
            leader: None,
        }
    }
}

fn response(index: i32, outcome: Result<Done, Refused>) -> PartitionProduceResponse {
    match outcome {
        Ok(Done {
            appended,
            log_append_time,
            log_start,
        }) => PartitionProduceResponse {
            index,
            base_offset: appended.base.to_wire(),
            log_append_time_ms: log_append_time.unwrap_or(Timestamp::NONE).as_millis(),
            log_start_offset: log_start,
            ..Default::default()
        },
        Err(Refused {
            code,
            message,
            records,
            leader,
        }) => PartitionProduceResponse {
            index,
            error_code: code.code(),
            base_offset: -1,
            record_errors: records,
            current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |now| LeaderIdAndEpoch {
                leader_id: now.leader.map_or(-1, NodeId::to_wire),
                leader_epoch: now.epoch.to_wire(),
            }),
            error_message: message.map(Into::into),
            ..Default::default()
        },
    }
}

fn refuse_all(request: &ProduceRequest, code: ErrorCode) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| response(data.index, Err(code.into())))
            .collect(),
    });
    ProduceResponse {
        responses: topics.collect(),
        ..Default::default()
    }
}
