//! Fetch: whole batches below the high watermark, waiting for more if there are too few.
//!
//! Sessions (KIP-227) are not kept: every answer carries session id 0, which tells a client to
//! name all its partitions each time.

use std::collections::HashSet;
use std::sync::Arc;

use plimsoll_partition::{Partition, ReadError, Role};
use plimsoll_segment_log::Minimum;
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Mark, Signal, Snapshot, WatchState};
use plimsoll_wire::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use plimsoll_wire::{ErrorCode, Records};

use crate::api::epochs::{check_epoch, end_of_epoch};
use crate::api::leaders::{Endpoint, endpoints};
use crate::catalog::{HostedTopic, Leadership, LookupError};
use crate::cluster::Trust;
use crate::context::Context;
use crate::counters::add;
use crate::deadline::Deadline;
use crate::error_code::Coded;

/// From this version on topics go by id.
const TOPIC_IDS_FROM_VERSION: i16 = 13;
/// From this version on consumers may be sent to followers.
const FOLLOWERS_FROM_VERSION: i16 = 11;
const READ_COMMITTED: i8 = 1;
/// Where a position is not known.
const UNKNOWN: i64 = -1;

pub(crate) async fn handle(context: &Context, request: FetchRequest) -> FetchResponse {
    let replica = request.replica_id.max(request.replica_state.replica_id);
    if request.session_id != 0 {
        // No session was ever given out, so this one is from another life of the broker.
        let error_code = ErrorCode::FetchSessionIdNotFound.code();
        return FetchResponse {
            error_code,
            ..Default::default()
        };
    }
    let begun = context.now();
    let mut deadline = Deadline::after_ms(context, begun, request.max_wait_ms);
    let wanted = resolve(context, &request, replica);
    let asked = usize::try_from(request.max_bytes).unwrap_or(0);
    let max_bytes =
        asked.min(usize::try_from(context.broker.config.fetch_max_bytes).unwrap_or(usize::MAX));
    // More than an answer holds cannot be waited for.
    let min_bytes = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(max_bytes);
    loop {
        let round = read_round(&wanted, max_bytes);
        if round.bytes >= min_bytes || round.failed || wanted.is_empty() {
            return answer(context, &request, wanted, round);
        }
        if !wait_for_more(&wanted, &round, &mut deadline).await {
            // The deadline: what there is now goes out, be it nothing.
            let round = read_round(&wanted, max_bytes);
            return answer(context, &request, wanted, round);
        }
    }
}

/// One partition of the request, looked up.
struct Wanted {
    topic: usize,
    partition: i32,
    max_bytes: usize,
    source: Result<Source, Refusal>,
}

impl Source {
    /// Whether it led when the request came, and does not now.
    fn is_deposed(&self) -> bool {
        self.led && !matches!(*self.partition.role(), Role::Leader { .. })
    }
}

/// What the client gets instead of records.
type Refusal = Box<PartitionData>;

/// A partition's records, and the watermarks they were read under.
type Found = Result<(Option<Records>, Snapshot), Refusal>;

/// Where to read a partition that may be read.
struct Source {
    partition: Arc<Partition>,
    from: Offset,
    /// Whether it led when the request came.
    led: bool,
}

/// What one pass over the partitions found, in their order.
struct Round {
    found: Vec<Found>,
    bytes: usize,
    failed: bool,
}

fn resolve(context: &Context, request: &FetchRequest, replica: i32) -> Vec<Wanted> {
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    for (at, topic) in request.topics.iter().enumerate() {
        let hosted = if context.version >= TOPIC_IDS_FROM_VERSION {
            context
                .catalog()
                .topic_by_id(topic.topic_id)
                .ok_or(LookupError::UnknownTopicId)
        } else {
            context
                .catalog()
                .topic(&topic.topic)
                .ok_or(LookupError::UnknownTopic)
        };
        for asked in &topic.partitions {
            // A partition named twice is read once; its offsets could contradict each other.
            if !seen.insert((at, asked.partition)) {
                continue;
            }
            let source = match &hosted {
                Err(error) => Err(refused(asked.partition, error.code())),
                Ok(topic) => match context.leads(topic, asked.partition) {
                    Err(LookupError::NotLeader(now)) => {
                        let follows = followed(context, topic, asked, replica);
                        follows.unwrap_or_else(|| Err(led_by(asked.partition, now)))
                    }
                    Err(error) => Err(refused(asked.partition, error.code())),
                    Ok(partition) => match nearer(context, request, topic, asked, partition) {
                        Some(elsewhere) => Err(elsewhere),
                        None => admit(context, partition, asked, replica),
                    },
                },
            };
            wanted.push(Wanted {
                topic: at,
                partition: asked.partition,
                max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
                source,
            });
        }
    }
    wanted
}

