//! `/v1/status` and `/v1/doctor`: the cluster in a few lines, and what is wrong with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use plimsoll_health::ClusterVerdict;
use serde::Serialize;

use super::SCHEMA;
use crate::admin::{Admin, Build};
use crate::cluster::{Finding, Gathered};
use crate::problem::Problem;

/// The verdict, as every answer that has one tells it.
#[derive(Serialize)]
pub(crate) struct VerdictView {
    verdict: &'static str,
    reasons: Vec<String>,
    /// The age of what it rests on.
    age_seconds: f64,
}

impl VerdictView {
    pub(crate) fn of(verdict: &ClusterVerdict) -> Self {
        Self {
            verdict: verdict.level.as_str(),
            reasons: verdict.reasons.clone(),
            age_seconds: verdict.age.as_secs_f64(),
        }
    }
}

/// How much the node that answers knows, for who asks several.
#[derive(Serialize)]
pub(crate) struct Informed {
    nodes_answering: usize,
    metadata_version: u64,
}

impl Informed {
    pub(crate) fn of(gathered: &Gathered) -> Self {
        Self {
            nodes_answering: gathered.reports.len(),
            metadata_version: gathered.image.version(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Status {
    schema: u32,
    #[serde(flatten)]
    verdict: VerdictView,
    cluster_id: String,
    /// The node that answers.
    node_id: u32,
    quorum_leader: Option<u32>,
    #[serde(flatten)]
    informed: Informed,
    build: Build,
    topics: usize,
    #[serde(flatten)]
    sums: Sums,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct Sums {
    partitions: usize,
    leaderless_partitions: usize,
    under_min_isr_partitions: usize,
    under_replicated_partitions: usize,
    replicas: usize,
    replicas_out_of_sync: usize,
}

#[derive(Serialize)]
struct NodeView {
    id: u32,
    address: Option<String>,
    peer: String,
    rack: Option<String>,
    /// `up`, `fenced`, `draining` or `unreachable`.
    state: &'static str,
    /// Why it does not answer.
    reason: Option<String>,
    /// None: it does not answer.
    metadata_version: Option<u64>,
    quorum_leader: bool,
    leaders: u32,
    replicas: u32,
    replicas_out_of_sync: usize,
}

pub(crate) async fn show(State(admin): State<Arc<Admin>>) -> Result<Json<Status>, Problem> {
    let gathered = admin.gathered().await?;
    let verdict = admin.cluster_verdict().await?;
    let image = &gathered.image;
    let nodes = image.nodes().map(|node| view(&gathered, node)).collect();
    Ok(Json(Status {
        schema: SCHEMA,
        verdict: VerdictView::of(&verdict),
        cluster_id: gathered.cluster_id.clone(),
        node_id: gathered.me,
        quorum_leader: gathered.controller,
        informed: Informed::of(&gathered),
        build: admin.build,
        topics: image.topic_count(),
        sums: sums(&gathered),
        nodes,
    }))
}

fn sums(gathered: &Gathered) -> Sums {
    let image = &gathered.image;
    Sums {
        partitions: image.partition_count(),
        leaderless_partitions: image.leaderless().count(),
        under_min_isr_partitions: image.under_min_isr().count(),
        under_replicated_partitions: image.under_replicated().count(),
        replicas: gathered.rows.len(),
        replicas_out_of_sync: gathered.rows.iter().filter(|row| !row.is_well()).count(),
    }
}

fn view(gathered: &Gathered, node: &plimsoll_controller::Node) -> NodeView {
    let id = node.id.get();
    let silent = gathered.silent.get(&id);
    let listener = node.listeners.first();
    let ill = |row: &&crate::cluster::Row| row.node == id && !row.is_well();
    NodeView {
        id,
        address: listener.map(|at| format!("{}:{}", at.host, at.port)),
        peer: node.peer.clone(),
        rack: node.rack.clone(),
        state: match (node.fenced, silent, node.is_draining()) {
            (true, _, _) => "fenced",
            (false, Some(_), _) => "unreachable",
            (false, None, true) => "draining",
            (false, None, false) => "up",
        },
        reason: silent.cloned(),
        metadata_version: gathered.reports.get(&id).map(|said| said.metadata_version),
        quorum_leader: gathered.controller == Some(id),
        leaders: gathered.image.leaderships_of(node.id),
        replicas: gathered.image.replicas_on(node.id),
        replicas_out_of_sync: gathered.rows.iter().filter(ill).count(),
    }
}

#[derive(Serialize)]
pub(crate) struct Doctor {
    schema: u32,
    #[serde(flatten)]
    verdict: VerdictView,
    #[serde(flatten)]
    informed: Informed,
    /// What there is, in a line.
    summary: String,
    problems: Vec<Finding>,
}

pub(crate) async fn doctor(State(admin): State<Arc<Admin>>) -> Result<Json<Doctor>, Problem> {
    let gathered = admin.gathered().await?;
    let verdict = admin.cluster_verdict().await?;
    let sums = sums(&gathered);
    let summary = format!(
        "{} of {} nodes answer, {} partitions, {} of {} replicas in sync",
        gathered.reports.len(),
        gathered.image.nodes().len(),
        sums.partitions,
        sums.replicas - sums.replicas_out_of_sync,
        sums.replicas,
    );
    Ok(Json(Doctor {
        schema: SCHEMA,
        verdict: VerdictView::of(&verdict),
        informed: Informed::of(&gathered),
        summary,
        problems: gathered.findings.clone(),
    }))
}
