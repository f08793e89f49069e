//! What a node that was killed still has.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::node::{Node, plimsoll};

/// Kills the node while a producer writes, as often as this.
const KILLS: usize = 3;

#[test]
fn every_acknowledged_record_survives_kill_9_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let node = Node::start(dir.path());
        // One record at a time, so that each exit code says whether that record was acknowledged.
        for record in 0..5 {
            let value = format!("{round}-{record}");
            node.ok(&["produce", "t"], value.as_bytes());
            acknowledged.push(value);
        }
        // And a stream that is cut in the middle: what it wrote may be there or not.
        let mut stream = plimsoll()
            .args(["produce", "t", "-b", &node.bootstrap, "--timeout", "1"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is built");
        let mut input = stream.stdin.take().expect("piped");
        for record in 0..1000 {
            // The command may be gone already.
            let _ = writeln!(input, "stream-{round}-{record}");
        }
        node.signal(Signal::KILL);
        drop(input);
        let _ = stream.wait();
        node.wait();
    }
    let node = Node::start(dir.path());
    let all = node.ok(&["consume", "t", "-o", "beginning", "-e"], b"");
    let kept: Vec<&str> = all
        .lines()
        .filter(|line| !line.starts_with("stream-"))
        .collect();
    assert_eq!(kept, acknowledged);
}

#[test]
fn a_group_resumes_where_it_had_committed_before_the_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    node.ok(&["produce", "t"], b"one\ntwo\nthree\n");
    let first = ["consume", "t", "-g", "g", "-o", "beginning", "-c", "2"];
    assert_eq!(node.ok(&first, b""), "one\ntwo\n");
    node.signal(Signal::KILL);
    node.wait();

    let node = Node::start(dir.path());
    assert_eq!(
        node.ok(&["consume", "t", "-g", "g", "-c", "1"], b""),
        "three\n"
    );
}

#[test]
fn a_consumer_waits_for_what_comes_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    node.ok(&["topic", "create", "t"], b"");
    let mut consumer = plimsoll()
        .args([
            "consume",
            "t",
            "-o",
            "beginning",
            "-c",
            "2",
            "-b",
            &node.bootstrap,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let mut lines = BufReader::new(consumer.stdout.take().expect("piped")).lines();
    for value in ["one", "two"] {
        node.ok(&["produce", "t"], value.as_bytes());
        assert_eq!(lines.next().expect("a line").expect("text"), value);
    }
    assert!(consumer.wait().expect("it ends").success());
}