/// A consumer may read a follower, up to what that knows to be committed (KIP-392).
fn followed(
    context: &Context,
    topic: &HostedTopic,
    asked: &FetchPartition,
    replica: i32,
) -> Option<Result<Source, Refusal>> {
    let partition = topic.partition(asked.partition).ok()?;
    let follows = matches!(
        *partition.role(),
        Role::Follower {
            leader: Some(_),
            ..
        }
    );
    let may = context.version >= FOLLOWERS_FROM_VERSION
        && replica < 0
        && follows
        && context.broker.trust() != Trust::None;
    may.then(|| admit(context, partition, asked, replica))
}

/// Names a replica in the consumer's rack, if there is one that is in sync.
fn nearer(
    context: &Context,
    request: &FetchRequest,
    topic: &HostedTopic,
    asked: &FetchPartition,
    partition: &Partition,
) -> Option<Refusal> {
    let rack = &*request.rack_id;
    if rack.is_empty() || context.broker.config.rack.as_deref() == Some(rack) {
        return None;
    }
    let image = context.broker.metadata.image();
    let index = usize::try_from(asked.partition).ok()?;
    let metadata = image.topic_by_id(topic.id)?.partitions.get(index)?;
    let there = |node: &&NodeId| {
        let known = image.node(**node);
        known.is_some_and(|known| !known.fenced && known.rack.as_deref() == Some(rack))
    };
    let nearer = metadata.isr.iter().find(there)?;
    let marks = partition.watermarks().snapshot();
    // An offset that may be out of range is the leader's to judge.
    let from = Offset::from_wire(asked.fetch_offset)?;
    if !(marks.log_start..=marks.high_watermark).contains(&from) {
        return None;
    }
    let high_watermark = told(partition, &marks);
    Some(Box::new(PartitionData {
        partition_index: asked.partition,
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: marks.log_start.to_wire(),
        preferred_read_replica: nearer.to_wire(),
        records: Some(Records::from(Vec::new())),
        ..Default::default()
    }))
}

/// Checks what does not change while the request waits: epochs, and that offsets are offsets.
fn admit(
    context: &Context,
    partition: &Arc<Partition>,
    asked: &FetchPartition,
    replica: i32,
) -> Result<Source, Refusal> {
    if replica >= 0 {
        // Only nodes in the replica list follow, and those use the peer protocol.
        return Err(refused(asked.partition, ErrorCode::NotLeaderOrFollower));
    }
    let leader_epoch = partition.leader_epoch();
    if let Err(code) = check_epoch(asked.current_leader_epoch, leader_epoch) {
        let current_leader = LeaderIdAndEpoch {
            leader_id: context.broker.config.node.to_wire(),
            leader_epoch: leader_epoch.to_wire(),
        };
        return Err(Box::new(PartitionData {
            current_leader,
            ..*refused(asked.partition, code)
        }));
    }
    let Some(from) = Offset::from_wire(asked.fetch_offset) else {
        return Err(refused(asked.partition, ErrorCode::OffsetOutOfRange));
    };
    if let Some(diverging) = diverging(partition, asked, from) {
        return Err(diverging);
    }
    Ok(Source {
        partition: Arc::clone(partition),
        from,
        led: matches!(*partition.role(), Role::Leader { .. }),
    })
}

