//! `plimsoll partition move` and `plimsoll node decommission`: replicas go to other nodes.
//!
//! The cluster does the work and would end it without us; here it is begun, watched and told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use plimsoll_client::{Admin, Metadata};
use plimsoll_types::{NodeId, TopicPartition};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::progress::Progress;
use crate::confirm::confirmed;
use crate::failure::{Code, Exit, Failure};
use crate::http::Http;
use crate::operate::{Decommission, Move};
use crate::output::note;
use crate::reach::{admin, topic_name};
use crate::verb::Connect;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// Off a terminal, how it stands is told again after so long.
const SAY: Duration = Duration::from_secs(5);
/// A node that has just stopped is known to have after so long, at most.
const FENCED: Duration = Duration::from_secs(30);

/// A partition and the nodes it goes to, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relocation {
    pub(super) partition: TopicPartition,
    pub(super) to: Vec<NodeId>,
}

impl Relocation {
    /// `orders/3`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.partition.topic, self.partition.partition)
    }

    /// Whether the cluster has it so, and no other replica is left.
    fn is_done(&self, metadata: &Metadata) -> bool {
        let topic = metadata.topics.get(&self.partition.topic);
        let at = usize::try_from(self.partition.partition).unwrap_or(usize::MAX);
        let known = topic.and_then(|topic| topic.partitions.get(at));
        // A topic that was deleted meanwhile has nothing left to move.
        known.is_none_or(|known| known.replicas == self.to)
    }
}

#[derive(Serialize)]
struct Moved {
    topic: String,
    partition: u32,
    replicas: Vec<u32>,
    /// Whether the move is over.
    done: bool,
    took_seconds: f64,
}

pub(super) async fn reassign(args: Move) -> Result<Exit, Failure> {
    let (topic, index) = args.partition;
    let known = |node: &u32| {
        let unknown = || Failure::usage(format!("{node} is no node's number"));
        NodeId::new(*node).ok_or_else(unknown)
    };
    let to: Vec<NodeId> = args.to.iter().map(known).collect::<Result<_, _>>()?;
    let partition = TopicPartition {
        topic: topic_name(&topic)?,
        partition: index,
    };
    let begun = Instant::now();
    let admin = admin(&args.ask.connect).await?;
    let name = format!("{topic}/{index}");
    if args.cancel {
        admin.reassign(&partition, None).await?;
        note(&format!("{name} stays where it was."));
        return Ok(Exit::Ok);
    }
    can_take(&admin, &to).await?;
    admin.reassign(&partition, Some(&to)).await?;
    if !args.no_wait {
        let http = Http {
            at: args.http,
            timeout: args.ask.connect.timeout,
        };
        let moves = vec![Relocation {
            partition,
            to: to.clone(),
        }];
        Watch::new(&admin, &http).until_done(moves).await?;
    }
    let moved = Moved {
        topic,
        partition: index,
        replicas: to.iter().map(|node| node.get()).collect(),
        done: !args.no_wait,
        took_seconds: begun.elapsed().as_secs_f64(),
    };
    args.ask.output.one("move", &name, &moved, || {
        let on = list(&to);
        match moved.done {
            true => format!("{name} is on {on} ({:.1} s)\n", moved.took_seconds),
            false => format!(
                "{name} moves to {on}. Watch it: plimsoll replica list --topic {} --unhealthy\n",
                moved.topic
            ),
        }
    })?;
    Ok(Exit::Ok)
}

/// Says why not, where a node could not take a replica now: the move would wait for it for ever.
async fn can_take(admin: &Admin, to: &[NodeId]) -> Result<(), Failure> {
    let nodes = admin.cluster().await?.nodes;
    let up: Vec<NodeId> = nodes
        .iter()
        .filter(|n| !n.is_fenced)
        .map(|n| n.id)
        .collect();
    for node in to {
        if up.contains(node) {
            continue;
        }
        let why = match nodes.iter().any(|known| known.id == *node) {
            true => format!(
                "node {node} is fenced: it does not run, or cannot be reached, and the move would \
                 wait for it. See plimsoll doctor; start it again"
            ),
            false => format!("there is no node {node}"),
        };
        let what = format!("{why}. Nodes that can take replicas now: {}", list(&up));
        let is_known = nodes.iter().any(|known| known.id == *node);
        let code = if is_known {
            Code::Refused
        } else {
            Code::NotKnown
        };
        return Err(Failure::new(code, what));
    }
    Ok(())
}

