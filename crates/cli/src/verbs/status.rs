//! `plimsoll status`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use plimsoll_client::admin::Resource;
use plimsoll_client::{Admin, Metadata, Topic};
use plimsoll_health::{ClusterFacts, ClusterVerdict, Level, NodeFacts, QuorumFacts, judge};
use plimsoll_types::NodeId;
use serde::Serialize;

use super::doctor::headline;
use crate::failure::{Exit, Failure};
use crate::http::Http;
use crate::output::table;
use crate::reach::admin;
use crate::verb::Status;

#[derive(Serialize)]
struct Cluster {
    verdict: &'static str,
    /// Why it is not ok, gravest first.
    reasons: Vec<String>,
    cluster_id: String,
    controller: Option<u32>,
    nodes: Vec<Node>,
    topics: usize,
    partitions: usize,
    leaderless_partitions: usize,
    under_min_isr_partitions: usize,
    under_replicated_partitions: usize,
}

#[derive(Serialize)]
struct Node {
    id: u32,
    address: String,
    rack: Option<String>,
    fenced: bool,
}

pub(super) async fn status(args: Status) -> Result<Exit, Failure> {
    let admin = admin(&args.ask.connect).await?;
    let described = admin.cluster().await?;
    let metadata = admin.client().metadata().await?;
    let users = || metadata.topics.values().filter(|topic| !topic.is_internal);
    let facts = ClusterFacts {
        partitions: 0,
        nodes: described
            .nodes
            .iter()
            .map(|node| NodeFacts {
                node: node.id,
                // Since when, Kafka's protocol does not tell.
                fenced: node.is_fenced.then_some(Duration::ZERO),
                draining: false,
                disk: None,
            })
            .collect(),
        quorum: QuorumFacts {
            leader: described.controller,
            voters: 1,
            current: 1,
        },
        below_min_isr: below_min_isr(&admin, &metadata).await?,
        ..partitions(&metadata)
    };
    let http = Http {
        at: args.http,
        timeout: args.ask.connect.timeout.min(PATIENCE),
    };
    let verdict = match told(&http, &described.cluster_id).await {
        Some(verdict) => verdict,
        None => judge(&facts),
    };
    let nodes = described.nodes.into_iter().map(|node| Node {
        id: node.id.get(),
        address: node.address,
        rack: node.rack,
        fenced: node.is_fenced,
    });
    let cluster = Cluster {
        verdict: verdict.level.as_str(),
        cluster_id: described.cluster_id,
        controller: described.controller.map(NodeId::get),
        nodes: nodes.collect(),
        topics: users().count(),
        partitions: users().map(|topic| topic.partitions.len()).sum(),
        leaderless_partitions: facts.leaderless.len(),
        under_min_isr_partitions: facts.below_min_isr.len(),
        under_replicated_partitions: facts.under_replicated.len(),
        reasons: verdict.reasons.clone(),
    };
    args.ask
        .output
        .one("cluster", &cluster.cluster_id, &cluster, || text(&cluster))?;
    Ok(exit(&verdict))
}

/// How long the nodes' HTTP side may take; what they say is more than Kafka's protocol can.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the nodes themselves say, as doctor has it, if they are of the same cluster.
async fn told(http: &Http, cluster_id: &str) -> Option<ClusterVerdict> {
    let said = http.best("/v1/status").await.ok()?;
    if said["cluster_id"] != cluster_id {
        return None;
    }
    let known = [Level::Ok, Level::Degraded, Level::Unhealthy];
    let level = known
        .into_iter()
        .find(|level| said["verdict"] == level.as_str())?;
    let reasons = super::doctor::list(&said, "reasons").iter();
    Some(ClusterVerdict {
        level,
        reasons: reasons
            .filter_map(|reason| Some(reason.as_str()?.to_owned()))
            .collect(),
        age: Duration::ZERO,
    })
}

fn exit(verdict: &ClusterVerdict) -> Exit {
    match verdict.level {
        Level::Ok => Exit::Ok,
        Level::Degraded => Exit::Degraded,
        Level::Unhealthy => Exit::Unhealthy,
        Level::Unknown => Exit::Unreachable,
    }
}

/// What the metadata alone says of partitions.
fn partitions(metadata: &Metadata) -> ClusterFacts {
    let mut facts = ClusterFacts::default();
    for topic in metadata.topics.values() {
        for partition in &topic.partitions {
            let name = || format!("{}/{}", topic.name, partition.index);
            if partition.leader.is_none() {
                facts.leaderless.push(name());
            } else if partition.isr.len() < partition.replicas.len() {
                facts.under_replicated.push(name());
            }
        }
    }
    facts
}

/// Partitions that have a leader and take no writes with acks=all. Only topics that lack replicas
/// are asked how many they need.
async fn below_min_isr(admin: &Admin, metadata: &Metadata) -> Result<Vec<String>, Failure> {
    const KEY: &str = "min.insync.replicas";
    let lacking = |topic: &&Topic| {
        let mut partitions = topic.partitions.iter();
        partitions.any(|partition| partition.isr.len() < partition.replicas.len())
    };
    let lacking: BTreeSet<_> = metadata
        .topics
        .values()
        .filter(lacking)
        .map(|t| &t.name)
        .collect();
    let mut below = Vec::new();
    for name in lacking {
        let resource = Resource::Topic(name.to_string());
        let configs = admin.configs(&resource, Some(&[KEY])).await?;
        let min = configs.iter().find(|entry| entry.name == KEY);
        let min = min.and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
        let Some(topic) = metadata.topics.get(name) else {
            continue;
        };
        for partition in topic.partitions.iter().filter(|p| p.leader.is_some()) {
            // A topic of fewer replicas than that needs all it has.
            let min = min.unwrap_or(1).min(partition.replicas.len());
            if partition.isr.len() < min {
                below.push(format!("{name}/{}", partition.index));
            }
        }
    }
    Ok(below)
}

fn text(cluster: &Cluster) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}  cluster {}  topics {}  partitions {}",
        headline(cluster.verdict),
        cluster.cluster_id,
        cluster.topics,
        cluster.partitions
    );
    for reason in &cluster.reasons {
        let _ = writeln!(text, "{reason}");
    }
    if !cluster.reasons.is_empty() {
        let _ = writeln!(text, "What is being done about it: plimsoll doctor");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(facts: &ClusterFacts) -> Exit {
        let quorum = QuorumFacts {
            leader: NodeId::new(1),
            voters: 1,
            current: 1,
        };
        let facts = ClusterFacts {
            quorum,
            ..facts.clone()
        };
        exit(&judge(&facts))
    }

    #[test]
    fn the_exit_code_is_doctors() {
        let name = || vec!["a/0".to_owned()];
        let mut facts = ClusterFacts::default();
        assert_eq!(exit_of(&facts), Exit::Ok);
        facts.under_replicated = name();
        assert_eq!(exit_of(&facts), Exit::Degraded);
        facts.below_min_isr = name();
        assert_eq!(exit_of(&facts), Exit::Unhealthy);
        facts = ClusterFacts::default();
        facts.leaderless = name();
        assert_eq!(exit_of(&facts), Exit::Unhealthy);
        // Without a controller nothing can change.
        assert_eq!(exit(&judge(&ClusterFacts::default())), Exit::Unhealthy);
    }
}