/// KIP-595: tells a reader whose last record's epoch is not in this log, or ended earlier, where
/// the two logs part.
fn diverging(partition: &Partition, asked: &FetchPartition, from: Offset) -> Option<Refusal> {
    let last_fetched = LeaderEpoch::from_wire(asked.last_fetched_epoch)?;
    let end = end_of_epoch(partition, last_fetched)?;
    // A follower that is behind ends where its leader goes on.
    let behind = matches!(*partition.role(), Role::Follower { .. });
    if end.epoch >= last_fetched && (end.offset >= from || behind) {
        return None;
    }
    let marks = partition.watermarks().snapshot();
    let high_watermark = told(partition, &marks);
    Some(Box::new(PartitionData {
        partition_index: asked.partition,
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: marks.log_start.to_wire(),
        diverging_epoch: EpochEndOffset {
            epoch: end.epoch.to_wire(),
            end_offset: end.offset.to_wire(),
        },
        ..Default::default()
    }))
}

fn read_round(wanted: &[Wanted], max_bytes: usize) -> Round {
    let mut round = Round {
        found: Vec::with_capacity(wanted.len()),
        bytes: 0,
        failed: false,
    };
    for one in wanted {
        let found = match &one.source {
            Err(refusal) => Err(refusal.clone()),
            Ok(source) => read(source, one, max_bytes, &mut round.bytes),
        };
        // After the read: what a leader says when it is none any more may be of a log that was cut
        // or begun anew.
        let found = match &one.source {
            Ok(source) if source.is_deposed() => {
                Err(refused(one.partition, ErrorCode::NotLeaderOrFollower))
            }
            _ => found,
        };
        round.failed |= found.is_err();
        round.found.push(found);
    }
    round
}

fn read(source: &Source, one: &Wanted, max_bytes: usize, total: &mut usize) -> Found {
    let room = one.max_bytes.min(max_bytes.saturating_sub(*total));
    // KIP-74: the first batch of the first partition that has one comes whole, whatever its size,
    // so that every reader makes progress.
    let minimum = if *total == 0 {
        Minimum::OneBatch
    } else {
        Minimum::None
    };
    match source.partition.read(source.from, room, minimum) {
        Ok(records) => {
            *total += records.slices.bytes;
            debug_assert!(
                records.slices.bytes == 0 || records.slices.next <= records.marks.high_watermark,
                "X2"
            );
            Ok((Some(Records::from(records.slices.chunks)), records.marks))
        }
        // Not known here to be committed, and yet the leader, or the one before it, may have said
        // that it is: the reader waits, as who reads at the end does.
        Err(ReadError::OutOfRange { high_watermark, .. })
            if source.from > high_watermark && may_be_committed(source) =>
        {
            let marks = source.partition.watermarks().snapshot();
            Ok((Some(Records::from(Vec::new())), marks))
        }
        Err(error) => {
            let marks = source.partition.watermarks().snapshot();
            if !matches!(error, ReadError::OutOfRange { .. }) {
                tracing::warn!(event = "read_failed", partition = %source.partition.id(), %error);
            }
            Err(Box::new(PartitionData {
                high_watermark: told(&source.partition, &marks),
                log_start_offset: marks.log_start.to_wire(),
                ..*refused(one.partition, error.code())
            }))
        }
    }
}

/// Whether what stands before the offset that is asked for may be committed: a leader has all that
/// is, and may learn it after its election; a follower may lack it.
fn may_be_committed(source: &Source) -> bool {
    match *source.partition.role() {
        Role::Follower { .. } => true,
        Role::Leader { .. } => source.from <= source.partition.watermarks().snapshot().log_end,
        Role::Idle => false,
    }
}

/// What a reader is told of the high watermark. A leader that has not yet learned all that the
/// one before it had told readers does not know it: no reader is to see it go back.
fn told(partition: &Partition, marks: &Snapshot) -> i64 {
    match *partition.role() {
        Role::Leader { leso, .. } if marks.high_watermark < leso => UNKNOWN,
        Role::Leader { .. } | Role::Follower { .. } | Role::Idle => marks.high_watermark.to_wire(),
    }
}

