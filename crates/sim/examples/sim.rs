//! Runs seeds from the command line; `cargo xtask sim` builds and calls it.

#![allow(clippy::print_stdout, reason = "it is what it is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "how long it took is told by the machine's own clock"
)]

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use plimsoll_sim::{Plan, Report, Tally, kinds, moment, run_many, shrink};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Whole clusters on a simulated clock, network and disk: what a seed decides can be run again.
#[derive(Parser)]
#[command(name = "cargo xtask sim", max_term_width = 100)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Stop after so many minutes, whatever is left
    #[arg(long)]
    minutes: Option<u64>,
    /// Only these kinds of trouble, separated by commas
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Seconds of trouble, in simulated time
    #[arg(long)]
    trouble: Option<u64>,
    /// Find a smaller plan that still fails
    #[arg(long)]
    shrink: bool,
    /// Run each seed twice and compare
    #[arg(long)]
    twice: bool,
    /// Print what the nodes log, with simulated times
    #[arg(short, long)]
    verbose: bool,
}

/// Simulated time, and whose word it is.
struct Moment;

impl FormatTime for Moment {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let (at, node) = moment();
        write!(out, "{:>9.4} s  node {node}", at.as_secs_f64())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let known = kinds();
    if let Some(unknown) = arguments
        .faults
        .iter()
        .find(|kind| !known.contains(&kind.as_str()))
    {
        eprintln!(
            "error: --faults: no trouble is called {unknown:?}; there is {}",
            known.join(", ")
        );
        return ExitCode::from(2);
    }
    if arguments.verbose {
        tracing_subscriber::fmt()
            .with_timer(Moment)
            .with_ansi(false)
            .with_target(false)
            .with_env_filter(EnvFilter::new("info"))
            .init();
    }
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: the simulation gets no directory: {error}");
            ExitCode::from(3)
        }
    }
}

fn plan(arguments: &Arguments, seed: u64) -> Plan {
    let mut plan = Plan::of(seed);
    plan.faults.clone_from(&arguments.faults);
    if let Some(seconds) = arguments.trouble {
        plan.trouble = Duration::from_secs(seconds);
    }
    plan
}

/// Runs what was asked for; how many seeds failed.
fn run(arguments: &Arguments) -> std::io::Result<u64> {
    let began = Instant::now();
    let limit = arguments
        .minutes
        .map(|minutes| Duration::from_secs(minutes * 60));
    let mut tally = Tally::default();
    let mut told = began;
    let each = |plan: &Plan, report: &Report| {
        tally.add(report);
        if !report.violations.is_empty() {
            tell(plan, report);
            if arguments.shrink
                && let Ok((plan, report)) = shrink(plan)
            {
                println!("\nthe smallest plan found that fails:");
                tell(&plan, &report);
            }
        } else if arguments.runs == 1 {
            story(report);
        }
        if arguments.twice
            && let Ok(again) = plimsoll_sim::run(plan)
            && again.hash != report.hash
        {
            println!(
                "seed {}: two runs differ, {:x} and {:x}",
                plan.seed, report.hash, again.hash
            );
            tally.failed += 1;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!(
                "{} seeds, {} failed, {:.0} s",
                tally.runs,
                tally.failed,
                began.elapsed().as_secs_f64()
            );
        }
        let over = tally.runs >= arguments.runs && limit.is_none()
            || limit.is_some_and(|limit| began.elapsed() >= limit);
        if over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    run_many(arguments.seed, |seed| plan(arguments, seed), each)?;
    let took = began.elapsed().as_secs_f64();
    let (sent, acked, read) = tally.records;
    println!(
        "{} seeds, {} failed, in {took:.1} s ({:.1} a second); {:.0} s simulated; {sent} records sent, {acked} acknowledged, {read} reads; longest way to peace {:.1} s",
        tally.runs,
        tally.failed,
        tally.runs as f64 / took,
        tally.simulated.as_secs_f64(),
        tally.slowest_peace.as_secs_f64(),
    );
    let faults: Vec<String> = tally
        .faults
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    println!("trouble: {}", faults.join(", "));
    Ok(tally.failed)
}

fn story(report: &Report) {
    for line in &report.story {
        println!("{line}");
    }
}

fn tell(plan: &Plan, report: &Report) {
    println!("\nseed {} breaks a rule:", report.seed);
    story(report);
    for violation in &report.violations {
        println!("  {violation}");
    }
    let faults = match plan.faults.is_empty() {
        true => String::new(),
        false => format!(" --faults {}", plan.faults.join(",")),
    };
    println!(
        "again: cargo xtask sim --seed {} --trouble {}{faults} --verbose",
        plan.seed,
        plan.trouble.as_secs()
    );
}
