//! `/v1/cluster`: the nodes and the sums.

use super::{SCHEMA, broker};
use crate::admin::{Admin, Build};
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use plimsoll_broker::{Broker, DiskSpace, disk_space};
use plimsoll_controller::Node;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
pub(crate) struct Cluster {
    schema: u32,
    cluster_id: String,
    /// The node that answers.
    node_id: u32,
    controller_id: u32,
    build: Build,
    metadata_version: u64,
    nodes: Vec<NodeView>,
    topics: usize,
    partitions: Partitions,
    disk: Option<Disk>,
}

#[derive(Serialize)]
struct NodeView {
    id: u32,
    broker_epoch: u64,
    rack: Option<String>,
    listeners: Vec<ListenerView>,
}

#[derive(Serialize)]
struct ListenerView {
    name: String,
    host: String,
    port: u16,
}

/// Partitions of this node.
#[derive(Serialize)]
struct Partitions {
    total: usize,
    online: usize,
    offline: usize,
}

#[derive(Serialize)]
struct Disk {
    data_dir: String,
    total_bytes: u64,
    usable_bytes: u64,
}

pub(crate) async fn show(State(admin): State<Arc<Admin>>) -> Result<Json<Cluster>, Problem> {
    let broker = broker(&admin)?;
    let image = broker.image();
    let config = broker.config();
    Ok(Json(Cluster {
        schema: SCHEMA,
        cluster_id: config.cluster_id.clone(),
        node_id: config.node.get(),
        controller_id: config.node.get(),
        build: admin.build,
        metadata_version: image.version(),
        nodes: image.nodes().map(node).collect(),
        topics: image.topic_count(),
        partitions: partitions(broker, image.partition_count()),
        disk: disk(broker).await,
    }))
}

fn node(node: &Node) -> NodeView {
    let listeners = node.listeners.iter().map(|listener| ListenerView {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
    });
    NodeView {
        id: node.id.get(),
        broker_epoch: node.broker_epoch.0,
        rack: node.rack.clone(),
        listeners: listeners.collect(),
    }
}

fn partitions(broker: &Broker, total: usize) -> Partitions {
    let topics = broker.catalog().topics();
    let online = topics.iter().flat_map(|topic| topic.online());
    let online = online
        .filter(|partition| partition.offline().is_none())
        .count();
    Partitions {
        total,
        online,
        offline: total.saturating_sub(online),
    }
}

/// The data directory's volume; it is asked off the runtime's threads, as a dead disk may block.
async fn disk(broker: &Broker) -> Option<Disk> {
    let data_dir = broker.data_dir().to_owned();
    let path = data_dir.clone();
    let asked = tokio::task::spawn_blocking(move || disk_space(&path)).await;
    let DiskSpace {
        total_bytes,
        usable_bytes,
    } = asked.ok()?.ok()?;
    Some(Disk {
        data_dir: data_dir.display().to_string(),
        total_bytes,
        usable_bytes,
    })
}
