//! What `strace` counted.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::report::Metric;

/// How many kinds of system call are told; the rest is in the total.
const KINDS: usize = 8;

/// A count as a measured value; counts here are far below where this rounds.
pub(super) fn as_f64(count: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes and counts are below 2^53"
    )]
    let value = count as f64;
    value
}

/// The counts of `strace -c`: the most frequent calls and the total, and how many that is for
/// each request where the requests are known.
pub(super) fn syscalls(file: &Path, requests: f64) -> Result<Vec<Metric>> {
    let text = fs::read_to_string(file).context("read strace's counts")?;
    let mut calls = parse(&text);
    calls.sort_by_key(|(_, count)| Reverse(*count));
    let total = as_f64(calls.iter().map(|(_, count)| count).sum());
    let mut metrics = vec![Metric::new("broker_syscalls", total, "calls")];
    if requests > 0.0 {
        metrics.push(Metric::new(
            "broker_syscalls_per_request",
            total / requests,
            "calls",
        ));
    }
    for (name, count) in calls.into_iter().take(KINDS) {
        metrics.push(Metric::new(
            format!("broker_syscalls_{name}"),
            as_f64(count),
            "calls",
        ));
    }
    Ok(metrics)
}

/// Rows of `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn parse(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (first, name) = (fields.first()?, fields.last()?);
            first.parse::<f64>().ok()?;
            let count = fields.get(3)?.parse().ok()?;
            (*name != "total").then(|| ((*name).to_owned(), count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn rows_with_and_without_errors_are_read_and_the_total_is_not() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           3       100        20 epoll_wait
 40.00    0.000200           2        90           writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           2       190        20 total
";
        let wanted = [("epoll_wait".to_owned(), 100), ("writev".to_owned(), 90)];
        assert_eq!(parse(text), wanted);
    }
}
