//! Reading all logs in the background, slowly, to see whether they still are what was written.
//!
//! Every replica of the node takes its turn, leaders and followers alike, and all that is committed
//! is read. What is found bad is not served any more. Not here: when (a thread of the node's), and
//! what becomes of a damaged replica.

use std::collections::VecDeque;
use std::sync::Arc;

use plimsoll_partition::Partition;
use plimsoll_types::{Monotonic, Offset, PartitionKey};

use super::Host;
use crate::Broker;
use crate::counters::add;

/// Read at once.
const READ_BYTES: u64 = 1 << 20;

/// How far the round is.
#[derive(Default)]
pub(crate) struct Scrubbing {
    /// Whose turn is yet to come; `None` between two rounds.
    left: Option<VecDeque<Arc<Partition>>>,
    total: usize,
    /// When the last round ended.
    ended: Option<Monotonic>,
}

/// How far a round of scrubbing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubRound {
    /// Logs that were read in this round.
    pub done: usize,
    /// Logs there were at its begin; 0 between two rounds.
    pub total: usize,
}

/// Damage in a replica's log.
type Found = (PartitionKey, Offset);

impl Broker {
    /// Reads about as many bytes as may be read in a second. Blocks on the disk.
    pub fn scrub(&self) {
        let rate = self.config.scrub_bytes_per_second;
        if rate > 0 && self.is_recovered() {
            let found = self.scrub_step(rate);
            for (key, from) in found {
                self.host.found_damage(key, from);
            }
        }
    }

    /// How far the round is.
    #[must_use]
    pub fn scrub_round(&self) -> ScrubRound {
        let scrubbing = self.host.scrubbing.lock();
        match &scrubbing.left {
            None => ScrubRound::default(),
            Some(left) => ScrubRound {
                done: scrubbing.total.saturating_sub(left.len()),
                total: scrubbing.total,
            },
        }
    }

    fn scrub_step(&self, budget: u64) -> Vec<Found> {
        let mut found = Vec::new();
        let mut left_bytes = budget;
        while left_bytes > 0 {
            let Some(partition) = self.host.next_to_scrub(self.config.scrub_interval) else {
                break;
            };
            let at_once = usize::try_from(left_bytes.min(READ_BYTES)).unwrap_or(usize::MAX);
            let scrubbed = partition.scrub(at_once);
            left_bytes = left_bytes.saturating_sub(scrubbed.bytes);
            add(&self.counters.scrubbed_bytes, scrubbed.bytes);
            let id = partition.id();
            for damage in &scrubbed.damage {
                add(&self.counters.scrub_damage, 1);
                tracing::error!(event = "damage_found", partition = %id, %damage, by = "scrubbing");
            }
            if let Some(damage) = scrubbed.damage.first() {
                let (topic, index) = (id.topic_id, id.index);
                found.push((PartitionKey { topic, index }, damage.from));
            }
            if scrubbed.wrapped && self.host.scrubbed() {
                add(&self.counters.scrub_rounds, 1);
            }
        }
        found
    }
}

impl Host {
    /// The log whose turn it is; `None` while it is not time for a round.
    fn next_to_scrub(&self, rest: std::time::Duration) -> Option<Arc<Partition>> {
        let mut scrubbing = self.scrubbing.lock();
        if scrubbing.left.is_none() {
            let now = self.clock.now();
            if scrubbing.ended.is_some_and(|ended| now.since(ended) < rest) {
                return None;
            }
            let topics = self.catalog.topics();
            let mut all: Vec<_> = topics.iter().flat_map(|t| t.online().cloned()).collect();
            all.retain(|partition| partition.reader().has_files());
            all.sort_by_key(|partition| (partition.id().topic_id, partition.id().index));
            scrubbing.total = all.len();
            scrubbing.left = Some(all.into());
        }
        let next = scrubbing
            .left
            .as_ref()
            .and_then(|left| left.front().cloned());
        if next.is_none() {
            scrubbing.left = None;
            scrubbing.ended = Some(self.clock.now());
        }
        next
    }

    /// The log whose turn it was is read to its end; whether the round is over.
    fn scrubbed(&self) -> bool {
        let mut scrubbing = self.scrubbing.lock();
        let left = scrubbing.left.as_mut();
        left.is_some_and(|left| {
            left.pop_front();
            left.is_empty()
        })
    }
}
