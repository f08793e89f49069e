//! A run's metrics: JSON lines for machines, a table for people.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::args::Output;
use crate::load::Load;
use crate::process::Used;
use crate::tally::{Latencies, Tally};

/// The version of the lines' layout.
const SCHEMA: u32 = 1;

/// The metrics of one run, in the order in which they are printed.
pub(crate) struct Report {
    metrics: Vec<Metric>,
    seconds: f64,
    requests: u64,
    first_refusal: &'static str,
}

struct Metric {
    name: String,
    value: f64,
    unit: &'static str,
}

/// A metric's line.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    metric: &'a str,
    value: f64,
    unit: &'a str,
    seconds: f64,
    #[serde(flatten)]
    load: &'a Load,
}

impl Report {
    /// What every scenario tells: requests answered and refused, and their latencies.
    pub(crate) fn of(load: &Load, tally: &Tally) -> Self {
        let mut report = Self {
            metrics: Vec::new(),
            seconds: load.measured.as_secs_f64(),
            requests: tally.requests,
            first_refusal: tally.first_refusal.map_or("none", |error| error.name()),
        };
        report.add("requests", float(tally.requests), "requests");
        report.add("requests_refused", float(tally.refused), "requests");
        report.add(
            "requests_per_second",
            report.rate(tally.requests),
            "requests/s",
        );
        report.add(
            "records_per_second",
            report.rate(tally.records),
            "records/s",
        );
        report.latencies("latency", &tally.latencies);
        report
    }

    /// What was acknowledged: in the measured time a second, and in the whole run.
    pub(crate) fn produced(&mut self, tally: &Tally, all_bytes: u64) {
        self.add("produce_throughput", self.rate(tally.bytes) / 1e6, "MB/s");
        self.add("produced_bytes", float(all_bytes), "bytes");
    }

    /// What was written before the measured reading.
    pub(crate) fn preloaded(&mut self, bytes: u64) {
        self.add("produced_bytes", float(bytes), "bytes");
    }

    /// What was read: in the measured time a second, and in the whole run.
    pub(crate) fn consumed(&mut self, tally: &Tally, all_bytes: u64) {
        self.add("consume_throughput", self.rate(tally.bytes) / 1e6, "MB/s");
        self.add("consumed_bytes", float(all_bytes), "bytes");
    }

    /// How late requests were sent: the generator's own part in all latencies.
    pub(crate) fn lateness(&mut self, tally: &Tally) {
        self.latencies("send_lateness", &tally.lateness);
    }

    /// How late records were received, and how many of those acknowledged were not.
    pub(crate) fn received(&mut self, received: &Tally, all_bytes: u64, sent: &Tally) {
        self.latencies("end_to_end", &received.latencies);
        self.add("records_received", float(received.records), "records");
        let lost = sent.records.saturating_sub(received.records);
        self.add("records_not_received", float(lost), "records");
        self.add("fetches_refused", float(received.refused), "requests");
        self.add("consumed_bytes", float(all_bytes), "bytes");
    }

    /// What the broker's processes used in the measured time, together and each.
    pub(crate) fn used(&mut self, used: Option<&Used>, tally: &Tally) {
        let Some(used) = used else { return };
        let cpu = used.cpus.iter().sum::<Duration>().as_secs_f64();
        self.add("broker_cpu", cpu, "s");
        self.add("broker_cpu_share", cpu / self.seconds, "cores");
        let gigabytes = float(tally.bytes) / 1e9;
        if tally.bytes > 0 {
            self.add("broker_cpu_per_gigabyte", cpu / gigabytes, "s/GB");
            for (nth, cpu) in (1..).zip(&used.cpus).filter(|_| used.cpus.len() > 1) {
                let name = format!("broker_{nth}_cpu_per_gigabyte");
                self.add(&name, cpu.as_secs_f64() / gigabytes, "s/GB");
            }
        }
        if tally.requests > 0 {
            let requests = float(tally.requests);
            self.add("broker_cpu_per_request", cpu * 1e6 / requests, "us");
            let switches = float(used.context_switches);
            self.add(
                "broker_context_switches_per_request",
                switches / requests,
                "switches",
            );
        }
        self.add("broker_rss", float(used.rss_bytes), "bytes");
        self.add("broker_rss_anonymous", float(used.rss_own_bytes), "bytes");
        self.add("broker_rss_peak", float(used.rss_peak_bytes), "bytes");
    }

    /// Whether there is nothing to report but refusals.
    pub(crate) fn nothing_worked(&self) -> bool {
        self.requests == 0
    }

    /// The reason of the first refusal.
    pub(crate) fn first_refusal(&self) -> &'static str {
        self.first_refusal
    }

    /// Prints everything.
    pub(crate) fn print(&self, output: Output, load: &Load) -> Result<()> {
        match output {
            Output::Jsonl => {
                self.lines(&mut io::stdout().lock(), load)?;
                self.table(&mut io::stderr().lock(), load)?;
            }
            Output::Table => self.table(&mut io::stdout().lock(), load)?,
        }
        Ok(())
    }

    fn lines(&self, out: &mut impl Write, load: &Load) -> Result<()> {
        for Metric { name, value, unit } in &self.metrics {
            let (metric, value, seconds) = (name.as_str(), *value, self.seconds);
            let line = Line {
                schema: SCHEMA,
                metric,
                value,
                unit,
                seconds,
                load,
            };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        Ok(out.flush()?)
    }

    fn table(&self, out: &mut impl Write, load: &Load) -> Result<()> {
        writeln!(out, "{}, {} s measured", load.scenario.name(), self.seconds)?;
        for Metric { name, value, unit } in &self.metrics {
            writeln!(out, "  {name:<38} {value:>18.3} {unit}")?;
        }
        Ok(out.flush()?)
    }

    fn latencies(&mut self, name: &str, latencies: &Latencies) {
        if latencies.is_empty() {
            return;
        }
        for (suffix, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9)] {
            self.add(
                &format!("{name}_{suffix}"),
                latencies.micros_at(percent),
                "us",
            );
        }
        self.add(&format!("{name}_max"), latencies.max_micros(), "us");
        self.add(&format!("{name}_mean"), latencies.mean_micros(), "us");
    }

    fn rate(&self, count: u64) -> f64 {
        float(count) / self.seconds
    }

    fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        self.metrics.push(Metric {
            name: name.to_owned(),
            value,
            unit,
        });
    }
}

/// Counts are far below 2^53, from where on a float would round them.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts are below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}
