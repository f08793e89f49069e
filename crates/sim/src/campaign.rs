//! Many runs, and what is made of one that fails: the smallest plan that still does.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::faults::kinds;
use crate::marks::marks;
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
    /// How often there was which of [`crate::marks()`].
    pub marks: BTreeMap<&'static str, u64>,
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
        for (mark, count) in &report.marks {
            *self.marks.entry(mark).or_insert(0) += count;
        }
        self.slowest_peace = self.slowest_peace.max(report.healed.unwrap_or_default());
    }

    /// The marks that no run met.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        let all = marks().into_keys();
        all.filter(|mark| !self.marks.contains_key(mark)).collect()
    }
}

/// Does `work` for one seed after another, from `first` on, with `jobs` at the same time, for as
/// long as `each` says so of what comes of them. A cluster lives on one thread; several share
/// nothing.
///
/// # Errors
/// The first that `work` gives.
pub fn run_many<T: Send>(
    first: u64,
    jobs: NonZeroUsize,
    work: impl Fn(u64) -> io::Result<T> + Sync,
    each: impl FnMut(T) -> ControlFlow<()> + Send,
) -> io::Result<()> {
    let (next, over) = (AtomicU64::new(first), AtomicBool::new(false));
    let results = Mutex::new((each, Ok(())));
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let done = work(next.fetch_add(1, Ordering::Relaxed));
                    let mut results = results.lock();
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (each, outcome) = &mut *results;
                    let ends = match done {
                        Ok(done) => each(done).is_break(),
                        Err(error) => {
                            *outcome = Err(error);
                            true
                        }
                    };
                    over.fetch_or(ends, Ordering::Relaxed);
                }
            });
        }
    });
    results.into_inner().1
}

/// The smallest plan that still fails, as far as leaving things out finds it: less time, fewer
/// partitions, fewer kinds of trouble, no group.
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
    if best.members > 0 {
        let mut smaller = best.clone();
        smaller.members = 0;
        attempt(&mut best, smaller)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

    use super::*;

    fn jobs(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn every_seed_is_taken_once_until_it_is_enough() {
        let mut seen = Vec::new();
        let each = |seed| {
            seen.push(seed);
            match seen.len() {
                100 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        run_many(5, jobs(4), Ok, each).unwrap();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        // Those that were under way when it was enough are left out, wherever they are.
        assert!(seen[0] >= 5 && seen[99] <= 5 + 100 + 4);
    }

    #[test]
    fn the_first_error_ends_it() {
        let work = |seed| match seed {
            7 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(seed),
        };
        let ended = run_many(1, jobs(2), work, |_| ControlFlow::Continue(()));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
