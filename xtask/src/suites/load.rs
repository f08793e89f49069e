//! A real client's load: `xtask/suites/workload.py` in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clients::programs::Program;
use crate::run::output;
use crate::workspace::root;

/// How long a load may take to be acknowledged again after a crash.
pub(super) const PROGRESS: Duration = Duration::from_secs(60);
/// How long a load may take to deliver what is left.
const FINISH: Duration = Duration::from_secs(150);

/// What the producer promises.
#[derive(Clone, Copy)]
pub(super) enum Semantics {
    /// Idempotent: each record once.
    Once,
    /// Not idempotent: each acknowledged record, perhaps twice.
    AtLeastOnce,
    /// What a client promises that was told nothing but the address.
    Defaults,
}

impl Semantics {
    fn name(self) -> &'static str {
        match self {
            Semantics::Once => "once",
            Semantics::AtLeastOnce => "at-least-once",
            Semantics::Defaults => "defaults",
        }
    }
}

/// A topic under load.
pub(super) struct Topic {
    pub(super) name: String,
    bootstrap: String,
    pub(super) journal: PathBuf,
    semantics: Semantics,
}

impl Topic {
    /// Makes a topic with one replica a partition; its journal goes below `dir`.
    pub(super) fn create(
        name: &str,
        bootstrap: &str,
        dir: &Path,
        partitions: u32,
        semantics: Semantics,
    ) -> Result<Self> {
        create(bootstrap, name, partitions, 1, &[])?;
        Ok(Self::existing(name, bootstrap, dir, semantics))
    }

    /// A topic that is there; its journal goes below `dir`.
    pub(super) fn existing(name: &str, bootstrap: &str, dir: &Path, semantics: Semantics) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
            journal: dir.join(format!("{name}.json")),
            semantics,
        }
    }

    /// Starts to produce, as much as the client can.
    pub(super) fn load(&self) -> Result<Load> {
        self.load_with(&[])
    }

    /// Starts to produce so many records a partition at a time, some hundred times a second.
    pub(super) fn load_of(&self, burst: u32) -> Result<Load> {
        self.load_with(&[burst.to_string()])
    }

    fn load_with(&self, more: &[String]) -> Result<Load> {
        let mut command = workload()?;
        command
            .args(["produce", &self.bootstrap, &self.name])
            .arg(&self.journal)
            .arg(self.semantics.name())
            .args(more);
        let (child, lines) = talk(&mut command)?;
        Ok(Load {
            child,
            lines,
            acked: 0,
        })
    }

    /// Reads everything back and compares it with the journal.
    pub(super) fn verify(&self) -> Result<String> {
        let mut command = workload()?;
        command
            .args(["verify", &self.bootstrap, &self.name])
            .arg(&self.journal);
        verdict(command.arg(self.semantics.name()))
    }

    /// The same where one record of a partition is damaged.
    pub(super) fn verify_damaged(&self, partition: u32, sequence: u64) -> Result<String> {
        let mut command = workload()?;
        command
            .args(["damaged", &self.bootstrap, &self.name])
            .arg(&self.journal);
        verdict(command.args([partition.to_string(), sequence.to_string()]))
    }

    /// How a record begins on disk.
    pub(super) fn marker(&self, partition: u32, sequence: u64) -> Vec<u8> {
        format!("{}:{partition}:{sequence:08}:", self.name).into_bytes()
    }

    /// How many records of a partition were sent.
    pub(super) fn sent(&self, partition: u32) -> Result<u64> {
        let journal: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.journal)?)?;
        journal["sent"][partition.to_string()]
            .as_u64()
            .context("the journal lacks the partition")
    }
}

/// A producer at work.
pub(super) struct Load {
    child: Child,
    lines: Receiver<String>,
    acked: u64,
}

impl Load {
    /// Waits until this many more records were acknowledged.
    pub(super) fn progress(&mut self, records: u64) -> Result<()> {
        let (wanted, deadline) = (self.acked + records, Instant::now() + PROGRESS);
        // What was told before the question counts for no progress now.
        while let Ok(line) = self.lines.try_recv() {
            self.note(&line)?;
        }
        let wanted = wanted.max(self.acked + records);
        while self.acked < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(&line)?,
                Err(_) => bail!("no {records} further acknowledgements within {PROGRESS:?}"),
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        if line.starts_with("FAIL") {
            bail!("{line}");
        }
        if let Some(count) = line.strip_prefix("acked ") {
            self.acked = count.parse()?;
        }
        Ok(())
    }