/// Waits for moves, and tells how far they are.
struct Watch<'a> {
    admin: &'a Admin,
    http: &'a Http,
    progress: Progress,
}

impl<'a> Watch<'a> {
    fn new(admin: &'a Admin, http: &'a Http) -> Self {
        Self {
            admin,
            http,
            progress: Progress::default(),
        }
    }

    async fn until_done(mut self, mut left: Vec<Relocation>) -> Result<(), Failure> {
        let is_terminal = std::io::stderr().is_terminal();
        let (all, begun) = (left.len(), Instant::now());
        let (mut said, mut said_at) = (String::new(), None);
        loop {
            // A node may stop meanwhile, and another answer.
            if let Ok(metadata) = self.admin.client().metadata().await {
                left.retain(|relocation| !relocation.is_done(&metadata));
            }
            if left.is_empty() {
                if is_terminal && !said.is_empty() {
                    anstream::eprint!("\r\x1b[K");
                }
                return Ok(());
            }
            // What is over within a second needs no telling.
            if begun.elapsed() > Duration::from_secs(1) {
                let line = self.line(all, &left).await;
                if is_terminal {
                    anstream::eprint!("\r\x1b[K{line}");
                } else if said_at.is_none_or(|at: Instant| at.elapsed() > SAY) {
                    note(&line);
                    said_at = Some(Instant::now());
                }
                said = line;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn line(&mut self, all: usize, left: &[Relocation]) -> String {
        let rows = match self.http.best("/v1/replicas").await {
            Ok(answer) => super::doctor::list(&answer, "replicas").to_vec(),
            // How far it is cannot be told; that it goes on can.
            Err(_) => Vec::new(),
        };
        self.progress.line(all, left, &rows, Instant::now())
    }
}

#[derive(Serialize)]
struct Decommissioned {
    node: u32,
    moved_partitions: usize,
    /// Whether the cluster knows it no more.
    removed: bool,
}

pub(super) async fn decommission(args: Decommission) -> Result<Exit, Failure> {
    let http = args.node.ask.http;
    let leaving = NodeId::new(args.node.node)
        .ok_or_else(|| Failure::usage(format!("{} is no node's number", args.node.node)))?;
    let connect = Connect {
        at: args.at,
        timeout: http.timeout,
    };
    let admin = admin(&connect).await?;
    let moves = plan(&admin, &http, leaving).await?;
    let plan_text = match moves.len() {
        0 => format!("Node {leaving} holds no replicas. It is taken out of the cluster for good."),
        moves => format!(
            "Node {leaving} gives its leaderships away, {moves} partitions are copied to other \
             nodes, and it is taken out of the cluster for good."
        ),
    };
    if !confirmed(&plan_text, args.confirm)? {
        return Ok(Exit::Ok);
    }
    let mut moved_partitions = 0;
    if !is_fenced(&admin, leaving).await? {
        http.post(&format!("/v1/nodes/{leaving}/drain")).await?;
    }
    // Partitions may have been made meanwhile: look again until there is none.
    let mut moves = moves;
    while !moves.is_empty() {
        for relocation in &moves {
            let to = Some(relocation.to.as_slice());
            admin.reassign(&relocation.partition, to).await?;
        }
        moved_partitions += moves.len();
        Watch::new(&admin, &http).until_done(moves).await?;
        moves = plan(&admin, &http, leaving).await?;
    }
    if !is_fenced(&admin, leaving).await? {
        note(&format!(
            "Node {leaving} holds nothing any more. Stop its process now; this waits for that \
             (Ctrl-C leaves it drained and empty)."
        ));
        while !is_fenced(&admin, leaving).await? {
            tokio::time::sleep(LOOK).await;
        }
    }
    remove(&http, leaving).await?;
    let done = Decommissioned {
        node: leaving.get(),
        moved_partitions,
        removed: true,
    };
    let name = leaving.to_string();
    args.node.ask.output.one("decommission", &name, &done, || {
        format!("node {leaving} is out of the cluster; {moved_partitions} partitions were moved\n")
    })?;
    Ok(Exit::Ok)
}

/// Takes it out; whoever is asked may hear a moment later that it has stopped.
async fn remove(http: &Http, node: NodeId) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match http.post(&format!("/v1/nodes/{node}/decommission")).await {
            Ok(_) => return Ok(()),
            Err(failure) if begun.elapsed() > FENCED => return Err(failure),
            Err(failure) if matches!(failure.code, Code::Refused | Code::Unreachable) => {
                tokio::time::sleep(LOOK).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn is_fenced(admin: &Admin, node: NodeId) -> Result<bool, Failure> {
    let nodes = admin.cluster().await?.nodes;
    let known = nodes.iter().find(|known| known.id == node);
    let missing = || Failure::new(Code::NotKnown, format!("there is no node {node}"));
    known.map(|known| known.is_fenced).ok_or_else(missing)
}

/// Where each replica of `leaving` goes: in its place, to whoever holds least.
async fn plan(admin: &Admin, http: &Http, leaving: NodeId) -> Result<Vec<Relocation>, Failure> {
    is_fenced(admin, leaving).await?;
    let status = http.best("/v1/status").await?;
    let nodes = super::doctor::list(&status, "nodes");
    let is_up = |node: &&Value| node["state"] == "up";
    let up = nodes
        .iter()
        .filter(is_up)
        .filter_map(|node| node["id"].as_u64());
    let up: BTreeSet<NodeId> = up
        .filter_map(|id| NodeId::new(u32::try_from(id).ok()?))
        .filter(|node| *node != leaving)
        .collect();
    let metadata = admin.client().metadata().await?;
    let (moves, stuck) = place(&metadata, leaving, &up);
    match stuck.first() {
        None => Ok(moves),
        Some(first) => {
            let what = format!(
                "{} partitions ({first}{}) have a replica on node {leaving}, and no other node that \
                 is up could take it. Start another node, or keep fewer replicas: plimsoll \
                 partition move {first} --to NODES",
                stuck.len(),
                if stuck.len() > 1 { ", …" } else { "" }
            );
            Err(Failure::new(Code::TooFewNodes, what))
        }
    }
}

/// Where each replica of `leaving` goes, and the partitions for which there is no other node.
fn place(
    metadata: &Metadata,
    leaving: NodeId,
    up: &BTreeSet<NodeId>,
) -> (Vec<Relocation>, Vec<String>) {
    let topics = metadata.topics.values();
    let all = || {
        topics
            .clone()
            .flat_map(|t| t.partitions.iter().map(move |p| (t, p)))
    };
    let mut held: BTreeMap<NodeId, usize> = up.iter().map(|node| (*node, 0)).collect();
    for node in all().flat_map(|(_, partition)| &partition.replicas) {
        if let Some(held) = held.get_mut(node) {
            *held += 1;
        }
    }
    let (mut moves, mut stuck) = (Vec::new(), Vec::new());
    for (topic, partition) in all().filter(|(_, p)| p.replicas.contains(&leaving)) {
        let free = held
            .iter()
            .filter(|(node, _)| !partition.replicas.contains(node));
        let Some(taker) = free.min_by_key(|(_, held)| **held).map(|(node, _)| *node) else {
            stuck.push(format!("{}/{}", topic.name, partition.index));
            continue;
        };
        if let Some(held) = held.get_mut(&taker) {
            *held += 1;
        }
        let replace = |node: &NodeId| if *node == leaving { taker } else { *node };
        moves.push(Relocation {
            partition: TopicPartition {
                topic: topic.name.clone(),
                partition: partition.index,
            },
            to: partition.replicas.iter().map(replace).collect(),
        });
    }
    (moves, stuck)
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    names.join(", ")
}
