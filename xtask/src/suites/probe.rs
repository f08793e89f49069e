//! How long writes stop: one small record after the other to each of some partitions, timed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::load::{PROGRESS, workload};

/// So many acknowledgements in a row say that writes are taken again.
const SETTLED: usize = 50;
const POLL: Duration = Duration::from_millis(5);

/// When each partition's probes were acknowledged, and what failed.
#[derive(Default)]
struct Heard {
    acks: Vec<(u32, Instant)>,
    failed: Option<String>,
}

/// A producer of one record at a time and partition, ten milliseconds apart.
pub(super) struct Probe {
    child: Child,
    partitions: Vec<u32>,
    heard: Arc<Mutex<Heard>>,
}

impl Probe {
    /// Starts to probe partitions of a topic, and waits until each has been acknowledged once.
    pub(super) fn start(bootstrap: &str, topic: &str, partitions: &[u32]) -> Result<Self> {
        let named = partitions.iter().map(u32::to_string).collect::<Vec<_>>();
        let mut command = workload()?;
        command.args(["probe", bootstrap, topic, &named.join(",")]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the prober")?;
        let output = child.stdout.take().expect("its standard output is piped");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let into = Arc::clone(&heard);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut heard = into.lock().expect("nobody panics with it");
                match line.strip_prefix("ack ").and_then(|at| at.parse().ok()) {
                    Some(partition) => heard.acks.push((partition, Instant::now())),
                    None => heard.failed = Some(line),
                }
            }
        });
        let probe = Self {
            child,
            partitions: partitions.to_vec(),
            heard,
        };
        let begun = Instant::now();
        for partition in &probe.partitions {
            probe.taken(*partition, begun, 1)?;
        }
        Ok(probe)
    }

    /// Waits until so many probes of a partition were acknowledged after `since`.
    fn taken(&self, partition: u32, since: Instant, count: usize) -> Result<()> {
        let deadline = Instant::now() + PROGRESS;
        while self.acks(partition, since).len() < count {
            if Instant::now() > deadline {
                bail!("partition {partition} took no {count} probes within {PROGRESS:?}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn acks(&self, partition: u32, since: Instant) -> Vec<Instant> {
        let heard = self.heard.lock().expect("nobody panics with it");
        let newer = heard.acks.iter().rev().take_while(|(_, at)| *at >= since);
        let mut acks = newer
            .filter(|(of, _)| *of == partition)
            .map(|(_, at)| *at)
            .collect::<Vec<_>>();
        acks.reverse();
        acks
    }

    /// The longest time without an acknowledgement from `since` until writes have been taken again
    /// for a while.
    pub(super) fn longest_gap(&self, partition: u32, since: Instant) -> Result<Duration> {
        self.taken(partition, since, SETTLED)?;
        Ok(self.gap_until(partition, since, Instant::now()))
    }

    /// The longest time without an acknowledgement between two moments.
    pub(super) fn gap_until(&self, partition: u32, since: Instant, until: Instant) -> Duration {
        let acks = self.acks(partition, since);
        let times = acks.into_iter().filter(|at| *at <= until);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in times.chain([until]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// The longest such time of any partition.
    pub(super) fn gap_of_any(&self, since: Instant, until: Instant) -> Duration {
        let gaps = self
            .partitions
            .iter()
            .map(|partition| self.gap_until(*partition, since, until));
        gaps.max().unwrap_or_default()
    }

    /// Times between acknowledgements of any partition, in order of length.
    pub(super) fn intervals(&self, since: Instant, until: Instant) -> Vec<Duration> {
        let mut all = Vec::new();
        for partition in &self.partitions {
            let acks = self.acks(*partition, since);
            let within = acks.into_iter().filter(|at| *at <= until);
            let within = within.collect::<Vec<_>>();
            all.extend(within.windows(2).map(|pair| pair[1] - pair[0]));
        }
        all.sort();
        all
    }

    /// What failed, if anything: a client retries by itself, and so nothing may.
    pub(super) fn failure(&self) -> Option<String> {
        let heard = self.heard.lock().expect("nobody panics with it");
        heard.failed.clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It has nothing to say at its end that its acknowledgements did not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
