//! What happened to a replica of late, in memory.

use std::collections::VecDeque;

use parking_lot::Mutex;
use plimsoll_types::{LeaderEpoch, Monotonic, Offset};
use plimsoll_watermark::Snapshot;

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightEvent {
    /// When.
    pub at: Monotonic,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// The high watermark then.
    pub high_watermark: Offset,
    /// The log end then.
    pub log_end: Offset,
    /// What.
    pub what: String,
}

/// The last events, a bounded number.
pub(crate) struct Events {
    ring: Mutex<Ring>,
    most: usize,
}

/// Those not written to a file yet are the newest ones.
#[derive(Default)]
struct Ring {
    events: VecDeque<FlightEvent>,
    unwritten: usize,
}

impl Ring {
    fn unwritten(&self) -> Vec<FlightEvent> {
        let skip = self.events.len().saturating_sub(self.unwritten);
        self.events.iter().skip(skip).cloned().collect()
    }
}

impl Events {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            ring: Mutex::default(),
            most,
        }
    }

    pub(crate) fn note(&self, marks: &Snapshot, now: Monotonic, what: String) {
        let mut ring = self.ring.lock();
        while ring.events.len() >= self.most.max(1) {
            ring.events.pop_front();
        }
        ring.unwritten += 1;
        ring.events.push_back(FlightEvent {
            at: now,
            leader_epoch: marks.leader_epoch,
            high_watermark: marks.high_watermark,
            log_end: marks.log_end,
            what,
        });
    }

    /// The events that were not taken yet, as far as they are still there.
    pub(crate) fn take_unwritten(&self) -> Vec<FlightEvent> {
        let mut ring = self.ring.lock();
        let unwritten = ring.unwritten();
        ring.unwritten = 0;
        unwritten
    }

    /// The same, and they stay untaken.
    pub(crate) fn unwritten(&self) -> Vec<FlightEvent> {
        self.ring.lock().unwritten()
    }

    pub(crate) fn since(&self, since: Monotonic) -> Vec<FlightEvent> {
        let ring = self.ring.lock();
        let later = ring.events.iter().filter(|event| event.at >= since);
        later.cloned().collect()
    }
}
