//! A consumer that reads what a load writes, while it is written, and misses nothing.

use std::process::Child;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use anyhow::{Result, bail};

use super::load::{PROGRESS, last_word, talk, workload};

/// A consumer at work.
pub(super) struct Follow {
    child: Child,
    lines: Receiver<String>,
    read: u64,
}

impl Follow {
    /// Starts to read an idempotent load's topic from its first record.
    pub(super) fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let (child, lines) = talk(workload()?.args(["follow", bootstrap, topic]))?;
        Ok(Self {
            child,
            lines,
            read: 0,
        })
    }

    /// Waits until this many more records were read.
    pub(super) fn progress(&mut self, records: u64) -> Result<()> {
        while let Ok(line) = self.lines.try_recv() {
            self.note(&line)?;
        }
        let (wanted, deadline) = (self.read + records, Instant::now() + PROGRESS);
        while self.read < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(&line)?,
                Err(_) => bail!("the consumer read no {records} records within {PROGRESS:?}"),
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        if line.starts_with("FAIL") {
            bail!("{line}");
        }
        if let Some(count) = line.strip_prefix("read ") {
            self.read = count.parse()?;
        }
        Ok(())
    }

    /// Ends it after it has read everything there is.
    pub(super) fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        last_word(&self.lines, |_| Ok(()))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // Ended already, or given up here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
