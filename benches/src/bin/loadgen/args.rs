//! The command line. What a scenario does unless told otherwise stands in `load`.

use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::load::{Durability, Load, Scenario};

/// Loads a broker that speaks Kafka's protocol, and measures what it bears.
///
/// Each scenario has defaults of its own, shown by `list` and overridden by the options of `run`.
/// Standard output gets one JSON line a metric; standard error a table for people.
#[derive(Debug, Parser)]
#[command(name = "plimsoll-loadgen", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Names the scenarios, one a line
    List,
    /// Runs one scenario against a broker
    Run(Box<RunArgs>),
}

/// Where metrics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// JSON lines to standard output, the table to standard error
    Jsonl,
    /// The table to standard output
    Table,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// What to do
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// A broker to find the cluster by
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap_server: String,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long to load before measuring
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warmup_seconds: u64,
    /// Where metrics go
    #[arg(long, value_enum, default_value_t = Output::Jsonl)]
    pub(crate) output: Output,
    /// The broker's processes on this machine: adds their CPU, memory and context switches
    #[arg(long = "pid", value_name = "PID,...", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// Threads of the generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,

    /// Connections that send, or that fetch
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u16).range(1..))]
    connections: Option<u16>,
    /// Partitions of the topic
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: Option<u32>,
    /// Requests without an answer, a connection
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Option<u16>,
    /// Bytes of a record's value
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    record_bytes: Option<u32>,
    /// Records of a batch; a request carries one batch
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_records: Option<u32>,
    /// Who must have a batch before its answer: 0, 1, or all
    #[arg(long, help_heading = "Load", value_parser = acks)]
    acks: Option<i16>,
    /// Requests a second, for scenarios with a rate
    #[arg(long, help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Bytes to write before reading them back
    #[arg(long, help_heading = "Load")]
    preload_bytes: Option<u64>,
    /// Wait for an intended time with a busy processor instead of a timer: exact, at a core's cost
    #[arg(long, help_heading = "Load")]
    spin: bool,

    /// The topic's durability, a setting of Plimsoll's; other brokers refuse it
    #[arg(long, value_enum, help_heading = "Topic")]
    pub(crate) durability: Option<Durability>,
    /// The topic's replication factor, if not the broker's default
    #[arg(long, help_heading = "Topic")]
    pub(crate) replication_factor: Option<u16>,
    /// Leave the topic when done
    #[arg(long, help_heading = "Topic")]
    pub(crate) keep_topic: bool,
}

impl RunArgs {
    /// The scenario's load with what was asked for on top.
    pub(crate) fn load(&self) -> Load {
        let plain = Load::of(self.scenario);
        Load {
            scenario: self.scenario,
            warmup: Duration::from_secs(self.warmup_seconds),
            measured: Duration::from_secs(self.seconds),
            connections: self.connections.map_or(plain.connections, usize::from),
            partitions: self.partitions.unwrap_or(plain.partitions),
            in_flight: self.in_flight.map_or(plain.in_flight, usize::from),
            record_bytes: self.record_bytes.unwrap_or(plain.record_bytes),
            batch_records: self.batch_records.unwrap_or(plain.batch_records),
            acks: self.acks.unwrap_or(plain.acks),
            rate: self.rate.unwrap_or(plain.rate),
            preload_bytes: self.preload_bytes.unwrap_or(plain.preload_bytes),
            spin: self.spin,
        }
    }
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        other => Err(format!("{other:?} is none of 0, 1 and all")),
    }
}
