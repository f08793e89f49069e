//! Talking to a driver: a small program around one client library.
//!
//! A driver reads one JSON object a line from standard input, does with its client what the
//! object says, and answers with one JSON object a line: `{"ok": ...}`, `{"error": {"code": N,
//! "text": ...}}` or `{"skip": "why"}` for what its client cannot do. `xtask/clients/README.md`
//! lists the operations. All claims about the answers are made here in xtask, once for all
//! clients.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::record::{Feature, Record};

/// How long one operation may take before the driver is given up.
const DEADLINE: Duration = Duration::from_secs(90);

/// What a driver says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Hello {
    /// The client library and its version.
    pub(crate) client: String,
    /// The codecs it writes.
    pub(crate) codecs: Vec<String>,
    /// What it cannot do or represent.
    pub(crate) lacks: Vec<Feature>,
    /// What few clients can do and it can.
    #[serde(default)]
    pub(crate) offers: Vec<Feature>,
    /// What it can read and cannot write.
    #[serde(default)]
    pub(crate) cannot_write: Vec<Feature>,
    /// The codecs it writes and cannot read from others.
    #[serde(default)]
    pub(crate) cannot_read_codecs: Vec<String>,
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client offers no such thing.
    Skip(String),
    /// The node (or the client's driver) answered with an error: Kafka's code where the client
    /// tells it.
    Error { code: Option<i16>, text: String },
    /// The answer was not what it must be.
    Wrong(String),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Skip(why) => write!(f, "{why}"),
            Stop::Error {
                code: Some(code),
                text,
            } => write!(f, "error {code}: {text}"),
            Stop::Error { code: None, text } => write!(f, "error: {text}"),
            Stop::Wrong(what) => write!(f, "{what}"),
        }
    }
}

/// The outcome of an operation or a check.
pub(crate) type Outcome<T> = Result<T, Stop>;

/// Fails a check with a message unless something holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Stop::Wrong(what()))
    }
}

/// What a group member's poll gave.
#[derive(Debug, Deserialize)]
pub(crate) struct Polled {
    /// The partitions assigned now.
    pub(crate) assigned: Vec<i32>,
    /// The records since the last poll.
    pub(crate) records: Vec<Record>,
}

/// A running driver.
pub(crate) struct Driver {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    /// Set once it missed a deadline: later answers would be those of earlier requests.
    lost: bool,
    pub(crate) hello: Hello,
}