    /// Waits until everything sent is delivered; nothing more is sent until it is resumed.
    pub(super) fn pause(&mut self) -> Result<()> {
        self.say("pause")?;
        let deadline = Instant::now() + FINISH;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == "paused" => return Ok(()),
                Ok(line) => self.note(&line)?,
                Err(error) => bail!("the load did not pause within {FINISH:?}: {error}"),
            }
        }
    }

    /// Goes on after a pause.
    pub(super) fn resume(&mut self) -> Result<()> {
        self.say("resume")
    }

    fn say(&mut self, word: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the load has ended")?;
        writeln!(input, "{word}").context("the load has ended")
    }

    /// Ends the load after everything it sent was delivered.
    pub(super) fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        last_word(&self.lines, |line| {
            if let Some(count) = line.strip_prefix("acked ") {
                self.acked = count.parse()?;
            }
            Ok(())
        })
    }
}

/// Waits for the line that a program of the workload ends with.
pub(super) fn last_word(
    lines: &Receiver<String>,
    mut note: impl FnMut(&str) -> Result<()>,
) -> Result<String> {
    let deadline = Instant::now() + FINISH;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.starts_with("ok ") => {
                return Ok(line.trim_start_matches("ok ").to_owned());
            }
            Ok(line) if line.starts_with("FAIL") => bail!("{line}"),
            Ok(line) => note(&line)?,
            Err(error) => bail!("the load did not end within {FINISH:?}: {error}"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Ended already, or given up here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a topic.
pub(super) fn create(
    bootstrap: &str,
    name: &str,
    partitions: u32,
    replicas: u32,
    configs: &[&str],
) -> Result<()> {
    let (partitions, replicas) = (partitions.to_string(), replicas.to_string());
    let mut command = workload()?;
    command.args(["create", bootstrap, name, &partitions, &replicas]);
    output(command.args(configs)).map(drop)
}

/// Writes `count` records of `bytes` each, every one in a batch of its own.
pub(super) fn large(bootstrap: &str, topic: &str, count: u32, bytes: u64) -> Result<String> {
    let (count, bytes) = (count.to_string(), bytes.to_string());
    verdict(workload()?.args(["large", bootstrap, topic, "0", &count, &bytes]))
}

/// Reads partition 0 of a topic and counts every offset.
pub(super) fn count(bootstrap: &str, topic: &str) -> Result<String> {
    verdict(workload()?.args(["count", bootstrap, topic, "0"]))
}

/// Writes numbered records to a partition, in many batches.
pub(super) fn fill(bootstrap: &str, topic: &str, partition: u32, count: u32) -> Result<String> {
    let (partition, count) = (partition.to_string(), count.to_string());
    verdict(workload()?.args(["fill", bootstrap, topic, &partition, &count]))
}

/// Lets the preferred replicas of a topic lead.
pub(super) fn elect(bootstrap: &str, topic: &str) -> Result<String> {
    verdict(workload()?.args(["elect", bootstrap, topic]))
}

/// Starts a program of the workload whose lines are to be heard.
pub(super) fn talk(command: &mut Command) -> Result<(Child, Receiver<String>)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the workload")?;
    let output = child.stdout.take().expect("its standard output is piped");
    let (sender, lines) = sync_channel(1024);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok((child, lines))
}

/// A python that runs the workload, with a client installed.
pub(super) fn workload() -> Result<Command> {
    let client = Program::named("confluent-kafka").expect("confluent-kafka is one of our clients");
    client.fetch()?;
    let mut command = client.python();
    command.arg(root().join("xtask/suites/workload.py"));
    Ok(command)
}

/// The last line of a check: `ok ...`, or an error.
fn verdict(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(line) if line.starts_with("ok ") && output.status.success() => {
            Ok(line.trim_start_matches("ok ").to_owned())
        }
        Some(line) => bail!("{}", line.trim_start_matches("FAIL ")),
        None => bail!("no answer: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
