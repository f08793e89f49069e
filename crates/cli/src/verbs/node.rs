//! `plimsoll node …`

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::operate::{DrainNode, Node, NodeList, OneNode};
use crate::output::{Columns, Output};
use crate::repeat::until;
use crate::verbs::doctor;
use crate::verbs::words::{number, text};

pub(super) const HEADINGS: [&str; 7] = [
    "NODE",
    "ADDRESS",
    "STATE",
    "ROLE",
    "LEADERS",
    "REPLICAS",
    "NOT-IN-SYNC",
];

pub(super) async fn node(node: Node) -> Result<Exit, Failure> {
    match node {
        Node::List(args) => list(args).await,
        Node::CanStop(args) => can_stop(args).await,
        Node::Drain(args) => drain(args).await,
        Node::Resume(args) => order(args, "resume").await,
        Node::Decommission(args) => super::relocate::decommission(args).await,
    }
}

async fn list(args: NodeList) -> Result<Exit, Failure> {
    let answer = args.ask.http.best("/v1/status").await?;
    let columns = Columns {
        headings: &HEADINGS,
        more: &["PEER", "RACK", "METADATA", "REASON"],
        cells,
    };
    let nodes = doctor::list(&answer, "nodes");
    args.ask.output.list("nodes", nodes, &columns)?;
    Ok(Exit::Ok)
}

pub(super) fn cells(node: &Value) -> Vec<String> {
    let role = match node["quorum_leader"] == true {
        true => "controller",
        false => "",
    };
    vec![
        number(node, "id"),
        text(node, "address"),
        text(node, "state"),
        role.to_owned(),
        number(node, "leaders"),
        number(node, "replicas"),
        number(node, "replicas_out_of_sync"),
        text(node, "peer"),
        text(node, "rack"),
        number(node, "metadata_version"),
        text(node, "reason"),
    ]
}

async fn can_stop(args: OneNode) -> Result<Exit, Failure> {
    let path = format!("/v1/nodes/{}/can-stop", args.node);
    let answer = args.ask.http.get(&path).await?;
    let can = answer["can_stop"] == true;
    told(args.ask.output, &answer, || {
        let partitions = doctor::list(&answer, "partitions").iter();
        let names: Vec<&str> = partitions.filter_map(Value::as_str).collect();
        match can {
            true => format!("yes: {}", text(&answer, "reason")),
            false => format!("no: {}: {}", text(&answer, "reason"), names.join(", ")),
        }
    })?;
    Ok(if can { Exit::Ok } else { Exit::Unsafe })
}

async fn drain(args: DrainNode) -> Result<Exit, Failure> {
    let (http, node) = (args.node.ask.http.clone(), args.node.node);
    let within = args.waiting.within(http.timeout);
    order(args.node, "drain").await?;
    if let Some(within) = within {
        let leads = until(within, async || {
            let status = http.best("/v1/status").await?;
            let nodes = doctor::list(&status, "nodes").iter();
            let found = nodes.clone().find(|row| row["id"] == node);
            Ok(match found.and_then(|row| row["leaders"].as_u64()) {
                Some(0) | None => Ok(()),
                Some(left) => Err(format!("node {node} still leads {left} partitions")),
            })
        });
        leads.await?;
    }
    Ok(Exit::Ok)
}

async fn order(args: OneNode, order: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/nodes/{}/{order}", args.node);
    let answer = args.ask.http.post(&path).await?;
    told(args.ask.output, &answer, || text(&answer, "done"))?;
    Ok(Exit::Ok)
}

/// One line for people, the document for machines, the node as a name.
fn told(output: Output, answer: &Value, line: impl FnOnce() -> String) -> Result<(), Failure> {
    let name = || number(answer, "node") + "\n";
    output.answer(answer, name, || line() + "\n")
}
