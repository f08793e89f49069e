//! OffsetForLeaderEpoch: where a consumer's log and this one part, if they do (KIP-320).

use plimsoll_types::LeaderEpoch;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use crate::api::epochs::{check_epoch, end_of_epoch};
use crate::context::Context;
use crate::error_code::Coded;

pub(crate) async fn handle(
    context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderTopicResult {
            partitions: topic
                .partitions
                .iter()
                .map(|asked| match look_up(context, &topic.topic, asked) {
                    Ok((epoch, offset)) => EpochEndOffset {
                        partition: asked.partition,
                        leader_epoch: epoch,
                        end_offset: offset,
                        ..Default::default()
                    },
                    Err(code) => EpochEndOffset {
                        partition: asked.partition,
                        error_code: code.code(),
                        ..Default::default()
                    },
                })
                .collect(),
            topic: topic.topic,
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn look_up(
    context: &Context,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let partition = context.led(topic, asked.partition).map_err(|e| e.code())?;
    check_epoch(asked.current_leader_epoch, partition.leader_epoch())?;
    let end = LeaderEpoch::from_wire(asked.leader_epoch)
        .and_then(|epoch| end_of_epoch(&partition, epoch));
    Ok(end.map_or((-1, -1), |end| (end.epoch.to_wire(), end.offset.to_wire())))
}
