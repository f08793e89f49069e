//! What the broker's process uses, or those of a cluster's nodes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processes on this machine.
pub(crate) struct Watched(Vec<Process>);

struct Process {
    pid: u32,
    ticks_per_second: u64,
}

/// What each process has used since it began, and its memory now.
pub(crate) type Samples = Vec<Sample>;

/// What one has used.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    cpu: Duration,
    rss_bytes: u64,
    rss_own_bytes: u64,
    rss_peak_bytes: u64,
    context_switches: u64,
}

/// What all used together between two samples, and their memory at the second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used {
    /// Each one's, in the order in which they were named.
    pub(crate) cpus: Vec<Duration>,
    pub(crate) rss_bytes: u64,
    /// Without the pages of mapped files, which the system takes back when it likes.
    pub(crate) rss_own_bytes: u64,
    pub(crate) rss_peak_bytes: u64,
    /// Of all threads that live at the second sample, wanted and forced.
    pub(crate) context_switches: u64,
}

impl Watched {
    /// The processes `pids`, if they can be looked at; `None` if there are none.
    pub(crate) fn new(pids: &[u32]) -> Result<Option<Self>> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let process = |pid: &u32| Process {
            pid: *pid,
            ticks_per_second,
        };
        let watched = Self(pids.iter().map(process).collect());
        for process in &watched.0 {
            let pid = process.pid;
            process
                .read()
                .with_context(|| format!("look at process {pid} in /proc"))?;
        }
        Ok((!pids.is_empty()).then_some(watched))
    }

    /// A sample; `None` once one of them is gone.
    pub(crate) fn sample(&self) -> Option<Samples> {
        self.0.iter().map(|process| process.read().ok()).collect()
    }
}

/// What was used between two samples of the same processes.
pub(crate) fn used(before: &[Sample], after: &[Sample]) -> Used {
    let mut used = Used::default();
    for (before, after) in before.iter().zip(after) {
        used.cpus.push(after.cpu.saturating_sub(before.cpu));
        used.rss_bytes += after.rss_bytes;
        used.rss_own_bytes += after.rss_own_bytes;
        used.rss_peak_bytes += after.rss_peak_bytes;
        used.context_switches += after
            .context_switches
            .saturating_sub(before.context_switches);
    }
    used
}

impl Process {
    fn read(&self) -> Result<Sample> {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid));
        let stat = of("stat")?;
        let status = of("status")?;
        let kibibytes = |name| number(&status, name).map(|kibibytes| kibibytes << 10);
        Ok(Sample {
            cpu: self.cpu(&stat).context("read CPU time in /proc")?,
            rss_bytes: kibibytes("VmRSS:").unwrap_or(0),
            rss_own_bytes: kibibytes("RssAnon:").unwrap_or(0),
            rss_peak_bytes: kibibytes("VmHWM:").unwrap_or(0),
            context_switches: self.context_switches(),
        })
    }

    /// User and system time, the 14th and 15th field of `stat`.
    fn cpu(&self, stat: &str) -> Option<Duration> {
        // The second field is the program's name in parentheses and may hold anything.
        let fields = stat.rsplit_once(')')?.1;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        let ticks = next()? + next()?;
        Some(Duration::from_millis(
            ticks * 1000 / self.ticks_per_second.max(1),
        ))
    }

    /// The process's own status counts its first thread alone, so all are asked.
    fn context_switches(&self) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return 0;
        };
        let statuses = tasks.flatten().filter_map(|task| {
            // A thread may end between the two reads; then its switches go uncounted.
            fs::read_to_string(task.path().join("status")).ok()
        });
        let of_one = |status: String| {
            let wanted = number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            wanted + number(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0)
        };
        statuses.map(of_one).sum()
    }
}

/// The number after `name` at the start of a line.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        let me = std::process::id();
        let watched = Watched::new(&[me, me]).expect("it exists").expect("two");
        let samples = watched.sample().expect("it lives");
        let used = used(&samples, &samples);
        assert_eq!(used.cpus, [Duration::ZERO; 2]);
        let rss: u64 = samples.iter().map(|sample| sample.rss_bytes).sum();
        assert_eq!(used.rss_bytes, rss);
        assert!(used.rss_bytes > 0 && used.rss_peak_bytes >= used.rss_bytes);
    }

    #[test]
    fn without_processes_nothing_is_watched() {
        assert!(Watched::new(&[]).expect("nothing to look at").is_none());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Watched::new(&[u32::MAX]).is_err());
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = Process {
            pid: 1,
            ticks_per_second: 100,
        };
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(process.cpu(stat), Some(Duration::from_secs(3)));
    }
}
