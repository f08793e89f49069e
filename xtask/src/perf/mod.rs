//! `cargo xtask perf`: a real node under load, and a real cluster of three.
//!
//! Starts release nodes on loopback in empty folders, lets the load generator (`plimsoll-loadgen`
//! of the benches) drive them and watch their processes, and adds, for a node that is alone, from a
//! second, shorter run under `strace` the system calls. It prints a table and a JSON line a metric;
//! `--keep` writes both to `docs/perf/runs/`. In a cluster every partition has a replica on each
//! node; all nodes and the generator share this machine.

mod fleet;
mod report;
mod sample;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::fleet::Fleet;
use self::report::{Metric, Run};
use crate::node::{rss_bytes, scratch};
use crate::run::{answers, output, run};
use crate::workspace::{self, cargo, target_dir};

/// How long the run under `strace` lasts: long enough to count, short since it is slow.
const TRACED: Duration = Duration::from_secs(3);

/// What to measure.
#[derive(Args)]
pub(crate) struct PerfArgs {
    /// Only scenarios whose name contains this
    filter: Option<String>,
    /// Only with so many nodes: 1 or 3
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5))]
    nodes: Option<u32>,
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
    let fleets = args.nodes.map_or_else(|| vec![1, 3], |nodes| vec![nodes]);
    for nodes in fleets {
        for scenario in &scenarios {
            let bench = Bench {
                node: &node,
                nodes,
                generator: &generator,
                scenario,
                args,
            };
            let name = bench.name();
            println!("\n==== {name} ====");
            let measured = bench.measured()?;
            let traced = if trace && nodes == 1 {
                bench.traced()?
            } else {
                Vec::new()
            };
            report.add(&name, measured.into_iter().chain(traced));
        }
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

/// One scenario against one node, or a cluster.
struct Bench<'a> {
    node: &'a Path,
    nodes: u32,
    generator: &'a Path,
    scenario: &'a str,
    args: &'a PerfArgs,
}

impl Bench<'_> {
    fn name(&self) -> String {
        match self.nodes {
            1 => self.scenario.to_owned(),
            nodes => format!("{}, {nodes} nodes", self.scenario),
        }
    }

    /// What the generator measures, of itself and of the nodes' processes.
    fn measured(&self) -> Result<Vec<Metric>> {
        let fleet = Fleet::start(self.node, &scratch("perf")?, self.nodes)?;
        let idle = fleet.pids().into_iter().map(rss_bytes).sum::<Option<u64>>();
        let idle = idle.context("a node ended before the load")?;
        let mut metrics = self.generate(&fleet, self.args.seconds, &[])?;
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
        let fleet = Fleet::start(self.node, &dir, 1)?;
        let counts = dir.join("strace.txt");
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-q", "-p", &fleet.joined_pids(), "-o"])
            .arg(&counts)
            .spawn()
            .context("start strace")?;
        // Without a warm-up, so that calls and requests are counted over the same time.
        let generated = self.generate(&fleet, TRACED.as_secs(), &["--warmup-seconds", "0"]);
        // It writes its counts when what it watches ends.
        fleet.terminate()?;
        strace.wait()?;
        let requests: f64 = generated?
            .iter()
            .filter(|metric| metric.is_requests())
            .map(|metric| metric.value)
            .sum();
        sample::syscalls(&counts, requests)
    }

    fn generate(&self, fleet: &Fleet, seconds: u64, more: &[&str]) -> Result<Vec<Metric>> {
        let mut command = Command::new(self.generator);
        command
            .args([
                "run",
                self.scenario,
                "--bootstrap-server",
                &fleet.bootstrap(),
            ])
            .args(["--pid", &fleet.joined_pids()])
            .args(["--replication-factor", &self.nodes.to_string()])
            .args(["--seconds", &seconds.to_string(), "--output", "jsonl"])
            .args(more)
            .args(&self.args.loadgen);
        report::parse(&output(&mut command)?)
    }
}
