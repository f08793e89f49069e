//! ListOffsets: the ends of partitions, and offsets by time.

use std::collections::HashSet;
use std::sync::Arc;

use plimsoll_partition::{Partition, describe};
use plimsoll_segment_log::TimedOffset;
use plimsoll_types::{LeaderEpoch, Offset, Timestamp};
use plimsoll_wire::ErrorCode;
use plimsoll_wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use crate::api::epochs::check_epoch;
use crate::context::Context;
use crate::error_code::Coded;

/// From this version on clients know that an offset may not be available yet.
const NOT_AVAILABLE_FROM_VERSION: i16 = 5;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(crate) async fn handle(context: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut seen = HashSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let found = if seen.insert((topic.name.clone(), asked.partition_index)) {
                look_up(context, &topic.name, &asked).await
            } else {
                // Named twice: which of the two would be meant cannot be told (as Kafka does).
                Err(ErrorCode::InvalidRequest)
            };
            partitions.push(response(asked.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    ListOffsetsResponse {
        topics,
        ..Default::default()
    }
}

/// An offset with the time and epoch of its record, as far as there is one.
struct Found {
    offset: Option<Offset>,
    timestamp: Timestamp,
    leader_epoch: Option<LeaderEpoch>,
}

async fn look_up(
    context: &Context,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    let partition = context
        .led(topic, asked.partition_index)
        .map_err(|error| error.code())?;
    check_epoch(asked.current_leader_epoch, partition.leader_epoch())?;
    if matches!(asked.timestamp, LATEST | MAX_TIMESTAMP | 0..) {
        // What a leader committed is known to it once its own first records are (I6); and whether
        // it still leads, only while it may vouch for it.
        let known = partition.is_settled() && context.may_vouch(&partition);
        if !known {
            return Err(not_available(context.version));
        }
    }
    let marks = partition.watermarks().snapshot();
    let end = |offset, leader_epoch| {
        Ok(Found {
            offset: Some(offset),
            timestamp: Timestamp::NONE,
            leader_epoch,
        })
    };
    match asked.timestamp {
        LATEST => end(marks.high_watermark, Some(marks.leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => end(
            marks.log_start,
            partition.reader().epochs().epoch_at(marks.log_start),
        ),
        // There is no remote part, so it has no end.
        LATEST_TIERED => Ok(Found {
            offset: None,
            timestamp: Timestamp::NONE,
            leader_epoch: None,
        }),
        timestamp if timestamp >= 0 || timestamp == MAX_TIMESTAMP => {
            by_time(context, partition, timestamp, marks.high_watermark).await
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// That the offset is not known yet, in the words of the version: older clients know no better ones
/// (KIP-207).
fn not_available(version: i16) -> ErrorCode {
    match version {
        NOT_AVAILABLE_FROM_VERSION.. => ErrorCode::OffsetNotAvailable,
        _ => ErrorCode::LeaderNotAvailable,
    }
}

/// Looks inside batches, which may mean reading from a disk: not on a runtime's thread.
async fn by_time(
    context: &Context,
    partition: Arc<Partition>,
    timestamp: i64,
    below: Offset,
) -> Result<Found, ErrorCode> {
    let work = move || {
        let reader = partition.reader();
        let found = if timestamp == MAX_TIMESTAMP {
            reader.max_timestamp(below)
        } else {
            reader.offset_for_timestamp(Timestamp::from_millis(timestamp), below)
        };
        found.map_err(|error| {
            let id = partition.id();
            tracing::warn!(event = "time_lookup_failed", partition = %id, error = %describe(&error));
            error.code()
        })
    };
    let found = context
        .broker
        .blocking(work)
        .await
        .unwrap_or(Err(ErrorCode::NotLeaderOrFollower))?;
    Ok(match found {
        None => Found {
            offset: None,
            timestamp: Timestamp::NONE,
            leader_epoch: None,
        },
        Some(TimedOffset {
            offset,
            timestamp,
            leader_epoch,
        }) => Found {
            offset: Some(offset),
            timestamp,
            leader_epoch,
        },
    })
}

fn response(partition_index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    match found {
        Ok(found) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: 0,
            timestamp: found.timestamp.as_millis(),
            offset: found.offset.map_or(-1, Offset::to_wire),
            leader_epoch: found.leader_epoch.map_or(-1, LeaderEpoch::to_wire),
        },
        Err(code) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: code.code(),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::ErrorCode;

    use super::not_available;

    #[test]
    fn older_clients_are_told_to_wait_in_words_that_they_know() {
        assert_eq!(not_available(4), ErrorCode::LeaderNotAvailable);
        assert_eq!(not_available(5), ErrorCode::OffsetNotAvailable);
    }
}
