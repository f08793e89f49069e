//! What a node does by itself over time, and the keys that say how.

use serde_json::Value;

use crate::node::Node;

/// The log start of partition 0 of topic `t`.
fn log_start(node: &Node) -> u64 {
    let described = node.ok(&["topic", "describe", "t", "-o", "json"], b"");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    described["topics"][0]["partitions"][0]["log_start"]
        .as_u64()
        .expect("a number")
}

#[test]
fn old_segments_go_by_retention() {
    let dir = tempfile::tempdir().expect("a directory");
    let soon = ["--set", "log.retention.check.interval.ms=1"];
    let node = Node::start_with(dir.path(), &soon);
    let configs = ["-c", "segment.bytes=16384", "-c", "retention.ms=1"];
    node.ok(&[&["topic", "create", "t"][..], &configs].concat(), b"");
    for _ in 0..3 {
        node.ok(&["produce", "t", "--whole"], &[b'x'; 12_000]);
    }
    while log_start(&node) == 0 {}
}

#[test]
fn compaction_keeps_the_last_record_of_each_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start_with(dir.path(), &["--set", "log.cleaner.backoff.ms=10"]);
    // The lag has the segment that is being written compacted, too.
    let configs = [
        "-c",
        "cleanup.policy=compact",
        "-c",
        "max.compaction.lag.ms=1",
    ];
    node.ok(&[&["topic", "create", "t"][..], &configs].concat(), b"");
    node.ok(&["produce", "t", "-K", ":"], b"a:1\na:2\nb:1\na:3\n");
    let keys = || {
        node.ok(
            &["consume", "t", "-o", "beginning", "-e", "-f", "%k@%o "],
            b"",
        )
    };
    while keys() != "b@2 a@3 " {}
}

#[test]
fn keys_take_effect() {
    let dir = tempfile::tempdir().expect("a directory");
    let set = [
        "--set",
        "auto.create.topics.enable=false",
        "--set",
        "message.max.bytes=1000",
    ];
    let more = ["--set", "num.partitions=4"];
    let node = Node::start_with(
        dir.path(),
        &[set, [more[0], more[1], "--node-id", "7"]].concat(),
    );
    assert_eq!(
        node.run(&["produce", "t", "--timeout", "1"], b"x\n").code,
        4
    );
    assert!(
        node.ok(&["topic", "create", "t"], b"")
            .contains("partitions 4")
    );
    assert_eq!(
        node.run(&["produce", "t", "--whole"], &[b'x'; 2000]).code,
        1
    );
    assert!(node.ok(&["status"], b"").contains("\n7 "));
}
