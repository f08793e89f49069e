//! `plimsoll-loadgen`: loads a broker that speaks Kafka's protocol, and measures what it bears.
//!
//! It speaks the protocol itself, through `plimsoll-client`'s bare connections, so that a figure is
//! the broker's and not a client's: no retries, no batching of its own, no consumer groups. Where
//! a scenario has a rate, requests are sent at intended times that no slow answer can put off, and
//! latency counts from the intended time. Metrics go to standard output, one JSON line each, and
//! as a table to standard error.
//!
//! Not here: starting a broker, comparing runs, judging them; that is `cargo xtask perf`.

mod args;
mod batches;
mod consume;
mod end_to_end;
mod load;
mod pace;
mod process;
mod produce;
mod rate;
mod report;
mod tally;
mod target;
mod window;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use args::{Args, Command, RunArgs};
use load::{Load, Scenario};
use process::Watched;
use report::Report;
use target::Target;

fn main() -> ExitCode {
    match act(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In a line, without the backtrace that `Debug` would add.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<()> {
    match command {
        Command::List => {
            list();
            Ok(())
        }
        Command::Run(args) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime
                .worker_threads(args.threads.into())
                .enable_all()
                .build()?;
            // On a worker rather than on this thread, which would be one more to hop to.
            let run = runtime.spawn(async move { run(&args).await });
            runtime.block_on(run).context("the generator panicked")?
        }
    }
}

fn list() {
    for scenario in Scenario::ALL {
        println!("{:<20} {}", scenario.name(), scenario.about());
    }
}

async fn run(args: &RunArgs) -> Result<()> {
    let load = args.load();
    let watched = Watched::new(&args.pids)?;
    let target = Target::prepare(args, &load).await?;
    let measured = measure(&target, &load, watched.as_ref()).await;
    // The topic goes even if the run came to nothing; what went wrong first is what is told.
    let cleaned = if args.keep_topic {
        Ok(())
    } else {
        target.clean_up().await
    };
    let report = measured?;
    report.print(args.output, &load)?;
    cleaned.context("delete the topic")?;
    if report.nothing_worked() {
        bail!(
            "no request succeeded; the first refusal: {}",
            report.first_refusal()
        );
    }
    Ok(())
}

async fn measure(target: &Target, load: &Load, watched: Option<&Watched>) -> Result<Report> {
    match load.scenario {
        Scenario::ProduceThroughput | Scenario::SmallRequests => {
            produce::run(target, load, watched).await
        }
        Scenario::ProduceRate => rate::run(target, load, watched).await,
        Scenario::EndToEnd => end_to_end::run(target, load, watched).await,
        Scenario::ConsumeThroughput => consume::run(target, load, watched).await,
    }
}
