//! `plimsoll sim`: whole clusters on a simulated clock, network and disk, decided by a seed.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use plimsoll_cli::{Code, Exit, Failure, Output, print};
use plimsoll_sim::{Plan, Report, Tally, kinds, moment, run, run_many, run_twice, shrink};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// How often is told how far it is.
const TELL: Duration = Duration::from_secs(10);

/// `plimsoll sim`
#[derive(Args, Clone, Debug)]
pub struct Sim {
    /// The first seed [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many seeds, one after another [default: 1, or what --minutes allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Go on for so long
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// How many clusters at the same time [default: one a core, or one alone with --verbose]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Only these kinds of trouble, separated by commas [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    faults: Vec<String>,
    /// Seconds of trouble, in simulated time [default: 15]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    trouble: Option<u64>,
    /// How many partitions [default: drawn, up to 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    partitions: Option<u32>,
    /// How many members of a consumer group [default: drawn, up to 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=20))]
    members: Option<u32>,
    /// Have the topic count what is written (`durability=os`), and no node lose power
    #[arg(long)]
    unsynced: bool,
    /// Of a seed that fails, find a smaller plan that still does
    #[arg(long)]
    shrink: bool,
    /// Run each seed twice: it must go the same way
    #[arg(long)]
    twice: bool,
    /// Fail if no run came to one of the rare events that runs should come to
    #[arg(long)]
    marks: bool,
    /// Print what the nodes log, at simulated times
    #[arg(short, long)]
    verbose: bool,
    /// The form of the answer: table, wide, json, jsonl or name
    #[arg(
        short,
        long,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    output: Output,
}

/// Simulated time, and whose word it is.
struct Moment;

impl FormatTime for Moment {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let (at, node) = moment();
        write!(out, "{:>9.4} s  node {node}", at.as_secs_f64())
    }
}

/// A seed that broke a rule.
#[derive(Serialize)]
struct Failed {
    seed: u64,
    violations: Vec<String>,
    story: Vec<String>,
    again: String,
}

/// What came of it all.
#[derive(Serialize)]
struct Answer {
    first_seed: u64,
    seeds: u64,
    failed: Vec<Failed>,
    seconds: f64,
    seeds_per_second: f64,
    simulated_seconds: f64,
    records_sent: u64,
    records_acknowledged: u64,
    records_read: u64,
    longest_way_to_peace_seconds: f64,
    faults: std::collections::BTreeMap<&'static str, u64>,
    marks: std::collections::BTreeMap<&'static str, u64>,
    marks_missed: Vec<&'static str>,
}

/// One seed's run, and where a second one went another way.
struct Done {
    plan: Plan,
    report: Report,
    parting: Option<String>,
    smaller: Option<(Plan, Report)>,
}

