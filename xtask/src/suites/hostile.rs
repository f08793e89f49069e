//! `cargo xtask hostile`: bytes from strangers, and configurations with mistakes.
//!
//! While `xtask/suites/hostile.py` attacks a node in every way it knows, an honest client goes on
//! producing and reads everything back; the node answers `/livez` and its memory stays bounded.
//! Every mistake in a flag or a file ends in one helpful line and the designed exit status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::Claims;
use super::load::{Semantics, Topic};
use crate::node::{Place, http_status, rss_bytes, scratch};
use crate::run::output;
use crate::steps::Done;
use crate::workspace::{self, root};

/// The resident memory that no attack may push a node beyond.
const MAX_RSS_BYTES: u64 = 256 << 20;
const SAMPLE: Duration = Duration::from_millis(50);

/// Which binary, and which random bytes.
#[derive(Args, Default)]
pub(crate) struct HostileArgs {
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to attack; built with `--release` if left out
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// `cargo xtask hostile`.
pub(crate) fn hostile(args: &HostileArgs) -> Result<()> {
    if args.binary.is_none() {
        workspace::build_release()?;
    }
    match suite(args)? {
        Done::Without(what) => println!("!! NOT CHECKED: {what}"),
        Done::Fully => {}
    }
    Ok(())
}

/// The suite as a step of the test command.
pub(crate) fn suite(args: &HostileArgs) -> Result<Done> {
    let (seed, binary) = match super::prepare(args.seed, args.binary.as_deref())? {
        Ok(prepared) => prepared,
        Err(missing) => return Ok(Done::Without(missing)),
    };
    let dir = scratch("hostile")?;
    let mut claims = Claims::default();
    strangers(&binary, &dir, seed, &mut claims).with_context(|| format!("seed {seed}"))?;
    mistakes(&binary, &dir.join("mistakes"), &mut claims)?;
    claims
        .finish("hostile")
        .with_context(|| format!("seed {seed}"))?;
    Ok(Done::Fully)
}

/// Every attack against one node, beside an honest client.
fn strangers(binary: &Path, dir: &Path, seed: u64, claims: &mut Claims) -> Result<()> {
    let place = Place::new(binary, dir)?;
    let mut node = place.start()?;
    let topic = Topic::create("honest", &node.bootstrap(), dir, 2, Semantics::Once)?;
    let mut load = topic.load()?;
    load.progress(100)?;
    let list = output(attacker().arg("list"))?;
    for attack in list.lines() {
        let watch = Watch::new(node.pid(), place.http);
        let outcome = thread::scope(|scope| {
            scope.spawn(|| watch.run());
            let mut command = attacker();
            command.args(["run", attack, &node.bootstrap(), &seed.to_string()]);
            let outcome = run_attack(&mut command);
            watch.over.store(true, Ordering::Relaxed);
            outcome
        });
        claims.claim(attack, outcome);
        claims.claim(
            &format!("{attack}: the node lives within its memory"),
            watch.verdict(),
        );
        let progress = load
            .progress(50)
            .map(|()| "acknowledged further records".to_owned());
        let goes_on = progress.is_ok();
        claims.claim(&format!("{attack}: the honest client goes on"), progress);
        ensure!(
            node.ended()?.is_none(),
            "the node ended:\n{}",
            node.log_tail()
        );
        ensure!(
            goes_on,
            "after {attack} the node serves nobody:\n{}",
            node.log_tail()
        );
    }
    claims.claim("the honest client delivers all", load.finish());
    claims.claim("the honest client reads all back", topic.verify());
    let ended = node.terminate();
    claims.claim(
        "the node ends gracefully after all",
        ended.and_then(|status| {
            ensure!(status.success(), "it ended with {status}");
            Ok("exit status 0".to_owned())
        }),
    );
    Ok(())
}

/// What is seen of a node while it is attacked.
struct Watch {
    pid: u32,
    http: u16,
    over: AtomicBool,
    peak_rss_bytes: AtomicU64,
    unanswered: AtomicU64,
}

impl Watch {
    fn new(pid: u32, http: u16) -> Self {
        Self {
            pid,
            http,
            over: AtomicBool::new(false),
            peak_rss_bytes: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        }
    }

    fn run(&self) {
        while !self.over.load(Ordering::Relaxed) {
            if let Some(bytes) = rss_bytes(self.pid) {
                self.peak_rss_bytes.fetch_max(bytes, Ordering::Relaxed);
            }
            if http_status(self.http, "/livez") != Some(200) {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(SAMPLE);
        }
    }

    fn verdict(&self) -> Result<String> {
        let peak = self.peak_rss_bytes.load(Ordering::Relaxed);
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        ensure!(unanswered == 0, "/livez went unanswered {unanswered} times");
        ensure!(peak < MAX_RSS_BYTES, "it took {} MiB", peak >> 20);
        Ok(format!("at most {} MiB resident", peak >> 20))
    }
}

/// What an attack says it did; its last words if it failed.
fn run_attack(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().last().unwrap_or_default().to_owned()
    };
    ensure!(output.status.success(), "{}", last(&output.stderr));
    Ok(last(&output.stdout))
}

fn attacker() -> Command {
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(root().join("xtask/suites/hostile.py"));
    command
}

/// A mistake: how `plimsoll` is called, and what its one line must hold.
struct Mistake {
    name: &'static str,
    args: &'static [&'static str],
    /// The text of a configuration file, if one is given with `--config`.
    file: Option<&'static str>,
    env: &'static [(&'static str, &'static str)],
    status: i32,
    /// Words of the line: what is wrong and where, and what would be right.
    words: &'static [&'static str],
}