impl Driver {
    /// Starts a driver against a node; `command` lacks only the bootstrap address.
    pub(crate) fn start(mut command: Command, bootstrap: &str) -> Outcome<Self> {
        let mut child = command
            .arg(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Stop::Wrong(format!("the driver does not start: {error}")))?;
        let input = child.stdin.take().expect("its standard input is piped");
        let output = child.stdout.take().expect("its standard output is piped");
        let (sender, answers) = sync_channel(16);
        thread::spawn(move || {
            // Ends with the driver, or when nobody waits for its answers any more.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with('{') && sender.send(line).is_err() {
                    break;
                }
            }
        });
        let hello = Hello::default();
        let mut driver = Self {
            child,
            input,
            answers,
            lost: false,
            hello,
        };
        driver.hello = driver.call(&json!({"op": "hello"}))?;
        Ok(driver)
    }

    /// One operation and its answer.
    pub(crate) fn call<T: DeserializeOwned>(&mut self, request: &Value) -> Outcome<T> {
        let op = request["op"].as_str().unwrap_or_default();
        let wrong = |what: String| Stop::Wrong(format!("{op}: {what}"));
        if self.lost {
            return Err(wrong(
                "the driver was lost by an earlier operation".to_owned(),
            ));
        }
        if let Err(error) = writeln!(self.input, "{request}").and_then(|()| self.input.flush()) {
            return Err(wrong(format!("the driver ended: {error}")));
        }
        let line = self.answers.recv_timeout(DEADLINE).map_err(|error| {
            self.lost = true;
            wrong(match error {
                RecvTimeoutError::Timeout => format!("no answer within {DEADLINE:?}"),
                RecvTimeoutError::Disconnected => "the driver ended".to_owned(),
            })
        })?;
        let mut answer: Value =
            serde_json::from_str(&line).map_err(|error: serde_json::Error| {
                wrong(match error.is_eof() {
                    true => "the driver ended in the middle of its answer".to_owned(),
                    false => format!("{error} in {line}"),
                })
            })?;
        if let Some(why) = answer["skip"].as_str() {
            return Err(Stop::Skip(why.to_owned()));
        }
        if let Some(error) = answer.get("error") {
            let code = error["code"]
                .as_i64()
                .and_then(|code| i16::try_from(code).ok());
            let text = format!("{op}: {}", error["text"].as_str().unwrap_or_default());
            return Err(Stop::Error {
                code,
                text: text.replace('\n', " "),
            });
        }
        serde_json::from_value(answer["ok"].take()).map_err(|error| wrong(error.to_string()))
    }

    /// Skips what its client lacks.
    pub(crate) fn needs(&self, features: &[Feature]) -> Outcome<()> {
        match features
            .iter()
            .find(|feature| self.hello.lacks.contains(feature))
        {
            Some(feature) => Err(Stop::Skip(format!("the client has no {feature:?}"))),
            None => Ok(()),
        }
    }

    /// Skips what its client does not name among what it offers.
    pub(crate) fn must_offer(&self, feature: Feature) -> Outcome<()> {
        match self.hello.offers.contains(&feature) {
            true => Ok(()),
            false => Err(Stop::Skip(format!("the client has no {feature:?}"))),
        }
    }

    /// Skips a codec its client lacks.
    pub(crate) fn needs_codec(&self, codec: &str) -> Outcome<()> {
        match self.hello.codecs.iter().any(|known| known == codec) {
            true => Ok(()),
            false => Err(Stop::Skip(format!("the client has no {codec}"))),
        }
    }

    /// True when its client can do what these features name.
    pub(crate) fn has(&self, features: &[Feature]) -> bool {
        self.needs(features).is_ok()
    }

    /// True when its client can write a record that needs these features.
    pub(crate) fn writes(&self, needs: &[Feature]) -> bool {
        self.has(needs)
            && !needs
                .iter()
                .any(|need| self.hello.cannot_write.contains(need))
    }

    /// Creates a topic.
    pub(crate) fn create(&mut self, topic: &str, partitions: i32, configs: &Value) -> Outcome<()> {
        self.call::<Value>(&json!({
            "op": "create_topic", "topic": topic, "partitions": partitions, "configs": configs
        }))?;
        Ok(())
    }

    /// Writes records to one partition, in order, and waits for all; their offsets where the
    /// client tells them.
    pub(crate) fn produce(
        &mut self,
        (topic, partition): (&str, i32),
        settings: Settings<'_>,
        records: &[&Record],
    ) -> Outcome<Vec<Option<i64>>> {
        let offsets: Vec<Option<i64>> = self.call(&json!({
            "op": "produce", "topic": topic, "partition": partition, "codec": settings.codec,
            "acks": settings.acks, "idempotent": settings.idempotent, "records": records,
        }))?;
        ensure(offsets.len() == records.len(), || {
            format!(
                "{} of {} records were acknowledged",
                offsets.len(),
                records.len()
            )
        })?;
        Ok(offsets)
    }

    /// Reads `count` records of a partition from an offset on, without a group.
    pub(crate) fn consume(
        &mut self,
        (topic, partition): (&str, i32),
        from: i64,
        count: usize,
    ) -> Outcome<Vec<Record>> {
        let records: Vec<Record> = self.call(&json!({
            "op": "consume", "topic": topic, "partition": partition, "from": from,
            "count": count, "timeout_ms": 30_000,
        }))?;
        ensure(records.len() == count, || {
            format!("{} of {count} records came", records.len())
        })?;
        Ok(records)
    }

    /// Joins a group; its assignment comes by and by with [`Driver::poll`].
    pub(crate) fn subscribe(&mut self, group: &str, topic: &str) -> Outcome<()> {
        self.call::<Value>(&json!({
            "op": "subscribe", "group": group, "topic": topic, "session_timeout_ms": 6_000
        }))?;
        Ok(())
    }

    /// Polls as a group's member for a while.
    pub(crate) fn poll(&mut self) -> Outcome<Polled> {
        self.call(&json!({"op": "poll", "ms": 250}))
    }

    /// An operation on a topic alone.
    pub(crate) fn on_topic<T: DeserializeOwned>(&mut self, op: &str, topic: &str) -> Outcome<T> {
        self.call(&json!({"op": op, "topic": topic}))
    }

    /// An operation without arguments.
    pub(crate) fn bare<T: DeserializeOwned>(&mut self, op: &str) -> Outcome<T> {
        self.call(&json!({"op": op}))
    }

    /// True once it missed a deadline or ended; it answers nothing any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Ends the driver at once, so that its group members die without a word.
    pub(crate) fn kill(mut self) {
        // Whatever went wrong, dropping does the rest.
        let _ = self.child.kill();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A driver that is still there has nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How to produce.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) codec: &'a str,
    /// `0`, `1` or `all`.
    pub(crate) acks: &'a str,
    pub(crate) idempotent: bool,
}

/// Uncompressed, acknowledged by all, as most checks produce.
pub(crate) const PLAIN: Settings<'static> = Settings {
    codec: "none",
    acks: "all",
    idempotent: false,
};
