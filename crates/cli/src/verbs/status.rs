//! `plimsoll status`

use std::fmt::Write as _;

use plimsoll_types::NodeId;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::table;
use crate::reach::admin;
use crate::verb::Status;

#[derive(Serialize)]
struct Cluster {
    verdict: &'static str,
    cluster_id: String,
    controller: Option<u32>,
    nodes: Vec<Node>,
    topics: usize,
    partitions: usize,
    leaderless_partitions: usize,
    under_replicated_partitions: usize,
}

#[derive(Serialize)]
struct Node {
    id: u32,
    address: String,
    rack: Option<String>,
    fenced: bool,
}

pub(super) async fn status(args: Status) -> Result<(), Failure> {
    let admin = admin(&args.ask.connect).await?;
    let described = admin.cluster().await?;
    let metadata = admin.client().metadata().await?;
    let users = || metadata.topics.values().filter(|topic| !topic.is_internal);
    let partitions = || metadata.topics.values().flat_map(|topic| &topic.partitions);
    let leaderless = partitions()
        .filter(|partition| partition.leader.is_none())
        .count();
    let behind = partitions().filter(|partition| partition.isr.len() < partition.replicas.len());
    let behind = behind.count();
    let nodes = described.nodes.into_iter().map(|node| Node {
        id: node.id.get(),
        address: node.address,
        rack: node.rack,
        fenced: node.is_fenced,
    });
    let cluster = Cluster {
        verdict: match (leaderless, behind) {
            (0, 0) => "ok",
            (0, _) => "degraded",
            _ => "unhealthy",
        },
        cluster_id: described.cluster_id,
        controller: described.controller.map(NodeId::get),
        nodes: nodes.collect(),
        topics: users().count(),
        partitions: users().map(|topic| topic.partitions.len()).sum(),
        leaderless_partitions: leaderless,
        under_replicated_partitions: behind,
    };
    args.ask
        .output
        .one("cluster", &cluster.cluster_id, &cluster, || text(&cluster))
}

fn text(cluster: &Cluster) -> String {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    let (symbol, colour) = match cluster.verdict {
        "ok" => ("●", Green),
        "degraded" => ("◐", Yellow),
        _ => ("○", Red),
    };
    let colour = colour.on_default();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{colour}{symbol} {}{colour:#}  cluster {}  topics {}  partitions {}",
        cluster.verdict, cluster.cluster_id, cluster.topics, cluster.partitions
    );
    if cluster.leaderless_partitions + cluster.under_replicated_partitions > 0 {
        let _ = writeln!(
            text,
            "partitions without a leader {}, with replicas behind {}",
            cluster.leaderless_partitions, cluster.under_replicated_partitions
        );
    }
    let heading = ["NODE", "ADDRESS", "STATE", "ROLE"]
        .map(str::to_owned)
        .to_vec();
    let rows = cluster.nodes.iter().map(|node| {
        let role = match cluster.controller == Some(node.id) {
            true => "controller",
            false => "",
        };
        let state = if node.fenced { "fenced" } else { "up" };
        vec![
            node.id.to_string(),
            node.address.clone(),
            state.to_owned(),
            role.to_owned(),
        ]
    });
    text + &table(std::iter::once(heading).chain(rows))
}
