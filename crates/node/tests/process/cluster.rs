//! Several nodes, each a process, that form a cluster and outlive one of them.

use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::node::{Node, run};

/// Peer addresses that nobody listens on, as `--voters` has them.
fn voters(nodes: u16) -> (String, Vec<String>) {
    let free: Vec<TcpListener> = (0..nodes)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let at: Vec<String> = free
        .iter()
        .map(|free| free.local_addr().expect("bound").to_string())
        .collect();
    let named = at.iter().enumerate();
    let voters: Vec<String> = named
        .map(|(at, peer)| format!("{}@{peer}", at + 1))
        .collect();
    (voters.join(","), at)
}

fn voter(dir: &Path, id: usize, voters: &str) -> Node {
    let (id, dir) = (id.to_string(), dir.join(id.to_string()));
    Node::spawn_with(&dir, &["--node-id", &id, "--voters", voters])
}

/// The nodes of a cluster of three, all ready.
fn three(dir: &Path, voters: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = (1..=3).map(|id| voter(dir, id, voters)).collect();
    for node in &mut nodes {
        node.ready();
    }
    nodes
}

fn status(node: &Node) -> Value {
    let said = node.ok(&["topic", "list", "-o", "json"], b"");
    serde_json::from_str(&said).expect("one document")
}

#[test]
fn three_nodes_form_one_cluster_and_know_each_others_topics() {
    let dir = tempfile::tempdir().expect("a directory");
    let (voters, _) = voters(3);
    let nodes = three(dir.path(), &voters);
    nodes[0].ok(&["topic", "create", "t", "-p", "3", "-r", "3"], b"");
    nodes[2].ok(&["topic", "create", "u", "-r", "1"], b"");
    for node in &nodes {
        let topics = status(node).to_string();
        assert!(
            topics.contains("\"t\"") && topics.contains("\"u\""),
            "{topics}"
        );
    }
}

#[test]
fn a_cluster_outlives_a_killed_node_and_takes_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (voters, _) = voters(3);
    let mut nodes = three(dir.path(), &voters);
    // The first one formed the quorum and leads it.
    drop(nodes.remove(0));
    nodes[0].ok(&["topic", "create", "t", "-r", "1"], b"");
    let mut back = voter(dir.path(), 1, &voters);
    back.ready();
    assert!(status(&back).to_string().contains("\"t\""));
}

#[test]
fn nodes_stop_one_after_another_and_start_again_as_the_same_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    let (voters, _) = voters(3);
    let nodes = three(dir.path(), &voters);
    nodes[0].ok(&["topic", "create", "t", "-r", "1"], b"");
    for node in nodes {
        node.signal(Signal::TERM);
        assert!(node.wait().success());
    }
    let nodes = three(dir.path(), &voters);
    assert!(status(&nodes[1]).to_string().contains("\"t\""));
}

#[test]
fn a_voter_alone_waits_and_says_for_whom() {
    let dir = tempfile::tempdir().expect("a directory");
    let (voters, _) = voters(3);
    let mut node = voter(dir.path(), 2, &voters);
    let waiting = node.event("waiting_for_voters");
    assert_eq!(waiting["missing"], "1, 3");
    node.signal(Signal::TERM);
    assert!(node.wait().success());
}

#[test]
fn a_node_joins_a_cluster_that_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let (voters, at) = voters(3);
    let nodes = three(dir.path(), &voters);
    nodes[0].ok(&["topic", "create", "t", "-r", "1"], b"");
    let arguments = ["--node-id", "4", "--join", &at[1]];
    let mut fourth = Node::spawn_with(&dir.path().join("4"), &arguments);
    fourth.ready();
    assert!(status(&fourth).to_string().contains("\"t\""));
    fourth.ok(&["topic", "create", "u", "-p", "8", "-r", "1"], b"");
}

#[test]
fn a_node_that_is_no_voter_is_told_before_anything_starts() {
    let said = run(
        &[
            "serve",
            "--node-id",
            "7",
            "--voters",
            "1@127.0.0.1:1,2@127.0.0.1:2",
        ],
        b"",
    );
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--join"), "{}", said.err);
}
