//! What the broker's process uses, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process on this machine.
pub(crate) struct Watched {
    pid: u32,
    ticks_per_second: u64,
}

/// What it has used since it began, and its memory now.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    cpu: Duration,
    rss_bytes: u64,
    rss_own_bytes: u64,
    rss_peak_bytes: u64,
    context_switches: u64,
}

/// What it used between two samples, and its memory at the second.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// Without the pages of mapped files, which the system takes back when it likes.
    pub(crate) rss_own_bytes: u64,
    pub(crate) rss_peak_bytes: u64,
    /// Of all threads that live at the second sample, wanted and forced.
    pub(crate) context_switches: u64,
}

impl Watched {
    /// The process `pid`, if it can be looked at.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let watched = Self {
            pid,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        };
        watched
            .read()
            .with_context(|| format!("look at process {pid} in /proc"))?;
        Ok(watched)
    }

    /// A sample; `None` once the process is gone.
    pub(crate) fn sample(&self) -> Option<Sample> {
        self.read().ok()
    }

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

impl Sample {
    pub(crate) fn since(&self, before: &Self) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(before.cpu),
            rss_bytes: self.rss_bytes,
            rss_own_bytes: self.rss_own_bytes,
            rss_peak_bytes: self.rss_peak_bytes,
            context_switches: self
                .context_switches
                .saturating_sub(before.context_switches),
        }
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
        let watched = Watched::new(std::process::id()).expect("it exists");
        let sample = watched.sample().expect("it lives");
        assert!(sample.rss_bytes > 0 && sample.rss_peak_bytes >= sample.rss_bytes);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Watched::new(u32::MAX).is_err());
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let watched = Watched {
            pid: 1,
            ticks_per_second: 100,
        };
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(watched.cpu(stat), Some(Duration::from_secs(3)));
    }
}
