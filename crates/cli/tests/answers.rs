//! What the verbs make of a node's answers over HTTP: exit codes, and which node is asked.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use clap::Parser;
use plimsoll_cli::{Exit, Verb, run};

#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

/// A node that answers every request so; it ends with the test's process.
fn node(status: &'static str, body: &'static str) -> SocketAddr {
    scripted(move |_| (status, body.to_owned()))
}

/// A node that answers each request by its first line.
fn scripted(mut script: impl FnMut(&str) -> (&'static str, String) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                request.extend_from_slice(&byte);
            }
            let request = String::from_utf8(request).unwrap();
            let (status, body) = script(request.lines().next().unwrap_or_default());
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            // Whoever asked may have what it wanted.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// The exit code of a command that asks these nodes.
fn exit(words: &str, nodes: &[SocketAddr]) -> Exit {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let http = nodes.join(",");
    let words = ["plimsoll"].into_iter().chain(words.split(' '));
    let words = words.chain(["--http", &http, "--timeout", "5"]);
    let verb = Words::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    match run(verb.verb) {
        Ok(exit) => exit,
        Err(failure) => failure.code.exit(),
    }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

const OK: &str = r#"{"schema":1,"verdict":"ok","reasons":[],"summary":"","problems":[]}"#;
const UNHEALTHY: &str = r#"{"schema":1,"verdict":"unhealthy","reasons":["x"],"problems":[]}"#;
const DEGRADED: &str = r#"{"schema":1,"verdict":"degraded","reasons":["x"],"problems":[]}"#;
const STARTING: &str = r#"{"schema":1,"error":{"code":"starting","message":"it is starting"}}"#;
const MISSING: &str = r#"{"schema":1,"error":{"code":"not_found","message":"no node 9"}}"#;
const REFUSED: &str = r#"{"schema":1,"error":{"code":"refused","message":"only plimsoll dev"}}"#;

#[test]
fn doctor_tells_scripts_how_the_cluster_does() {
    assert_eq!(exit("doctor", &[node("200 OK", OK)]), Exit::Ok);
    assert_eq!(exit("doctor", &[node("200 OK", DEGRADED)]), Exit::Degraded);
    let unhealthy = node("200 OK", UNHEALTHY);
    assert_eq!(exit("doctor -o json", &[unhealthy]), Exit::Unhealthy);
}

#[test]
fn nodes_are_asked_in_turn_until_one_can_answer() {
    let (gone, starting) = (nobody(), node("503 Service Unavailable", STARTING));
    assert_eq!(exit("doctor", &[gone]), Exit::Unreachable);
    assert_eq!(exit("doctor", &[gone, starting]), Exit::Unreachable);
    let ok = node("200 OK", OK);
    assert_eq!(exit("doctor", &[gone, starting, ok]), Exit::Ok);
}

#[test]
fn the_best_informed_node_is_believed() {
    let unknown = r#"{"schema":1,"verdict":"unknown","nodes_answering":1,"problems":[]}"#;
    let cut_off = || node("503 Service Unavailable", unknown);
    assert_eq!(exit("doctor", &[cut_off()]), Exit::Unreachable);
    assert_eq!(
        exit("doctor", &[cut_off(), node("200 OK", DEGRADED)]),
        Exit::Degraded
    );
    assert_eq!(
        exit("doctor", &[nobody(), cut_off(), node("200 OK", OK)]),
        Exit::Ok
    );
    // Both know something; one of them hears more nodes.
    let two = r#"{"schema":1,"verdict":"degraded","nodes_answering":2,"problems":[]}"#;
    let three = r#"{"schema":1,"verdict":"ok","nodes_answering":3,"problems":[]}"#;
    let nodes = [node("200 OK", two), node("200 OK", three)];
    assert_eq!(exit("doctor", &nodes), Exit::Ok);
}

#[test]
fn a_node_that_takes_connections_and_says_nothing_spoils_no_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nodes = [silent.local_addr().unwrap(), node("200 OK", DEGRADED)];
    assert_eq!(exit("doctor", &nodes), Exit::Degraded);
}

#[test]
fn refusals_are_no_answers() {
    let missing = node("404 Not Found", MISSING);
    assert_eq!(exit("node can-stop 9", &[missing]), Exit::NotFound);
    let refused = node("409 Conflict", REFUSED);
    assert_eq!(exit("node drain 2", &[refused]), Exit::Failed);
    let stranger = node("200 OK", "<html>");
    assert_eq!(exit("replica list", &[stranger]), Exit::Failed);
}

#[test]
fn a_node_that_must_not_stop_is_told_by_the_exit_code() {
    let no = r#"{"schema":1,"node":2,"can_stop":false,"partitions":["a/0"],"reason":"r"}"#;
    let yes = r#"{"schema":1,"node":2,"can_stop":true,"partitions":[],"reason":"r"}"#;
    assert_eq!(exit("node can-stop 2", &[node("200 OK", no)]), Exit::Unsafe);
    assert_eq!(exit("node can-stop 2", &[node("200 OK", yes)]), Exit::Ok);
}

#[test]
fn lists_are_printed_in_every_form() {
    let rows = r#"{"schema":1,"replicas":[{"topic":"a","partition":0,"node":1,"state":"leader"}]}"#;
    for form in ["table", "wide", "json", "jsonl", "yaml", "name"] {
        let words = format!("replica list --unhealthy -o {form}");
        assert_eq!(exit(&words, &[node("200 OK", rows)]), Exit::Ok, "{form}");
    }
    let events = r#"{"schema":1,"events":[{"at_ms":0,"node":1,"what":"x"}],"silent":[]}"#;
    let history = "partition history a/0 --since 2h";
    assert_eq!(exit(history, &[node("200 OK", events)]), Exit::Ok);
}

/// Node 1 of a cluster of two to play with, in which partition a/0 is committed up to `ends`, one
/// after the other as it is asked.
fn playing(harmed: &'static str, mut ends: Vec<u64>) -> SocketAddr {
    ends.reverse();
    scripted(move |line| {
        let ok = |body: &str| ("200 OK", body.to_owned());
        let path = line.split(' ').nth(1).unwrap_or_default();
        match path.split('?').next().unwrap_or_default() {
            "/v1/cluster" => ok(r#"{"schema":1,"node_id":1}"#),
            "/v1/status" => ok(r#"{"schema":1,"nodes":[{"id":1},{"id":2}]}"#),
            "/v1/doctor" => ok(DEGRADED),
            "/v1/replicas" => {
                let end = ends.pop().unwrap_or_default();
                let row = format!(r#"{{"topic":"a","partition":0,"high_watermark":{end}}}"#);
                ok(&format!(r#"{{"schema":1,"replicas":[{row}]}}"#))
            }
            _ => (
                harmed,
                if harmed == "200 OK" { DONE } else { REFUSED }.to_owned(),
            ),
        }
    })
}

const DONE: &str = r#"{"schema":1,"node":2,"order":"kill","done":"node 2 was killed"}"#;

#[test]
fn harm_is_watched_and_what_it_cost_is_the_exit_code() {
    let kept = playing("200 OK", vec![10, 12]);
    assert_eq!(exit("chaos kill 2", &[kept]), Exit::Ok);
    let lost = playing("200 OK", vec![10, 9]);
    assert_eq!(exit("chaos kill 2 -o json", &[lost]), Exit::Unhealthy);
    let refused = playing("409 Conflict", vec![10, 10]);
    assert_eq!(exit("chaos kill 2", &[refused]), Exit::Failed);
    let unknown = playing("200 OK", vec![10, 10]);
    assert_eq!(exit("chaos kill 9", &[unknown]), Exit::NotFound);
    // Nobody is left to tell.
    let alone = playing("200 OK", vec![10, 10]);
    assert_eq!(exit("chaos kill 1", &[alone]), Exit::Failed);
    assert_eq!(exit("chaos kill 1", &[nobody()]), Exit::Unreachable);
}

#[test]
fn doctor_waits_until_all_is_well() {
    let mut asked = 0;
    let healing = scripted(move |_| {
        asked += 1;
        let verdict = if asked < 3 { DEGRADED } else { OK };
        ("200 OK", verdict.to_owned())
    });
    assert_eq!(exit("doctor --wait", &[healing]), Exit::Ok);
    let ill = node("200 OK", DEGRADED);
    assert_eq!(exit("doctor --wait=500ms", &[ill]), Exit::Unreachable);
}
