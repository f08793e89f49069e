//! `cargo xtask perf`: a real node under load.
//!
//! Starts a release node on loopback in an empty folder, lets the load generator
//! (`plimsoll-loadgen` of the benches) drive it and watch its process, and adds from a second,
//! shorter run under `strace` the system calls. It prints a table and a JSON line a metric;
//! `--keep` writes both to `docs/perf/runs/`.

mod report;
mod sample;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::report::{Metric, Run};
use crate::node::{Node, Place, rss_bytes, scratch};
use crate::run::{answers, output, run};
use crate::workspace::{self, cargo, target_dir};

/// How long the run under `strace` lasts: long enough to count, short since it is slow.
const TRACED: Duration = Duration::from_secs(3);

/// What to measure.
#[derive(Args)]
pub(crate) struct PerfArgs {
    /// Only scenarios whose name contains this
    filter: Option<String>,
    /// How long each scenario is measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Leave out the runs that count system calls
    #[arg(long)]
    no_syscalls: bool,
    /// Write the run to docs/perf/runs/
    #[arg(long)]
    keep: bool,
    /// Further arguments for the load generator
    #[arg(last = true)]
    loadgen: Vec<String>,
}

/// `cargo xtask perf`.
pub(crate) fn perf(args: &PerfArgs) -> Result<()> {
    let node = workspace::build_release()?;
    let generator = build_generator()?;
    let scenarios = scenarios(&generator, args.filter.as_deref())?;
    let trace = !args.no_syscalls && can_trace();
    let mut report = Run::new()?;
    for scenario in scenarios {
        println!("\n==== {scenario} ====");
        let bench = Bench {
            node: &node,
            generator: &generator,
            scenario: &scenario,
            args,
        };
        let measured = bench.measured()?;
        let traced = if trace { bench.traced()? } else { Vec::new() };
        report.add(&scenario, measured.into_iter().chain(traced));
    }
    report.print();
    if args.keep {
        report.keep()?;
    }
    Ok(())
}

fn build_generator() -> Result<PathBuf> {
    run(&mut cargo([
        "build",
        "--release",
        "-p",
        "plimsoll-benches",
        "--bin",
        "plimsoll-loadgen",
    ]))?;
    Ok(target_dir().join("release/plimsoll-loadgen"))
}

/// The generator's scenarios, as it lists them.
fn scenarios(generator: &Path, filter: Option<&str>) -> Result<Vec<String>> {
    let listed = output(Command::new(generator).arg("list"))?;
    let scenarios: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| filter.is_none_or(|part| name.contains(part)))
        .map(str::to_owned)
        .collect();
    if scenarios.is_empty() {
        bail!("no scenario's name contains {filter:?}; there are:\n{listed}");
    }
    Ok(scenarios)
}

/// True where `strace` may attach to a process.
fn can_trace() -> bool {
    let can = answers("strace", &["-c", "-o", "/dev/null", "true"]);
    if !can {
        println!("!! NOT MEASURED: system calls, for strace is missing or not allowed");
    }
    can
}

/// One scenario against one node.
struct Bench<'a> {
    node: &'a Path,
    generator: &'a Path,
    scenario: &'a str,
    args: &'a PerfArgs,
}

impl Bench<'_> {
    /// What the generator measures, of itself and of the node's process.
    fn measured(&self) -> Result<Vec<Metric>> {
        let node = Place::new(self.node, &scratch("perf")?)?.start()?;
        let idle = rss_bytes(node.pid()).context("the node ended before the load")?;
        let mut metrics = self.generate(&node, self.args.seconds, &[])?;
        metrics.push(Metric::new(
            "broker_rss_before",
            sample::as_f64(idle),
            "bytes",
        ));
        Ok(metrics)
    }

    /// The node's system calls under the same load, counted in a run of its own.
    fn traced(&self) -> Result<Vec<Metric>> {
        let dir = scratch("perf-traced")?;
        let node = Place::new(self.node, &dir)?.start()?;
        let counts = dir.join("strace.txt");
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-q", "-p", &node.pid().to_string(), "-o"])
            .arg(&counts)
            .spawn()
            .context("start strace")?;
        // Without a warm-up, so that calls and requests are counted over the same time.
        let generated = self.generate(&node, TRACED.as_secs(), &["--warmup-seconds", "0"]);
        // It writes its counts when what it watches ends.
        node.terminate()?;
        strace.wait()?;
        let requests: f64 = generated?
            .iter()
            .filter(|metric| metric.is_requests())
            .map(|metric| metric.value)
            .sum();
        sample::syscalls(&counts, requests)
    }

    fn generate(&self, node: &Node, seconds: u64, more: &[&str]) -> Result<Vec<Metric>> {
        let mut command = Command::new(self.generator);
        command
            .args([
                "run",
                self.scenario,
                "--bootstrap-server",
                &node.bootstrap(),
            ])
            .args(["--pid", &node.pid().to_string()])
            .args(["--seconds", &seconds.to_string(), "--output", "jsonl"])
            .args(more)
            .args(&self.args.loadgen);
        report::parse(&output(&mut command)?)
    }
}
