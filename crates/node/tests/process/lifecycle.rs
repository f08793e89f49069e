//! Starting, stopping, and what a node answers to signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use plimsoll_wire::encode_request;
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use rustix::process::{Pid, Signal, kill_process};

use crate::node::{Node, plimsoll, run};

#[test]
fn term_stops_a_node_cleanly_and_its_records_are_there_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    node.ok(&["produce", "t"], b"one\ntwo\n");
    node.signal(Signal::TERM);
    assert!(node.wait().success());

    let again = Node::start(dir.path());
    assert_eq!(
        again.ok(&["consume", "t", "-o", "beginning", "-e"], b""),
        "one\ntwo\n"
    );
}

#[test]
fn a_clean_stop_is_known_as_one_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    node.ok(&["produce", "t"], b"one\n");
    node.signal(Signal::INT);
    assert!(node.wait().success());
    let state = dir.path().join("clean.shutdown");
    assert!(state.exists());
    drop(Node::start(dir.path()));
    assert!(
        !state.exists(),
        "what comes after a start is not clean until it is stopped"
    );
}

#[test]
fn a_second_node_on_the_same_directory_is_turned_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let _node = Node::start(dir.path());
    let path = dir.path().to_str().expect("text");
    let said = run(
        &["serve", "--data-dir", path, "--kafka-listen", "127.0.0.1:0"],
        b"",
    );
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(said.err.contains("error[P0105]"), "{}", said.err);
}

#[test]
fn a_taken_port_is_told_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("one"));
    let other = dir.path().join("two");
    let other = other.to_str().expect("text");
    let said = run(
        &[
            &["serve", "--data-dir", other, "--http-listen", "127.0.0.1:0"][..],
            &[
                "--kafka-listen",
                &node.bootstrap,
                "--set",
                "logging.level=off",
            ],
        ]
        .concat(),
        b"",
    );
    assert_eq!(said.code, 6);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert!(said.err.contains("error[P0104]") && said.err.contains("--kafka-listen"));
}

#[test]
fn usr1_logs_every_partition_and_hup_the_new_level() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("plimsoll.toml");
    std::fs::write(&config, "logging.level = \"info\"\n").expect("written");
    let data = dir.path().join("data");
    let mut node = Node::start_with(&data, &["--config", config.to_str().expect("text")]);
    node.ok(&["topic", "create", "t", "-p", "2"], b"");
    node.signal(Signal::USR1);
    let (first, second) = (node.event("replica_state"), node.event("replica_state"));
    assert_eq!(
        (&first["state"], &second["topic"]),
        (&"leader".into(), &"t".into())
    );

    std::fs::write(&config, "[logging]\nlevel = \"debug\"\n").expect("written");
    node.signal(Signal::HUP);
    assert_eq!(node.event("log_level_reloaded")["level"], "debug");
}

#[test]
fn http_tells_that_the_node_is_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    let mut http = TcpStream::connect(&node.http).expect("open");
    http.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("open");
    let mut answer = String::new();
    http.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn dev_says_how_to_reach_it_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut dev = plimsoll()
        .args(["dev", "--kafka-port", "0", "--http-port", "0"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let mut greeting = BufReader::new(dev.stdout.take().expect("piped")).lines();
    let line = |line: std::io::Result<String>| {
        line.expect("text")
            .strip_prefix("bootstrap")
            .map(|rest| rest.trim().to_owned())
    };
    let bootstrap = greeting.find_map(line).expect("an address");
    assert_eq!(run(&["produce", "t", "-b", &bootstrap], b"x\n").code, 0);
    kill_process(Pid::from_child(&dev), Signal::TERM).expect("it runs");
    assert!(dev.wait().expect("it ends").success());
    assert_eq!(temporary.path().read_dir().expect("a directory").count(), 0);
}

#[test]
fn a_second_signal_ends_a_node_that_waits_for_its_clients() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut node = Node::start_with(dir.path(), &["--set", "shutdown.grace.ms=600000"]);
    node.ok(&["topic", "create", "t"], b"");
    let mut client = TcpStream::connect(&node.bootstrap).expect("open");
    let fetch = FetchRequest {
        replica_id: -1,
        max_wait_ms: 600_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition {
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let ask = encode_request(11, 1, None, &fetch.into());
    client.write_all(&ask.concat()).expect("open");
    // An answer to a request after it would wait for it; another connection's does not.
    node.ok(&["status"], b"");
    node.signal(Signal::TERM);
    node.event("node_stopping");
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(1));
}

#[test]
fn a_node_with_too_few_descriptors_says_how_many_it_needs() {
    let mut shell = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_plimsoll");
    let output = shell
        .args([
            "-c",
            &format!("ulimit -n 300; exec {program} serve --data-dir none"),
        ])
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("error[P0109]") && said.contains("ulimit -n"),
        "{said}"
    );
}

#[test]
fn the_environment_sets_keys_and_explain_says_so() {
    let output = plimsoll()
        .args(["config", "explain", "log.retention.ms"])
        .env("PLIMSOLL_LOG__RETENTION__MS", "60000")
        .output()
        .expect("the program is built");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("60000") && said.contains("PLIMSOLL_LOG__RETENTION__MS"),
        "{said}"
    );
}
