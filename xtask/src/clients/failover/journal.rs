//! What came of a client's work, as it is written down while it happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is being done to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Calm,
    /// They are killed and started again.
    Kills,
    /// They are told to end, and started again.
    Controlled,
}

/// Something a client's user would have seen as an error.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What was being done to the nodes while the call was under way.
    pub(super) phase: Phase,
    pub(super) op: &'static str,
    pub(super) code: Option<i16>,
    pub(super) text: String,
}

/// One call of the producer.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) first: u64,
    /// Their offsets, where the client tells them; `None` if the call failed.
    pub(super) acknowledged: Option<Vec<Option<i64>>>,
}

/// What came of it all.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) sent: BTreeMap<i32, Vec<Sent>>,
    /// What the reader read, from offset 0 on without a gap.
    pub(super) read: BTreeMap<i32, Vec<u64>>,
    /// What the group's members read.
    pub(super) seen: BTreeMap<(i32, i64), u64>,
    /// How often a member was given a record that the group had read before.
    pub(super) again: u64,
    /// The committed offsets by partition, as they were told, with the times.
    pub(super) committed: BTreeMap<i32, Vec<(Instant, i64)>>,
    pub(super) faults: Vec<Fault>,
    /// What must never be, as it was noticed.
    pub(super) wrong: Vec<String>,
    /// The longest that one call of the producer took.
    pub(super) longest: Duration,
}

impl Journal {
    /// What was committed so long ago that no member can have had anything older under way.
    pub(super) fn settled(&self, partition: i32) -> i64 {
        const LONG: Duration = Duration::from_secs(20);
        let told = self
            .committed
            .get(&partition)
            .map_or(&[][..], Vec::as_slice);
        let old = told.iter().rev().find(|(at, _)| at.elapsed() > LONG);
        old.map_or(0, |(_, offset)| *offset)
    }
}

/// How far a client is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) calls: Vec<usize>,
    pub(super) seen: usize,
}

impl Progress {
    /// Two calls further on every partition, the second of which was begun since; and records were
    /// read by the group.
    pub(super) fn is_beyond(&self, before: &Self) -> bool {
        let mut calls = self.calls.iter().zip(&before.calls);
        calls.all(|(now, then)| *now >= then + 2) && self.seen > before.seen
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (phase, op, text) = (self.phase, self.op, &self.text);
        match self.code {
            Some(code) => write!(f, "{phase:?}: {op}: error {code}: {text}"),
            None => write!(f, "{phase:?}: {op}: {text}"),
        }
    }
}
