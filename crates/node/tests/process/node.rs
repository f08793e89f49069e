//! A node in a process of its own, and commands against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `plimsoll serve`; killed when dropped.
pub(crate) struct Node {
    child: Child,
    log: BufReader<ChildStderr>,
    pub(crate) bootstrap: String,
    pub(crate) http: String,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, without the caller's settings.
pub(crate) fn plimsoll() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PLIMSOLL_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, with `input` on its standard input.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Said {
    let mut child = plimsoll()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    // A command that does not read its input has ended, which its exit code tells.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("it runs");
    Said {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Node {
    /// Starts a node on free ports, with its data in `dir`, and returns when it is ready.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, more: &[&str]) -> Self {
        Self::spawn(plimsoll(), dir, more)
    }

    /// Starts a node under a limit on open files.
    pub(crate) fn start_with_descriptors(dir: &Path, limit: u32) -> Self {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_plimsoll");
        shell.args([
            "-c",
            &format!("ulimit -n {limit}; exec {program} \"$@\""),
            "sh",
        ]);
        Self::spawn(shell, dir, &[])
    }

    fn spawn(program: Command, dir: &Path, more: &[&str]) -> Self {
        let mut node = Self::spawn_only(program, dir, more);
        node.ready();
        node
    }

    /// Starts a node and does not wait until it is ready.
    pub(crate) fn spawn_with(dir: &Path, more: &[&str]) -> Self {
        Self::spawn_only(plimsoll(), dir, more)
    }

    fn spawn_only(mut program: Command, dir: &Path, more: &[&str]) -> Self {
        program
            .args(["serve", "--kafka-listen", "127.0.0.1:0"])
            .args(["--http-listen", "127.0.0.1:0"])
            .args(["--set", "group.initial.rebalance.delay.ms=0"])
            .args(["--set", "offsets.topic.num.partitions=1"])
            .arg("--data-dir")
            .arg(dir)
            .args(more);
        if !more.contains(&"--voters") {
            program.args(["--peer-listen", "127.0.0.1:0"]);
        }
        let mut child = program
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is built");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (bootstrap, http) = Default::default();
        Self {
            child,
            log,
            bootstrap,
            http,
        }
    }

    /// Waits until it serves clients.
    pub(crate) fn ready(&mut self) {
        let ready = self.event("node_ready");
        let text = |name: &str| ready[name].as_str().expect("text").to_owned();
        (self.bootstrap, self.http) = (text("advertised"), text("http"));
    }

    /// Reads the log until this event.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.log.read_line(&mut line).expect("readable");
            assert!(read > 0, "the node ended before it logged {name}");
            let event: Value = serde_json::from_str(&line).expect("one document a line");
            if event["event"] == name {
                return event;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end; what it still logs is not looked at.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let mut rest = Vec::new();
        let _ = self.log.read_to_end(&mut rest);
        self.child.wait().expect("it ends")
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Said {
        run(&[arguments, &["-b", &self.bootstrap]].concat(), input)
    }

    /// Runs a command against it that succeeds, and returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str], input: &[u8]) -> String {
        let said = self.run(arguments, input);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
        said.out
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