const USAGE: i32 = 2;
const FAILED: i32 = 1;

const fn mistake(
    name: &'static str,
    args: &'static [&'static str],
    file: Option<&'static str>,
    status: i32,
    words: &'static [&'static str],
) -> Mistake {
    Mistake {
        name,
        args,
        file,
        env: &[],
        status,
        words,
    }
}

const MISTAKES: &[Mistake] = &[
    mistake(
        "an unknown flag",
        &["serve", "--dta-dir", "x"],
        None,
        USAGE,
        &["--dta-dir", "--data-dir"],
    ),
    mistake(
        "an unknown verb",
        &["srve"],
        None,
        USAGE,
        &["srve", "serve"],
    ),
    mistake(
        "a listen address without a port",
        &["serve", "--kafka-listen", "localhost"],
        None,
        USAGE,
        &["--kafka-listen", "localhost"],
    ),
    mistake(
        "a port above 65535",
        &["serve", "--kafka-listen", "127.0.0.1:99999"],
        None,
        USAGE,
        &["--kafka-listen", "99999"],
    ),
    mistake(
        "a node id that is no number",
        &["serve", "--node-id", "one"],
        None,
        USAGE,
        &["--node-id", "one"],
    ),
    mistake(
        "an unknown key with --set",
        &["serve", "--set", "log.retentoin.ms=5"],
        None,
        USAGE,
        &["log.retentoin.ms", "log.retention.ms"],
    ),
    mistake(
        "an unknown key in the file",
        &["serve"],
        Some("[log]\nretentoin.ms = 5\n"),
        USAGE,
        &["retentoin", "log.retention.ms"],
    ),
    mistake(
        "a file that is no TOML",
        &["serve"],
        Some("[log\nretention.ms = 5\n"),
        USAGE,
        &["mistake.toml:1"],
    ),
    mistake(
        "a value of the wrong type in the file",
        &["serve"],
        Some("[node]\nid = \"one\"\n"),
        USAGE,
        &["node.id", "one"],
    ),
    mistake(
        "a file that is not there",
        &["serve", "--config", "nowhere.toml"],
        None,
        USAGE,
        &["nowhere.toml"],
    ),
    Mistake {
        name: "a bad value in the environment",
        args: &["serve"],
        file: None,
        env: &[("PLIMSOLL_NODE__ID", "one")],
        status: USAGE,
        words: &["PLIMSOLL_NODE__ID", "one"],
    },
    Mistake {
        name: "an unknown key in the environment",
        args: &["serve"],
        file: None,
        env: &[("PLIMSOLL_NODE__IDD", "1")],
        status: USAGE,
        words: &["PLIMSOLL_NODE__IDD"],
    },
    mistake(
        "a data directory that is a file",
        &["serve", "--data-dir", "mistake-file"],
        None,
        FAILED,
        &["mistake-file"],
    ),
    mistake(
        "two nodes, of which none may fail",
        &["dev", "--nodes", "2"],
        None,
        USAGE,
        &["--nodes", "3"],
    ),
];

/// Runs every mistake, and two that need another process.
fn mistakes(binary: &Path, dir: &Path, claims: &mut Claims) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("mistake-file"), "not a directory")?;
    for mistake in MISTAKES {
        claims.claim(mistake.name, check(binary, dir, mistake));
    }
    let place = Place::new(binary, &dir.join("running"))?;
    let node = place.start()?;
    let mut second = Command::new(binary);
    second.args(["serve", "--data-dir"]).arg(&place.data);
    second.args([
        "--kafka-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ]);
    claims.claim(
        "a data directory in use",
        one_line(&mut second, dir, &[FAILED, 6], &["data"]),
    );
    let mut second = Command::new(binary);
    second.args([
        "serve",
        "--data-dir",
        "other",
        "--http-listen",
        "127.0.0.1:0",
    ]);
    second.args(["--kafka-listen", &node.bootstrap()]);
    let port = place.kafka.to_string();
    claims.claim(
        "a port in use",
        one_line(&mut second, dir, &[FAILED, 6], &[&port, "in use"]),
    );
    Ok(())
}

fn check(binary: &Path, dir: &Path, mistake: &Mistake) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(mistake.args).envs(mistake.env.iter().copied());
    if let Some(text) = mistake.file {
        fs::write(dir.join("mistake.toml"), text)?;
        command.args(["--config", "mistake.toml"]);
    }
    one_line(&mut command, dir, &[mistake.status], mistake.words)
}

/// Claims that a command ends at once with a status and one line on standard error.
fn one_line(command: &mut Command, dir: &Path, statuses: &[i32], words: &[&str]) -> Result<String> {
    let mut child = command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    for _ in 0..100 {
        if child.try_wait()?.is_some() {
            break;
        }
        thread::sleep(SAMPLE);
    }
    // A node that started in spite of the mistake is ended here.
    let _ = child.kill();
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // What a node logged before it met the mistake is for its log's reader.
    let text = text
        .lines()
        .filter(|line| !line.starts_with('{'))
        .collect::<Vec<_>>()
        .join("\n");
    let shown = text.replace('\n', " | ");
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| statuses.contains(&code)),
        "it ended with {}, not {statuses:?}: {shown}",
        output.status
    );
    ensure!(
        text.lines().count() == 1,
        "{} lines, not one: {shown}",
        text.lines().count()
    );
    for word in words {
        ensure!(
            text.contains(word),
            "the line does not name {word:?}: {shown}"
        );
    }
    Ok(shown)
}
