//! The committed offsets of one group: those that are durable, and which ones a write under way
//! will change.
//!
//! What is read here was durable when it got here (G6): commits and deletions take effect when
//! their write ends, in the order of the writes, never before.

use crate::{CommittedOffset, Text};
use plimsoll_types::{Timestamp, TopicName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A topic and a partition and what becomes of its offset: a new one, or none.
pub(crate) type Change = (TopicName, u32, Option<CommittedOffset>);

/// Charged for each offset beside its metadata.
const OFFSET_OVERHEAD_BYTES: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// Sum over `durable`.
    bytes: usize,
    durable: BTreeMap<TopicName, BTreeMap<u32, CommittedOffset>>,
    /// How many writes under way set the offset of a partition.
    coming: BTreeMap<(TopicName, u32), u32>,
}

/// When the offsets of a group end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry<'a> {
    /// Not while the group is as it is.
    Never,
    /// Some time after the group lost its last member, or after the commit if that is not known.
    Since(Option<Timestamp>),
    /// Some time after the commit.
    SinceCommit,
    /// Some time after the commit, for topics other than these.
    Unsubscribed(&'a BTreeSet<Text>),
}

impl Offsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.durable.is_empty() && self.coming.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.durable.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn contains(&self, topic: &TopicName, partition: u32) -> bool {
        self.get(topic.as_str(), partition).is_some()
            || self.coming.contains_key(&(topic.clone(), partition))
    }

    pub(crate) fn get(&self, topic: &str, partition: u32) -> Option<&CommittedOffset> {
        self.durable.get(topic)?.get(&partition)
    }

    /// Every partition that has an offset, or will have one when the writes under way end.
    pub(crate) fn all(&self) -> Vec<(TopicName, u32)> {
        self.select(|_| true)
    }

    pub(crate) fn of_topics(&self, topics: &[TopicName]) -> Vec<(TopicName, u32)> {
        self.select(|topic| topics.contains(topic))
    }

    fn select(&self, wanted: impl Fn(&TopicName) -> bool) -> Vec<(TopicName, u32)> {
        let durable = self.durable.iter().filter(|(topic, _)| wanted(topic));
        let durable = durable.flat_map(|(topic, partitions)| {
            partitions
                .keys()
                .map(|partition| (topic.clone(), *partition))
        });
        let coming = self
            .coming
            .keys()
            .filter(|(topic, _)| wanted(topic))
            .cloned();
        let all: BTreeSet<_> = durable.chain(coming).collect();
        all.into_iter().collect()
    }

    /// How many partitions have an offset or will have one.
    pub(crate) fn count_all(&self) -> usize {
        let new = |key: &&(TopicName, u32)| self.get(key.0.as_str(), key.1).is_none();
        self.count() + self.coming.keys().filter(new).count()
    }

    /// The partitions whose offset has ended, but for those about to get another.
    pub(crate) fn expired(
        &self,
        expiry: Expiry<'_>,
        retention: Duration,
        now: Timestamp,
    ) -> Vec<(TopicName, u32)> {
        let mut expired = Vec::new();
        for (topic, partitions) in &self.durable {
            for (partition, offset) in partitions {
                if self.coming.contains_key(&(topic.clone(), *partition)) {
                    continue;
                }
                if has_expired(topic, offset, expiry, retention, now) {
                    expired.push((topic.clone(), *partition));
                }
            }
        }
        expired
    }

    /// A write that makes these changes is under way.
    pub(crate) fn expect(&mut self, changes: &[Change]) {
        for (topic, partition, offset) in changes {
            if offset.is_some() {
                *self.coming.entry((topic.clone(), *partition)).or_default() += 1;
            }
        }
    }

    /// The write that makes these changes has ended; `durable` tells whether they hold.
    pub(crate) fn settle(&mut self, changes: Vec<Change>, durable: bool) {
        for (topic, partition, offset) in changes {
            if offset.is_some() {
                let key = (topic.clone(), partition);
                if let Some(count) = self.coming.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.coming.remove(&key);
                    }
                }
            }
            if durable {
                self.set(topic, partition, offset);
            }
        }
    }

    pub(crate) fn set(
        &mut self,
        topic: TopicName,
        partition: u32,
        offset: Option<CommittedOffset>,
    ) {
        let before = match offset {
            Some(offset) => {
                self.bytes += bytes_of(offset.metadata.len());
                self.durable
                    .entry(topic)
                    .or_default()
                    .insert(partition, offset)
            }
            None => self.remove(&topic, partition),
        };
        self.bytes -= before.map_or(0, |before| bytes_of(before.metadata.len()));
    }

    fn remove(&mut self, topic: &TopicName, partition: u32) -> Option<CommittedOffset> {
        let partitions = self.durable.get_mut(topic)?;
        let before = partitions.remove(&partition);
        if partitions.is_empty() {
            self.durable.remove(topic);
        }
        before
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.durable.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TopicName, u32, &CommittedOffset)> {
        self.durable.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, offset)| (topic, *partition, offset))
        })
    }
}

/// What an offset with so much metadata is charged.
pub(crate) fn bytes_of(metadata_bytes: usize) -> usize {
    metadata_bytes + OFFSET_OVERHEAD_BYTES
}

fn has_expired(
    topic: &TopicName,
    offset: &CommittedOffset,
    expiry: Expiry<'_>,
    retention: Duration,
    now: Timestamp,
) -> bool {
    let start = match expiry {
        Expiry::Never => return false,
        Expiry::Since(since) => since.unwrap_or(offset.committed_at),
        Expiry::SinceCommit => offset.committed_at,
        Expiry::Unsubscribed(topics) if topics.contains(topic.as_str()) => return false,
        Expiry::Unsubscribed(_) => offset.committed_at,
    };
    match offset.expires_at {
        Some(end) => now >= end,
        None => now.since(start) >= retention,
    }
}

/// The durable offsets of a group, to answer from.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupOffsets<'a> {
    pub(crate) offsets: Option<&'a Offsets>,
}

impl<'a> GroupOffsets<'a> {
    /// The offset of a partition, if one was committed.
    #[must_use]
    pub fn get(&self, topic: &str, partition: u32) -> Option<&'a CommittedOffset> {
        self.offsets?.get(topic, partition)
    }

    /// All of them, by topic and then by partition.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = (&'a TopicName, u32, &'a CommittedOffset)> + use<'a> {
        self.offsets.into_iter().flat_map(Offsets::iter)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.offsets.map_or(0, Offsets::count)
    }
}
