//! Where a follower's log parts from its leader's, found in one round from both epoch vectors.
//!
//! An epoch has one writer and its part of the log only grows, so two replicas that hold an epoch
//! agree up to the smaller of its two ends, and on all before it. What a follower has beyond that
//! goes. When no epoch is held by both, nothing can be proven, and the follower starts afresh.
//!
//! This rests on two things that others keep: no process leads twice in one epoch, and an epoch
//! without records is in the vectors all the same. Nothing here reads a log.

use plimsoll_types::{LeaderEpoch, Offset};

use crate::guards::{Guard, holds};

/// Where one leader epoch begins in a log. A vector of them has strictly growing epochs and starts
/// that never go back; an epoch ends where the next begins, the last one at the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Offset of its first record, or where that would have been.
    pub start: Offset,
}

/// What is compared of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogShape<'a> {
    /// Oldest readable offset.
    pub log_start: Offset,
    /// Next offset to be written.
    pub log_end: Offset,
    /// Its epochs, oldest first. A follower with many may give the newest only.
    pub epochs: &'a [EpochStart],
}

impl LogShape<'_> {
    /// Where `epoch` ends here; `None` when it is not in the vector.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch) -> Option<Offset> {
        let at = self
            .epochs
            .binary_search_by_key(&epoch, |entry| entry.epoch)
            .ok()?;
        let next = self.epochs.get(at + 1);
        Some(next.map_or(self.log_end, |entry| entry.start.min(self.log_end)))
    }
}

/// How a follower gets to be a prefix of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It is one: go on at its end.
    Aligned,
    /// Cut it here first.
    TruncateTo(Offset),
    /// It ends before the leader's log begins, or nothing about it can be proven: start afresh.
    Reset,
}

/// Compares a follower's log with its leader's.
#[must_use]
pub fn divergence(leader: &LogShape<'_>, follower: &LogShape<'_>) -> Agreement {
    let parting = if !holds(Guard::PartingByEpochs) {
        leader.log_end.min(follower.log_end)
    } else if follower.epochs.is_empty() {
        // Nothing was ever written, or all of it is gone: there is nothing to compare.
        follower.log_end
    } else {
        let Some(common) = greatest_common(leader.epochs, follower.epochs) else {
            return Agreement::Reset;
        };
        let ends = (leader.end_of(common), follower.end_of(common));
        let (Some(leaders), Some(followers)) = ends else {
            return Agreement::Reset;
        };
        leaders.min(followers)
    };
    if parting < leader.log_start || parting > leader.log_end || parting < follower.log_start {
        Agreement::Reset
    } else if parting < follower.log_end {
        Agreement::TruncateTo(parting)
    } else {
        Agreement::Aligned
    }
}

/// The greatest epoch in both vectors. Their starts need not be equal: retention trims the first.
#[must_use]
pub fn greatest_common(a: &[EpochStart], b: &[EpochStart]) -> Option<LeaderEpoch> {
    let (mut a, mut b) = (a.iter().rev().peekable(), b.iter().rev().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.epoch.cmp(&y.epoch) {
            std::cmp::Ordering::Equal => return Some(x.epoch),
            std::cmp::Ordering::Greater => a.next(),
            std::cmp::Ordering::Less => b.next(),
        };
    }
    None
}

/// The vector of a follower that ends at `end` and agrees with its leader up to there: the leader's
/// entries that begin no later, and before them what retention has trimmed there and not here.
///
/// To be written even when nothing is cut: a replica that led an epoch without records must forget
/// it, and one that missed such an epoch must learn of it. Entries of the leader that begin later
/// come with the records that cross them, or with the next attach.
#[must_use]
pub fn adopted(own: &[EpochStart], leaders: &[EpochStart], end: Offset) -> Vec<EpochStart> {
    let first = leaders.first();
    let older = |entry: &EpochStart| {
        first.is_none_or(|first| entry.epoch < first.epoch && entry.start <= first.start)
    };
    let mut all: Vec<EpochStart> = own.iter().copied().filter(older).collect();
    all.extend(leaders.iter().copied());
    all.retain(|entry| entry.start <= end);
    debug_assert!(is_vector(&all), "R7: epochs grow and starts never go back");
    all
}

/// Whether epochs strictly grow and starts never go back.
#[must_use]
pub fn is_vector(epochs: &[EpochStart]) -> bool {
    epochs
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.epoch < b.epoch && a.start <= b.start))
}
