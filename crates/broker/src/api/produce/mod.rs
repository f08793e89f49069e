//! Produce: check each batch, append it, and answer when the watermark that `acks` asks for is there.
//!
//! Everything up to and including the append happens in the first poll, so batches reach the logs
//! in the order of a connection's requests.

mod check;
mod refused;

use std::sync::Arc;

use plimsoll_partition::{Append, AppendError, Appended, Partition};
use plimsoll_types::{NodeId, Timestamp};
use plimsoll_watermark::Mark;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};

use self::check::checked;
use self::refused::{Refused, moved};
use crate::api::leaders::{Endpoint, endpoints};
use crate::catalog::{HostedTopic, LookupError};
use crate::context::Context;
use crate::counters::add;
use crate::deadline::Deadline;

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
    if acks == Acks::Leader && !context.may_vouch(partition) && !context.may_commit(partition) {
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
    let appended = match append.await {
        Err(AppendError::NotLeader { .. }) => return Err(moved(context, &partition)),
        appended => appended?,
    };
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
    // Who cannot vouch for it alone waits for the others: what they have, nobody takes back.
    if acks == Acks::All || acks == Acks::Leader && !context.may_vouch(&partition) {
        let marks = partition.watermarks();
        // A duplicate waits too: its first try may not be durable yet.
        let wait = marks
            .wait_in(appended.leader_epoch, Mark::HighWatermark, appended.end)
            .map_err(|_| moved(context, &partition))?;
        // A failure between the append and here has ended the course already, and this wait began
        // in the one after it, where nothing will move.
        if partition.offline().is_some() {
            return Err(moved(context, &partition));
        }
        match deadline.bound(wait).await {
            Some(Ok(marks)) => debug_assert!(marks.high_watermark >= appended.end, "X1"),
            Some(Err(_superseded)) => return Err(moved(context, &partition)),
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
