//! `/v1/topics` and `/v1/topics/{topic}`.

use super::partitions::{self, PartitionView};
use super::{SCHEMA, broker};
use crate::admin::Admin;
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use plimsoll_broker::Broker;
use plimsoll_controller::config::{self, Source};
use plimsoll_controller::{Topic, rules};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
pub(crate) struct Topics {
    schema: u32,
    topics: Vec<Summary>,
}

#[derive(Serialize)]
struct Summary {
    name: String,
    id: String,
    internal: bool,
    partitions: usize,
    replication_factor: usize,
    /// Partitions whose replica here is offline.
    offline_partitions: usize,
    /// Records between log start and high watermark, of all partitions.
    records: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    schema: u32,
    #[serde(flatten)]
    summary: Summary,
    configs: Vec<ConfigView>,
    partition_list: Vec<PartitionView>,
}

#[derive(Serialize)]
struct ConfigView {
    name: &'static str,
    value: String,
    /// `topic`, `node-dynamic`, `cluster-dynamic`, `node-file` or `default`.
    source: &'static str,
}

pub(crate) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Topics>, Problem> {
    let broker = broker(&admin)?;
    let image = broker.image();
    let topics = image.topics().map(|topic| summary(broker, topic));
    Ok(Json(Topics {
        schema: SCHEMA,
        topics: topics.collect(),
    }))
}

pub(crate) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let broker = broker(&admin)?;
    let image = broker.image();
    let Some(topic) = image.topic(&name) else {
        let what = format!("topic {name}");
        return Err(Problem::NotFound { what });
    };
    let told = broker.config();
    let entries = config::entries(&image, &told.topic_defaults, told.node, Some(topic));
    let configs = entries.map(|entry| ConfigView {
        name: entry.key.name,
        value: entry.value().to_owned(),
        source: source(entry.source()),
    });
    Ok(Json(Shown {
        schema: SCHEMA,
        summary: summary(broker, topic),
        configs: configs.collect(),
        partition_list: partitions::views(broker, topic),
    }))
}

fn summary(broker: &Broker, topic: &Topic) -> Summary {
    let hosted = broker.catalog().topic_by_id(topic.id);
    let mut summary = Summary {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: rules::is_internal(topic.name.as_str()),
        partitions: topic.partitions.len(),
        replication_factor: topic.partitions.first().map_or(0, |p| p.replicas.len()),
        offline_partitions: topic.partitions.len(),
        records: 0,
        size_bytes: 0,
    };
    for partition in hosted.iter().flat_map(|hosted| hosted.online()) {
        let now = partition.describe();
        summary.records += now.high_watermark.since(now.log_start);
        summary.size_bytes += now.size_bytes;
        summary.offline_partitions -= usize::from(now.offline.is_none());
    }
    summary
}

const fn source(source: Source) -> &'static str {
    match source {
        Source::Topic => "topic",
        Source::DynamicNode => "node-dynamic",
        Source::DynamicEveryNode => "cluster-dynamic",
        Source::StaticNode => "node-file",
        Source::Default => "default",
    }
}
