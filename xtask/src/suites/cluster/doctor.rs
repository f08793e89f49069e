//! What `plimsoll doctor` says while something is broken, asked again and again.
//!
//! Whenever it is asked: the exit code is the verdict's; a verdict that is not "ok" has a reason;
//! every problem tells what is being done.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::answers::{Problem, Told};
use super::nodes::Cluster;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(150);
const POLL: Duration = Duration::from_millis(20);

/// Exit codes: all is well; something is not served; served, with less to spare.
pub(super) const OK: i32 = 0;
pub(super) const UNHEALTHY: i32 = 10;
pub(super) const DEGRADED: i32 = 11;

/// An answer.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    exit: i32,
    told: Told,
}

/// Doctor, asked all the time.
pub(super) struct Watch {
    began: Instant,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to ask one node.
    pub(super) fn of(cluster: &Cluster, node: u32) -> Self {
        let http = cluster.place(node).http;
        let binary = cluster.place(node).binary.clone();
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, stopped) = (Arc::clone(&samples), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut doctor = Command::new(&binary);
                doctor.args(["doctor", "-o", "json"]);
                doctor.env("PLIMSOLL_HTTP", format!("http://127.0.0.1:{http}"));
                // A node that is being hurt may give no answer; that is for the waits to judge.
                if let Ok(sample) = ask(&mut doctor) {
                    into.lock().expect("nobody panics with it").push(sample);
                }
                thread::sleep(PAUSE);
            }
        });
        Self {
            began: Instant::now(),
            samples,
            stop,
            thread: Some(thread),
        }
    }

    /// The fault begins now; what was said before counts no more.
    pub(super) fn restart(&mut self) {
        self.began = Instant::now();
    }

    fn since(&self) -> Vec<Sample> {
        let samples = self.samples.lock().expect("nobody panics with it");
        let newer = samples.iter().filter(|sample| sample.at >= self.began);
        newer.cloned().collect()
    }

    /// Waits until one of these causes is told of a node, with one of these exit codes.
    pub(super) fn names(
        &self,
        node: u32,
        codes: &[&str],
        exits: &[i32],
        within: Duration,
    ) -> Result<String> {
        let deadline = self.began.max(Instant::now()) + within;
        loop {
            let found =
                self.since().into_iter().find_map(|sample| {
                    let problem = sample.told.problems.iter().find(|problem| {
                        problem.node == Some(node) && codes.contains(&problem.code.as_str())
                    })?;
                    exits.contains(&sample.exit).then(|| {
                    let Problem { code, name, action, evidence, .. } = problem;
                    let after = sample.at - self.began;
                    let exit = sample.exit;
                    format!(
                        "{code} {name} after {after:.1?}, exit code {exit}; {evidence}; {action}"
                    )
                })
                });
            if let Some(found) = found {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!(
                    "of node {node} nothing of {codes:?} with exit code {exits:?}; it said {}",
                    self.heard()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until an exit code comes.
    pub(super) fn exits_with(&self, exit: i32, within: Duration) -> Result<String> {
        let deadline = self.began.max(Instant::now()) + within;
        loop {
            if let Some(sample) = self.since().iter().find(|sample| sample.exit == exit) {
                let after = sample.at - self.began;
                return Ok(format!("exit code {exit} after {after:.1?}"));
            }
            if Instant::now() > deadline {
                bail!("no exit code {exit}; it said {}", self.heard());
            }
            thread::sleep(POLL);
        }
    }

    /// Every cause that was told, with node and exit code.
    pub(super) fn heard(&self) -> String {
        let mut all = BTreeSet::new();
        for sample in self.since() {
            let exit = sample.exit;
            if sample.told.problems.is_empty() {
                let reasons = sample.told.reasons.join("; ");
                all.insert(format!("{exit} {reasons}").trim().to_owned());
            }
            for Problem {
                code, name, node, ..
            } in &sample.told.problems
            {
                let node = node.map_or("?".to_owned(), |node| node.to_string());
                all.insert(format!("{exit} {code} {name} on {node}"));
            }
        }
        all.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Ends it; whether all that it said holds together.
    pub(super) fn finish(mut self) -> Result<String> {
        self.end();
        let samples = self.since();
        for sample in &samples {
            sample.holds()?;
        }
        ensure!(!samples.is_empty(), "doctor never answered");
        let heard = self.heard();
        Ok(format!("{} answers: {heard}", samples.len()))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("asking does not panic");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sample {
    fn holds(&self) -> Result<()> {
        let Told {
            verdict,
            problems,
            reasons,
        } = &self.told;
        let wanted = match verdict.as_str() {
            "ok" => OK,
            "unhealthy" => UNHEALTHY,
            "degraded" => DEGRADED,
            _ => 3,
        };
        ensure!(
            self.exit == wanted,
            "doctor says {verdict} and ends with {}",
            self.exit
        );
        match self.exit {
            OK => ensure!(
                problems.is_empty() && reasons.is_empty(),
                "doctor ends with 0 and tells of {problems:?} {reasons:?}"
            ),
            exit => ensure!(
                !(problems.is_empty() && reasons.is_empty()),
                "doctor ends with {exit} and gives no reason"
            ),
        }
        for problem in problems {
            ensure!(
                !problem.action.is_empty() && !problem.evidence.is_empty(),
                "{} of {:?} has no action or no evidence",
                problem.code,
                problem.partitions
            );
        }
        Ok(())
    }
}

fn ask(doctor: &mut Command) -> Result<Sample> {
    let at = Instant::now();
    let output = doctor.output()?;
    let told = serde_json::from_slice(&output.stdout).with_context(|| {
        let text = String::from_utf8_lossy(&output.stdout);
        format!("not an answer of doctor: {text}")
    })?;
    Ok(Sample {
        at,
        exit: output.status.code().unwrap_or(-1),
        told,
    })
}

/// Waits until doctor of a whole cluster has nothing to say.
pub(super) fn silent(cluster: &Cluster, within: Duration) -> Result<Duration> {
    let begun = Instant::now();
    super::nodes::wait("silent", within, || {
        let sample = ask(&mut cluster.verb(&["doctor", "-o", "json"]))?;
        sample.holds()?;
        ensure!(sample.exit == OK, "doctor says {:?}", sample.told);
        Ok(())
    })?;
    Ok(begun.elapsed())
}
