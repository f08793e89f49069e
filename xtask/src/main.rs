//! Plimsoll's own commands: `cargo xtask <command>`.
//!
//! Everything a contributor or a CI machine runs goes through here, so that both run the same
//! thing. It is a tool, not a part of the product: it may read clocks, sleep and give up with a
//! message. No product crate depends on it.
#![allow(
    clippy::disallowed_methods,
    reason = "a tool reads clocks, sleeps and reads the environment; the product does not"
)]

mod bench;
mod clients;
mod fuzz;
mod loom;
mod node;
mod perf;
mod random;
mod run;
mod sim;
mod steps;
mod suites;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command line of `cargo xtask`.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Plimsoll's own commands",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One command each; the arguments live beside what they steer.
#[derive(Subcommand)]
enum Command {
    /// Everything a contributor must pass
    Test(test::TestArgs),
    /// The same under CI's rules: every step runs, nothing may be skipped
    Ci(test::TestArgs),
    /// Layers, file lengths, module headings, invariant ids, wording
    Tidy,
    /// The criterion benches of the hot path
    Bench(bench::BenchArgs),
    /// A real node under load: throughput, latency, CPU, memory, system calls
    Perf(perf::PerfArgs),
    /// The loom models of the lock-free pieces
    Loom(loom::LoomArgs),
    /// A fuzz target, for a while
    Fuzz(fuzz::FuzzArgs),
    /// Whole clusters on a simulated clock, network and disk, by seeds
    Sim(sim::SimArgs),
    /// Unmodified Kafka clients against real nodes
    Clients(clients::ClientsArgs),
    /// The same clients at work while nodes of a cluster are killed
    Failover(clients::failover::FailoverArgs),
    /// Kill -9, TERM, torn tails and flipped bits under a real client's load
    Kill(suites::kill::KillArgs),
    /// Three nodes killed, paused, emptied and damaged under a real client's load
    Cluster(suites::cluster::ClusterArgs),
    /// Hostile bytes and bad configurations against a real node
    Hostile(suites::hostile::HostileArgs),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Test(args) => test::test(&args),
        Command::Ci(args) => test::ci(&args),
        Command::Tidy => tidy::tidy(),
        Command::Bench(args) => bench::bench(&args),
        Command::Perf(args) => perf::perf(&args),
        Command::Loom(args) => loom::loom(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Sim(args) => sim::sim(&args),
        Command::Clients(args) => clients::clients(&args),
        Command::Failover(args) => clients::failover::failover(&args),
        Command::Kill(args) => suites::kill::kill(&args),
        Command::Cluster(args) => suites::cluster::cluster(&args),
        Command::Hostile(args) => suites::hostile::hostile(&args),
    }
}