/// Runs what was asked for.
///
/// # Errors
/// A kind of trouble that there is not; a machine that gives no directory.
pub fn sim(args: &Sim) -> Result<Exit, Failure> {
    let known = kinds();
    if let Some(unknown) = args.faults.iter().find(|it| !known.contains(&it.as_str())) {
        return Err(Failure::new(
            Code::BadValue,
            format!(
                "--faults: no trouble is called {unknown:?}; there is {}",
                known.join(", ")
            ),
        ));
    }
    if args.verbose {
        tracing_subscriber::fmt()
            .with_timer(Moment)
            .with_ansi(false)
            .with_target(false)
            .with_writer(std::io::stderr)
            .with_env_filter(EnvFilter::new("info"))
            .init();
    }
    let failed = |error| {
        Failure::new(
            Code::File,
            format!("the simulation gets no directory: {error}"),
        )
    };
    let answer = run_seeds(args).map_err(failed)?;
    let document = serde_json::to_value(&answer)
        .map_err(|error| Failure::new(Code::File, error.to_string()))?;
    let words = || answer.in_words();
    args.output.answer(&document, words, words)?;
    let missed = args.marks && !answer.marks_missed.is_empty();
    Ok(match answer.failed.is_empty() && !missed {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

fn run_seeds(args: &Sim) -> std::io::Result<Answer> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long it took is told by the machine's own clock"
    )]
    let began = Instant::now();
    let first = args.seed.unwrap_or_else(drawn);
    let limit = args
        .minutes
        .map(|minutes| Duration::from_secs(minutes * 60));
    let runs = match (args.runs, limit) {
        (Some(runs), _) => runs,
        (None, Some(_)) => u64::MAX,
        (None, None) => 1,
    };
    let jobs = args.jobs.unwrap_or_else(|| match (runs, args.verbose) {
        (1, _) | (_, true) => NonZeroUsize::MIN,
        _ => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    });
    let speaks = !matches!(args.output, Output::Json | Output::Jsonl);
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    let mut told = Duration::ZERO;
    let each = |done: Done| {
        let report = &done.report;
        tally.add(report);
        if runs == 1 && speaks {
            tell(&beginning(&done.plan), &report.story);
        }
        let mut violations = report.violations.clone();
        violations.extend(done.parting);
        if !violations.is_empty() {
            let (plan, report) = match &done.smaller {
                Some((plan, report)) => {
                    violations.clone_from(&report.violations);
                    (plan, report)
                }
                None => (&done.plan, report),
            };
            let fails = Failed {
                seed: plan.seed,
                violations,
                story: report.story.clone(),
                again: again(plan),
            };
            if speaks {
                let story: &[String] = if runs == 1 && done.smaller.is_none() {
                    &[]
                } else {
                    &fails.story
                };
                tell(&format!("\nseed {} breaks a rule:", fails.seed), story);
                let broken: Vec<_> = fails
                    .violations
                    .iter()
                    .map(|it| format!("  {it}"))
                    .collect();
                tell(&broken.join("\n"), &[format!("again: {}", fails.again)]);
            }
            failed.push(fails);
        }
        let so_far = began.elapsed();
        if runs > 1 && so_far >= told + TELL {
            told = so_far;
            eprintln!(
                "{} seeds, {} failed, {:.0} s",
                tally.runs,
                failed.len(),
                so_far.as_secs_f64()
            );
        }
        let over = tally.runs >= runs || limit.is_some_and(|limit| so_far >= limit);
        match over {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    run_many(first, jobs, |seed| one(args, seed), each)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Answer {
        first_seed: first,
        seeds: tally.runs,
        failed,
        seconds,
        seeds_per_second: tally.runs as f64 / seconds,
        simulated_seconds: tally.simulated.as_secs_f64(),
        records_sent: tally.records.0,
        records_acknowledged: tally.records.1,
        records_read: tally.records.2,
        longest_way_to_peace_seconds: tally.slowest_peace.as_secs_f64(),
        marks_missed: tally.missed(),
        faults: tally.faults,
        marks: tally.marks,
    })
}

/// A seed that is easy to type again.
fn drawn() -> u64 {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

fn one(args: &Sim, seed: u64) -> std::io::Result<Done> {
    let mut plan = Plan::of(seed);
    plan.faults.clone_from(&args.faults);
    if let Some(seconds) = args.trouble {
        plan.trouble = Duration::from_secs(seconds);
    }
    plan.partitions = args.partitions.unwrap_or(plan.partitions);
    plan.members = args.members.unwrap_or(plan.members);
    plan.unsynced = args.unsynced;
    let (report, parting) = match args.twice {
        true => run_twice(&plan)?,
        false => (run(&plan)?, None),
    };
    let smaller = match args.shrink && !report.violations.is_empty() {
        true => Some(shrink(&plan)?),
        false => None,
    };
    Ok(Done {
        plan,
        report,
        parting,
        smaller,
    })
}

fn beginning(plan: &Plan) -> String {
    format!(
        "seed {}: {} nodes, {} partitions with three replicas each, min.insync.replicas=2, \
         acks=all; {} members of a consumer group{}{}; {} s of trouble, then peace",
        plan.seed,
        plan.nodes,
        plan.partitions,
        plan.members,
        if plan.trims {
            ", records are deleted"
        } else {
            ""
        },
        if plan.unsynced { ", durability=os" } else { "" },
        plan.trouble.as_secs()
    )
}

/// How to run a plan again.
fn again(plan: &Plan) -> String {
    let faults = match plan.faults.is_empty() {
        true => String::new(),
        false => format!(" --faults {}", plan.faults.join(",")),
    };
    let (seed, trouble) = (plan.seed, plan.trouble.as_secs());
    let drawn = Plan::of(seed);
    let more = [
        ("partitions", plan.partitions, drawn.partitions),
        ("members", plan.members, drawn.members),
    ];
    let more = more.iter().filter(|(_, now, drawn)| now != drawn);
    let more: String = more
        .map(|(name, now, _)| format!(" --{name} {now}"))
        .collect();
    let unsynced = if plan.unsynced { " --unsynced" } else { "" };
    format!("plimsoll sim --seed {seed} --trouble {trouble}{more}{unsynced}{faults} --verbose")
}

fn tell(head: &str, lines: &[String]) {
    // Nobody reads any more: the end says so.
    let _ = print(&format!("{head}\n"));
    for line in lines {
        let _ = print(&format!("{line}\n"));
    }
}

impl Answer {
    fn in_words(&self) -> String {
        let listed = |counts: &std::collections::BTreeMap<&'static str, u64>| {
            let rows: Vec<_> = counts.iter().map(|(k, n)| format!("{k} {n}")).collect();
            rows.join(", ")
        };
        let never = match self.marks_missed.is_empty() {
            true => String::new(),
            false => format!("; never: {}", self.marks_missed.join(", ")),
        };
        let held = match self.failed.is_empty() {
            true => {
                "every acknowledged record is there, once and in order; nobody read what was \
                     not committed; all replicas are in sync, and equal"
            }
            false => "a rule was broken; plimsoll sim --shrink looks for a shorter story",
        };
        format!(
            "\n{} seeds from {}, {} failed: {held}\n\
             {} records sent, {} acknowledged, {} read; trouble: {}\n\
             marks: {}{never}\n\
             {:.0} s simulated in {:.1} s, {:.1} seeds a second; longest way to peace {:.1} s\n",
            self.seeds,
            self.first_seed,
            self.failed.len(),
            self.records_sent,
            self.records_acknowledged,
            self.records_read,
            listed(&self.faults),
            listed(&self.marks),
            self.simulated_seconds,
            self.seconds,
            self.seeds_per_second,
            self.longest_way_to_peace_seconds,
        )
    }
}
