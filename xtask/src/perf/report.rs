//! A run's metrics, as a table, as JSON lines, and kept.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run::output;
use crate::workspace::{commit, root};

/// One measured value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Metric {
    pub(super) metric: String,
    pub(super) value: f64,
    pub(super) unit: String,
    /// What the generator says of the load besides; kept as it is.
    #[serde(flatten)]
    context: Map<String, Value>,
}

impl Metric {
    pub(super) fn new(metric: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            metric: metric.into(),
            value,
            unit: unit.to_owned(),
            context: Map::new(),
        }
    }

    /// True for the number of requests sent.
    pub(super) fn is_requests(&self) -> bool {
        self.metric == "requests"
    }
}

/// The generator's lines; other lines are notes for people.
pub(super) fn parse(text: &str) -> Result<Vec<Metric>> {
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| format!("read {line:?}")))
        .collect()
}

/// A run of several scenarios, and what it ran on.
pub(super) struct Run {
    host: String,
    commit: String,
    metrics: Vec<(String, Metric)>,
}

impl Run {
    /// An empty run on this machine, at this commit.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            host: host()?,
            commit: commit(),
            metrics: Vec::new(),
        })
    }

    /// Adds a scenario's metrics.
    pub(super) fn add(&mut self, scenario: &str, metrics: impl Iterator<Item = Metric>) {
        self.metrics
            .extend(metrics.map(|metric| (scenario.to_owned(), metric)));
    }

    /// Prints the table, then a JSON line a metric.
    pub(super) fn print(&self) {
        println!("\n{}\n{}", self.table(), self.lines());
    }

    fn table(&self) -> String {
        let mut table = String::from("| scenario | metric | value | unit |\n|---|---|---:|---|\n");
        for (
            scenario,
            Metric {
                metric,
                value,
                unit,
                ..
            },
        ) in &self.metrics
        {
            let (value, unit) = shown(*value, unit);
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {scenario} | {metric} | {value} | {unit} |");
        }
        table
    }

    fn lines(&self) -> String {
        let lines = self.metrics.iter().map(|(_, metric)| {
            serde_json::to_string(metric).expect("names and finite numbers are always JSON")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Writes the run to `docs/perf/runs/`: the raw lines, and the table with what it ran on.
    pub(super) fn keep(&self) -> Result<()> {
        let dir = root().join("docs/perf/runs");
        fs::create_dir_all(&dir)?;
        let today = jiff::Zoned::now().date();
        let name = format!("{today}-{}", self.commit.trim_end_matches('+'));
        fs::write(dir.join(format!("{name}.jsonl")), self.lines() + "\n")?;
        let page = format!(
            "# Run of {today}\n\nHost: {}\nCommit: {}\nCommand: `cargo xtask perf --keep`\n\
             Raw data: [{name}.jsonl]({name}.jsonl)\n\n{}",
            self.host,
            self.commit,
            self.table()
        );
        fs::write(dir.join(format!("{name}.md")), page)?;
        println!("kept as docs/perf/runs/{name}.md and .jsonl");
        Ok(())
    }
}

/// What a reader must know of the machine: processors, memory, kernel.
fn host() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |line| line.trim_start_matches(['\t', ':', ' ']));
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total = memory
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("MemTotal:")
        .trim();
    let kernel = output(std::process::Command::new("uname").arg("-r"))?;
    Ok(format!(
        "{count} x {model}, {total}, Linux {}",
        kernel.trim()
    ))
}

/// A value as people read it.
fn shown(value: f64, unit: &str) -> (String, String) {
    match unit {
        "bytes" if value >= 1e9 => (format!("{:.2}", value / 1e9), "GB".to_owned()),
        "bytes" => (format!("{:.1}", value / 1e6), "MB".to_owned()),
        _ if value >= 100.0 => (format!("{value:.0}"), unit.to_owned()),
        _ => (format!("{value:.3}"), unit.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, shown};

    #[test]
    fn json_lines_are_metrics_and_other_lines_are_not() {
        let text = "warming up\n{\"metric\":\"records\",\"value\":5.0,\"unit\":\"1/s\"}\n";
        let metrics = parse(text).unwrap();
        assert_eq!((metrics.len(), metrics[0].metric.as_str()), (1, "records"));
        assert!(parse("{\"metric\":1}").is_err());
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        assert_eq!(shown(2.5e9, "bytes"), ("2.50".to_owned(), "GB".to_owned()));
        assert_eq!(shown(2.5e6, "bytes"), ("2.5".to_owned(), "MB".to_owned()));
        assert_eq!(shown(0.25, "ms"), ("0.250".to_owned(), "ms".to_owned()));
    }
}