/// Waits until a partition has more below its high watermark than `round` saw, or stops being what
/// it was. `false`: the deadline came first.
async fn wait_for_more(wanted: &[Wanted], round: &Round, deadline: &mut Deadline) -> bool {
    let signal = Arc::new(Signal::new());
    let mut watches = Vec::with_capacity(wanted.len());
    for (one, found) in wanted.iter().zip(&round.found) {
        let (Ok(source), Ok((_, seen))) = (&one.source, found) else {
            continue;
        };
        let more = seen.high_watermark + 1;
        let watch = source
            .partition
            .watermarks()
            .watch(Mark::HighWatermark, more, &signal);
        // Registered first, then looked: what moved in between is seen here.
        if watch.state() != WatchState::Pending {
            return true;
        }
        watches.push(watch);
    }
    deadline.bound(signal.notified()).await.is_some()
}

fn answer(
    context: &Context,
    request: &FetchRequest,
    wanted: Vec<Wanted>,
    round: Round,
) -> FetchResponse {
    let read_committed = request.isolation_level == READ_COMMITTED;
    let mut responses: Vec<FetchableTopicResponse> = request
        .topics
        .iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partitions.len()),
        })
        .collect();
    for (one, found) in wanted.into_iter().zip(round.found) {
        let data = match found {
            Err(refusal) => elsewhere_perhaps(context, request.topics.get(one.topic), *refusal),
            Ok((records, marks)) => {
                let source = one.source.as_ref().ok();
                let high_watermark = source.map_or(UNKNOWN, |from| told(&from.partition, &marks));
                PartitionData {
                    partition_index: one.partition,
                    high_watermark,
                    // Without transactions everything below the high watermark is stable.
                    last_stable_offset: high_watermark,
                    log_start_offset: marks.log_start.to_wire(),
                    aborted_transactions: read_committed.then(Vec::new),
                    records,
                    ..Default::default()
                }
            }
        };
        if let Some(topic) = responses.get_mut(one.topic) {
            topic.partitions.push(data);
        }
    }
    add(
        &context.broker.counters.bytes_out,
        u64::try_from(round.bytes).unwrap_or(0),
    );
    let partitions = responses.iter().flat_map(|topic| &topic.partitions);
    let named = partitions.map(|partition| partition.current_leader.leader_id);
    let endpoint = |endpoint: Endpoint| NodeEndpoint {
        node_id: endpoint.node_id,
        host: endpoint.host,
        port: endpoint.port,
        rack: endpoint.rack,
    };
    let found = endpoints(context, named);
    FetchResponse {
        node_endpoints: found.into_iter().map(endpoint).collect(),
        responses,
        ..Default::default()
    }
}

/// Damage is an error that ends a consumer. Where other replicas have the records, leadership moves
/// to one of them in a moment: the reader is told what makes it ask again.
fn elsewhere_perhaps(
    context: &Context,
    topic: Option<&FetchTopic>,
    refusal: PartitionData,
) -> PartitionData {
    if refusal.error_code != ErrorCode::CorruptMessage.code() {
        return refusal;
    }
    let image = context.broker.metadata.image();
    let others = topic.is_some_and(|asked| {
        let known = match asked.topic.is_empty() {
            true => image.topic_by_id(asked.topic_id),
            false => image.topic(&asked.topic),
        };
        let index = usize::try_from(refusal.partition_index).ok();
        let partition = known.zip(index).and_then(|(t, at)| t.partitions.get(at));
        partition.is_some_and(|partition| partition.replicas.len() > 1)
    });
    match others {
        true => PartitionData {
            error_code: ErrorCode::KafkaStorageError.code(),
            ..refusal
        },
        false => refusal,
    }
}

/// Another node leads, or none.
fn led_by(partition: i32, now: Leadership) -> Refusal {
    let current_leader = LeaderIdAndEpoch {
        leader_id: now.leader.map_or(-1, NodeId::to_wire),
        leader_epoch: now.epoch.to_wire(),
    };
    Box::new(PartitionData {
        current_leader,
        ..*refused(partition, ErrorCode::NotLeaderOrFollower)
    })
}

fn refused(partition: i32, code: ErrorCode) -> Refusal {
    Box::new(PartitionData {
        partition_index: partition,
        error_code: code.code(),
        high_watermark: UNKNOWN,
        ..Default::default()
    })
}
