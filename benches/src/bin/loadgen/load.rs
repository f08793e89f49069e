//! The scenarios, and what each does unless told otherwise.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// What to do to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Large batches, pipelined: how many bytes a second it takes
    ProduceThroughput,
    /// Requests at a fixed rate: how late the acknowledgements are
    ProduceRate,
    /// 200 connections of one record a request: how many requests a second it answers
    SmallRequests,
    /// Produced at a fixed rate and fetched by a long poll: how late records arrive
    EndToEnd,
    /// What was written is read back: how many bytes a second it gives
    ConsumeThroughput,
}

/// A topic's durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// Acknowledged when synced
    Fsync,
    /// Acknowledged when in the page cache
    Os,
}

impl Durability {
    pub(crate) const fn value(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
        }
    }
}

impl Scenario {
    pub(crate) const ALL: [Self; 5] = [
        Self::ProduceThroughput,
        Self::ProduceRate,
        Self::SmallRequests,
        Self::EndToEnd,
        Self::ConsumeThroughput,
    ];

    /// Its name on the command line and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ProduceThroughput => "produce-throughput",
            Self::ProduceRate => "produce-rate",
            Self::SmallRequests => "small-requests",
            Self::EndToEnd => "end-to-end",
            Self::ConsumeThroughput => "consume-throughput",
        }
    }

    /// What it does, in a line.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::ProduceThroughput => {
                "4 connections keep 5 batches of 64 x 1 KiB each in flight to 16 partitions"
            }
            Self::ProduceRate => "1,000 requests a second of one 1 KiB record to 4 partitions",
            Self::SmallRequests => "200 connections send one 100-byte record at a time",
            Self::EndToEnd => {
                "1,000 records a second, from intended send to receipt by a long poll"
            }
            Self::ConsumeThroughput => "2 connections read 1 GiB back, over and over",
        }
    }
}

/// A scenario with all its numbers. They go into every metric's line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) scenario: Scenario,
    #[serde(skip)]
    pub(crate) warmup: Duration,
    #[serde(skip)]
    pub(crate) measured: Duration,
    pub(crate) connections: usize,
    pub(crate) partitions: u32,
    /// Requests without an answer, a connection.
    pub(crate) in_flight: usize,
    pub(crate) record_bytes: u32,
    pub(crate) batch_records: u32,
    pub(crate) acks: i16,
    /// Requests a second; 0 for as many as are answered.
    pub(crate) rate: u32,
    pub(crate) preload_bytes: u64,
    pub(crate) spin: bool,
}

impl Load {
    /// What `scenario` does unless told otherwise.
    pub(crate) fn of(scenario: Scenario) -> Self {
        let plain = Self {
            scenario,
            warmup: Duration::ZERO,
            measured: Duration::ZERO,
            connections: 4,
            partitions: 16,
            in_flight: 5,
            record_bytes: 1024,
            batch_records: 64,
            acks: -1,
            rate: 0,
            preload_bytes: 0,
            spin: false,
        };
        match scenario {
            Scenario::ProduceThroughput => plain,
            // Enough in flight for a second of silence: an open loop must not close.
            Scenario::ProduceRate | Scenario::EndToEnd => Self {
                connections: 1,
                partitions: 4,
                in_flight: 2000,
                batch_records: 1,
                rate: 1000,
                ..plain
            },
            Scenario::SmallRequests => Self {
                connections: 200,
                in_flight: 1,
                record_bytes: 100,
                batch_records: 1,
                ..plain
            },
            Scenario::ConsumeThroughput => Self {
                connections: 2,
                preload_bytes: 1 << 30,
                ..plain
            },
        }
    }

    /// The bytes of record values in one batch.
    pub(crate) fn batch_value_bytes(&self) -> u64 {
        u64::from(self.record_bytes) * u64::from(self.batch_records)
    }
}
