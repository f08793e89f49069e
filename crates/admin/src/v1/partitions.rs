//! `/v1/partitions[?topic=name]`: each partition with its offsets on this node.

use super::{SCHEMA, broker};
use crate::admin::Admin;
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Query, State};
use plimsoll_broker::{Broker, Hosted};
use plimsoll_controller::Topic;
use plimsoll_types::NodeId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct Selection {
    topic: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Partitions {
    schema: u32,
    partitions: Vec<PartitionView>,
}

/// One partition, and its replica on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionView {
    topic: String,
    partition: u32,
    leader: Option<u32>,
    leader_epoch: u32,
    replicas: Vec<u32>,
    isr: Vec<u32>,
    /// This node's replica; absent when it has none.
    replica: Option<ReplicaView>,
}

/// A replica's offsets, each end exclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ReplicaView {
    node: u32,
    /// `leader`, `in-sync` or `offline`.
    pub(crate) state: &'static str,
    pub(crate) log_start: Option<u64>,
    pub(crate) durable_end: Option<u64>,
    pub(crate) high_watermark: Option<u64>,
    pub(crate) log_end: Option<u64>,
    pub(crate) size_bytes: Option<u64>,
    /// Why it is offline.
    offline: Option<String>,
}

pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(selection): Query<Selection>,
) -> Result<Json<Partitions>, Problem> {
    let broker = broker(&admin)?;
    let image = broker.image();
    let partitions = match selection.topic {
        None => image
            .topics()
            .flat_map(|topic| views(broker, topic))
            .collect(),
        Some(name) => match image.topic(&name) {
            Some(topic) => views(broker, topic),
            None => {
                let what = format!("topic {name}");
                return Err(Problem::NotFound { what });
            }
        },
    };
    let schema = SCHEMA;
    Ok(Json(Partitions { schema, partitions }))
}

/// Every partition of `topic`.
pub(crate) fn views(broker: &Broker, topic: &Topic) -> Vec<PartitionView> {
    let hosted = broker.catalog().topic_by_id(topic.id);
    let node = broker.config().node;
    let plain = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    let numbered = (0_u32..).zip(&topic.partitions);
    let views = numbered.map(|(index, partition)| {
        let hosted = hosted
            .as_ref()
            .filter(|_| partition.replicas.contains(&node));
        let here = hosted.and_then(|hosted| {
            hosted
                .partitions
                .get(usize::try_from(index).unwrap_or(usize::MAX))
        });
        PartitionView {
            topic: topic.name.to_string(),
            partition: index,
            leader: partition.leader.map(NodeId::get),
            leader_epoch: partition.leader_epoch.get(),
            replicas: plain(&partition.replicas),
            isr: plain(&partition.isr),
            replica: here.map(|here| replica(node, partition.leader == Some(node), here)),
        }
    });
    views.collect()
}

pub(crate) fn replica(node: NodeId, leads: bool, hosted: &Hosted) -> ReplicaView {
    let node = node.get();
    match hosted {
        Hosted::Offline(why) => ReplicaView {
            node,
            state: "offline",
            log_start: None,
            durable_end: None,
            high_watermark: None,
            log_end: None,
            size_bytes: None,
            offline: Some(why.to_string()),
        },
        Hosted::Online(partition) => {
            let now = partition.describe();
            let state = match (&now.offline, leads) {
                (Some(_), _) => "offline",
                (None, true) => "leader",
                (None, false) => "in-sync",
            };
            ReplicaView {
                node,
                state,
                log_start: Some(now.log_start.get()),
                durable_end: Some(now.durable_end.get()),
                high_watermark: Some(now.high_watermark.get()),
                log_end: Some(now.log_end.get()),
                size_bytes: Some(now.size_bytes),
                offline: now.offline.map(|why| why.to_string()),
            }
        }
    }
}
