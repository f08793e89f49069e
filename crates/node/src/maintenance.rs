//! The node's housekeeping threads: when it is done. What is done is the broker's.
//!
//! One thread for what is short (the tick, retention, checkpoints), one for scrubbing and one for
//! compaction, which may take minutes. All may wait for the disk, so none is the runtime's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use plimsoll_admin::Pulse;
use plimsoll_broker::Broker;
use plimsoll_server::TokioClock;
use plimsoll_types::Monotonic;

use crate::config::Maintenance;

/// How often missed wake-ups are looked for. They should not exist, so it may take a moment.
const TICK: Duration = Duration::from_secs(1);

/// The running threads. They end when told to, or when this is dropped.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    stop: Vec<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Housekeeping {
    /// Starts the threads.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        pulse: Arc<Pulse>,
        config: Maintenance,
    ) -> io::Result<Self> {
        let mut this = Self {
            stop: Vec::new(),
            threads: Vec::new(),
        };
        let upkeep = Arc::clone(broker);
        this.spawn("plimsoll-upkeep", move |stop| {
            let mut round = Every::new(config.round);
            while !stop.within(TICK) {
                let now = TokioClock::monotonic();
                pulse.beat(now);
                upkeep.tick();
                if round.is_due(now) {
                    upkeep.maintain();
                }
            }
        })?;
        let scrubber = Arc::clone(broker);
        this.spawn("plimsoll-scrub", move |stop| {
            // What may be read in a second is read at once.
            while !stop.within(TICK) {
                scrubber.scrub();
            }
        })?;
        let compactor = Arc::clone(broker);
        this.spawn("plimsoll-compact", move |stop| {
            while !stop.within(config.compaction) {
                compactor.compact(&|| stop.within(Duration::ZERO));
            }
        })?;
        Ok(this)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(Stop) + Send + 'static) -> io::Result<()> {
        let (sender, receiver) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(Stop { told: receiver }))?;
        self.stop.push(sender);
        self.threads.push(thread);
        Ok(())
    }

    /// Ends the threads, and returns when they have ended; compaction finishes the log it is at.
    /// Blocks.
    pub(crate) fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            // A panic was reported by the hook.
            let _ = thread.join();
        }
    }
}

/// How a thread learns that it should end: its channel is closed.
struct Stop {
    told: Receiver<()>,
}

impl Stop {
    /// Waits so long, and tells whether to end.
    fn within(&self, time: Duration) -> bool {
        self.told.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

/// Something that is due again and again.
struct Every {
    period: Duration,
    last: Option<Monotonic>,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Whether it is due; if so, the next time is a period from now. Never at the first asking: a
    /// start has other things to do.
    fn is_due(&mut self, now: Monotonic) -> bool {
        let last = *self.last.get_or_insert(now);
        let due = now.since(last) >= self.period;
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_due_is_due_once_a_period() {
        let mut every = Every::new(Duration::from_secs(10));
        let due: Vec<u64> = (0..35).filter(|second| every.is_due(at(*second))).collect();
        assert_eq!(due, [10, 20, 30]);
    }

    #[test]
    fn a_thread_that_is_told_to_end_ends_at_once() {
        let (sender, told) = sync_channel(0);
        let stop = Stop { told };
        assert!(!stop.within(Duration::ZERO));
        drop(sender);
        assert!(stop.within(Duration::from_secs(600)));
    }
}
