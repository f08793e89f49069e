//! DescribeLogDirs: what this node's data directory holds and how much room is left.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use plimsoll_partition::Partition;
use plimsoll_wire::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::catalog::HostedTopic;
use crate::context::Context;
use crate::disk_space::disk_space;

pub(crate) async fn handle(
    context: &Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let data_dir = context.broker.data_dir().to_owned();
    let directory = data_dir.clone();
    let space = context
        .broker
        .blocking(move || disk_space(&directory))
        .await;
    let result = match space {
        Some(Ok(space)) => DescribeLogDirsResult {
            error_code: 0,
            log_dir: path(&data_dir),
            topics: topics(context, request.topics.as_deref()),
            total_bytes: signed(space.total_bytes),
            usable_bytes: signed(space.usable_bytes),
        },
        // It cannot even be looked at.
        Some(Err(_)) | None => DescribeLogDirsResult {
            error_code: ErrorCode::KafkaStorageError.code(),
            log_dir: path(&data_dir),
            ..Default::default()
        },
    };
    DescribeLogDirsResponse {
        results: vec![result],
        ..Default::default()
    }
}

/// Everything hosted, or what of it is asked for; what is not here is left out.
fn topics(
    context: &Context,
    asked: Option<&[DescribableLogDirTopic]>,
) -> Vec<DescribeLogDirsTopic> {
    let Some(asked) = asked else {
        let mut all = context.catalog().topics();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        return all.iter().map(|topic| described(topic, |_| true)).collect();
    };
    // Merged first: a request may name a topic or a partition any number of times, and the work
    // must not be their product.
    let mut wanted: BTreeMap<&str, HashSet<i32>> = BTreeMap::new();
    for topic in asked {
        wanted
            .entry(&topic.topic)
            .or_default()
            .extend(&topic.partitions);
    }
    let known = wanted.into_iter().filter_map(|(name, partitions)| {
        let topic = context.catalog().topic(name)?;
        Some(described(&topic, |index| partitions.contains(&index)))
    });
    known.collect()
}

fn described(topic: &HostedTopic, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = topic.online().filter_map(|partition| {
        let index = i32::try_from(partition.id().index).ok()?;
        wanted(index).then(|| occupied(index, partition))
    });
    DescribeLogDirsTopic {
        name: topic.name.as_str().into(),
        partitions: partitions.collect(),
    }
}

fn occupied(partition_index: i32, partition: &Partition) -> DescribeLogDirsPartition {
    let described = partition.describe();
    let behind = described.high_watermark.since(described.log_end);
    DescribeLogDirsPartition {
        partition_index,
        partition_size: signed(described.size_bytes),
        // How far this replica is behind what is committed; a lone leader never is.
        offset_lag: signed(behind),
        is_future_key: false,
    }
}

fn path(dir: &Path) -> Str {
    dir.to_string_lossy().as_ref().into()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
