//! DeleteRecords: move log starts up, so that what is older is gone.

use std::sync::Arc;

use plimsoll_controller::rules;
use plimsoll_partition::{MaintainError, Partition, describe};
use plimsoll_types::{Offset, PartitionKey};
use plimsoll_wire::ErrorCode;
use plimsoll_wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use crate::catalog::LookupError;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::error_code::Coded;

/// The wire's "up to the high watermark".
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    context: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut deadline = Deadline::after_ms(context, context.now(), request.timeout_ms);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let outcome = match check(context, &topic.name, &asked) {
                Ok((partition, before)) => delete(context, &mut deadline, partition, before).await,
                Err(code) => Err(code),
            };
            partitions.push(result(asked.partition_index, outcome));
        }
        let name = topic.name;
        topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    DeleteRecordsResponse {
        topics,
        ..Default::default()
    }
}

/// The partition and the offset to delete to; `None` for its high watermark.
fn check(
    context: &Context,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<(Arc<Partition>, Option<Offset>), ErrorCode> {
    if rules::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let hosted = context
        .catalog()
        .topic(topic)
        .ok_or(LookupError::UnknownTopic);
    let hosted = hosted.map_err(|error| error.code())?;
    let partition = context
        .leads(&hosted, asked.partition_index)
        .map_err(|error| error.code())?;
    if !hosted.policy.config.cleanup.delete {
        // A compacted topic promises the last value of each key.
        return Err(ErrorCode::PolicyViolation);
    }
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    Ok((Arc::clone(partition), before))
}

async fn delete(
    context: &Context,
    deadline: &mut Deadline,
    partition: Arc<Partition>,
    before: Option<Offset>,
) -> Result<Offset, ErrorCode> {
    let id = partition.id().clone();
    let work = context
        .broker
        .blocking(move || partition.delete_records(before));
    match deadline.bound(work).await {
        Some(Some(Ok(log_start))) => {
            let index = id.index;
            let topic = id.topic_id;
            let everywhere = context
                .broker
                .log_start_everywhere(PartitionKey { topic, index }, log_start);
            if context.broker.replicas().is_some() && deadline.bound(everywhere).await.is_none() {
                return Err(ErrorCode::RequestTimedOut);
            }
            Ok(log_start)
        }
        Some(Some(Err(MaintainError::OutOfRange { .. }))) => Err(ErrorCode::OffsetOutOfRange),
        Some(Some(Err(MaintainError::NotLeader { .. }))) => Err(ErrorCode::NotLeaderOrFollower),
        Some(Some(Err(error))) => {
            let error = describe(&error);
            tracing::warn!(event = "delete_records_failed", partition = %id, %error);
            Err(ErrorCode::KafkaStorageError)
        }
        Some(None) => Err(ErrorCode::NotLeaderOrFollower),
        None => Err(ErrorCode::RequestTimedOut),
    }
}

fn result(
    partition_index: i32,
    outcome: Result<Offset, ErrorCode>,
) -> DeleteRecordsPartitionResult {
    match outcome {
        Ok(log_start) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: log_start.to_wire(),
            error_code: 0,
        },
        Err(code) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: -1,
            error_code: code.code(),
        },
    }
}
