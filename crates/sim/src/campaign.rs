//! Many runs, and what is made of one that fails: the smallest plan that still does.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::faults::kinds;
use crate::run::{Plan, Report, run};

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Those in which a rule was broken.
    pub failed: u64,
    /// Simulated time of all of them.
    pub simulated: Duration,
    /// Records sent, acknowledged and read.
    pub records: (u64, u64, u64),
    /// How often there was what trouble.
    pub faults: BTreeMap<&'static str, u64>,
    /// The longest way to peace.
    pub slowest_peace: Duration,
}

impl Tally {
    /// Counts one more run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.violations.is_empty());
        self.simulated += report.simulated;
        let (sent, acked, read) = report.records;
        self.records.0 += sent;
        self.records.1 += acked;
        self.records.2 += read;
        for (kind, count) in &report.faults {
            *self.faults.entry(kind).or_insert(0) += count;
        }
        self.slowest_peace = self.slowest_peace.max(report.healed.unwrap_or_default());
    }
}

/// Runs one seed after another, from `first` on, for as long as `each` says so.
///
/// # Errors
/// The machine gives no directory.
pub fn run_many(
    first: u64,
    plan: impl Fn(u64) -> Plan,
    mut each: impl FnMut(&Plan, &Report) -> ControlFlow<()>,
) -> io::Result<()> {
    for seed in first.. {
        let plan = plan(seed);
        let report = run(&plan)?;
        if each(&plan, &report).is_break() {
            break;
        }
    }
    Ok(())
}

/// The smallest plan that still fails, as far as leaving things out finds it: less time, fewer
/// partitions, fewer kinds of trouble.
///
/// # Errors
/// The machine gives no directory.
pub fn shrink(plan: &Plan) -> io::Result<(Plan, Report)> {
    let mut best = plan.clone();
    let mut report = run(&best)?;
    let mut attempt = |best: &mut Plan, smaller: Plan| -> io::Result<bool> {
        let tried = run(&smaller)?;
        let fails = !tried.violations.is_empty();
        if fails {
            *best = smaller;
            report = tried;
        }
        Ok(fails)
    };
    if best.faults.is_empty() {
        best.faults = kinds().into_iter().map(str::to_owned).collect();
    }
    for kind in kinds() {
        if best.faults.len() > 1 && best.faults.iter().any(|known| known == kind) {
            let mut smaller = best.clone();
            smaller.faults.retain(|known| known != kind);
            attempt(&mut best, smaller)?;
        }
    }
    while best.trouble > Duration::from_secs(1) {
        let mut smaller = best.clone();
        smaller.trouble = best.trouble * 2 / 3;
        if !attempt(&mut best, smaller)? {
            break;
        }
    }
    while best.partitions > 1 {
        let mut smaller = best.clone();
        smaller.partitions -= 1;
        if !attempt(&mut best, smaller)? {
            break;
        }
    }
    Ok((best, report))
}
