//! Harm done to a cluster to play with, by the command line: noticed, got over, and told.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::node::{plimsoll, run};

/// A running `plimsoll dev`.
struct Dev {
    process: Child,
    bootstrap: String,
    http: String,
    _temporary: tempfile::TempDir,
}

impl Dev {
    fn start() -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let mut process = plimsoll()
            .args(["dev", "--kafka-port", "0", "--http-port", "0"])
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is built");
        let greeting = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (mut http, mut bootstrap) = (Vec::new(), String::new());
        for line in greeting {
            let line = line.expect("text");
            if let Some(at) = line.find("http://").filter(|_| line.contains("ready ")) {
                http.push(line[at..].to_owned());
            }
            if let Some(rest) = line.strip_prefix("bootstrap") {
                bootstrap = rest.trim().to_owned();
                break;
            }
        }
        Self {
            process,
            bootstrap,
            http: http.join(","),
            _temporary: temporary,
        }
    }

    /// A command about its nodes; the exit code and the document on standard output.
    fn ask(&self, args: &[&str]) -> (i32, Value) {
        let more = ["--http", &self.http, "-o", "json"];
        let args: Vec<&str> = args.iter().copied().chain(more).collect();
        let ran = run(&args, b"");
        let document = serde_json::from_str(&ran.out).unwrap_or(Value::Null);
        (ran.code, document)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

#[test]
fn harm_is_noticed_and_healed_and_costs_nothing() {
    let dev = Dev::start();
    let create = ["topic", "create", "t", "-p", "1", "-r", "3", "--wait", "-b"];
    let create: Vec<&str> = create.into_iter().chain([dev.bootstrap.as_str()]).collect();
    assert_eq!(run(&create, b"").code, 0);
    assert_eq!(run(&["produce", "t", "-b", &dev.bootstrap], b"x\n").code, 0);
    for (words, codes) in [
        ("chaos kill 2 --for 2", ["R002", "R008"]),
        ("chaos pause 3 --for 4", ["R002", "R018"]),
        ("chaos cut 1 --for 4", ["R002", "R014"]),
        ("chaos flip-bit t/0 --node 2", ["R004", "R013"]),
    ] {
        let (code, told) = dev.ask(&words.split(' ').collect::<Vec<_>>());
        let told = &told["chaos"];
        assert_eq!(code, 0, "{words}: {told}");
        let noticed = told["noticed"].as_str().unwrap_or_default();
        assert!(
            codes.iter().any(|c| noticed.starts_with(c)),
            "{words}: {told}"
        );
        assert!(told["noticed_seconds"].is_number(), "{words}: {told}");
        assert!(told["healed_seconds"].is_number(), "{words}: {told}");
        assert_eq!(told["records_lost"], 0, "{words}: {told}");
    }
    assert_eq!(dev.ask(&["chaos", "kill", "9"]).0, 4, "there is no node 9");
    assert_eq!(dev.ask(&["doctor", "--wait"]).0, 0);
}
