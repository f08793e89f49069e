//! Consumer groups: the async shell around the coordinators, one for each partition of
//! `__consumer_offsets`.
//!
//! A request enters the coordinator of its group's partition ([`shard`]) and is answered at once or
//! when a write is durable, a rebalance ends, or time is up; [`driver`] brings that about. While the
//! partition is still being read it is held for a bounded time ([`held`]). What is
//! written has Kafka's own format ([`log_format`]), in the partition that Kafka would use
//! ([`hash`]).
//!
//! What always holds: a commit, an assignment or a deletion is acknowledged only when the high
//! watermark has passed its records. No lock is held across I/O or an await.

mod code;
pub(crate) mod convert;
mod driver;
mod hash;
mod held;
mod log;
mod log_format;
mod shard;
mod slot;
mod topic;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use plimsoll_controller::{Changes, TopicChange};
use plimsoll_group_coordinator::{
    GroupConfig as CoordinatorConfig, GroupOffsets, Input, Now, ReplyTo, Response, Stats, Text,
};
use plimsoll_types::{Offset, Timestamp, TopicName};
use plimsoll_watermark::Signal;

use crate::Broker;
use crate::config::GroupConfig;
use shard::{Asked, Shard};

pub(crate) use code::code_of;
pub use plimsoll_group_coordinator::{
    DescribedGroup, DescribedMember, GroupError, GroupState, ListFilter, ListedGroup,
    Stats as GroupStats,
};

/// The topic that keeps groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Most memory that all groups of a node are charged for, split evenly over the partitions.
const MAX_BYTES: usize = 2 << 30;
/// What a partition gets at least, however many there are: enough for one great group.
const MIN_SHARD_BYTES: usize = 32 << 20;
/// Most bytes of one member's metadata: some ten thousand topics in a subscription.
const MAX_MEMBER_BYTES: usize = 1 << 20;
/// Most groups of one partition.
const MAX_SHARD_GROUPS: usize = 100_000;
/// Most writes of one partition that wait for the log.
const MAX_WRITES_IN_FLIGHT: usize = 10_000;

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The client's note.
    pub metadata: Text,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// The consumer groups of a node.
pub struct GroupService {
    config: CoordinatorConfig,
    offsets_partitions: u32,
    /// By partition of the offsets topic; there once that is.
    shards: OnceLock<Vec<Arc<Shard>>>,
    /// The topic exists, so this node will host it, if it does not yet.
    awaited: AtomicBool,
    /// Rings the driver.
    signal: Arc<Signal>,
}

impl GroupService {
    pub(crate) fn new(config: &GroupConfig) -> Self {
        Self {
            config: coordinator_config(config),
            offsets_partitions: config.offsets_partitions,
            shards: OnceLock::new(),
            awaited: AtomicBool::new(false),
            signal: Arc::new(Signal::new()),
        }
    }

    /// The groups that `filter` selects, and what kept some from being asked.
    #[must_use]
    pub fn list(&self, filter: &ListFilter) -> (Vec<ListedGroup>, Option<GroupError>) {
        let mut groups = Vec::new();
        let mut failure = match self.shards.get() {
            None if self.awaited.load(Ordering::Acquire) => {
                Some(GroupError::CoordinatorLoadInProgress)
            }
            _ => None,
        };
        for shard in self.shards() {
            match shard.query(|coordinator| coordinator.list(filter)) {
                Ok(some) => groups.extend(some),
                // Clients ask every node, and the one that keeps these tells of them.
                Err(GroupError::NotCoordinator) => {}
                Err(error) => failure = Some(error),
            }
        }
        (groups, failure)
    }

    /// Describes a group.
    ///
    /// # Errors
    /// It is not known, or not yet.
    pub fn describe(&self, group: &str) -> Result<DescribedGroup, GroupError> {
        self.shard_of(group)?
            .query(|coordinator| coordinator.describe(group))
    }

    /// What a group has committed, by topic and partition; nothing for one that is not known. Marks
    /// below zero, which some clients keep, are left out.
    ///
    /// # Errors
    /// It is not known yet.
    pub fn committed(
        &self,
        group: &str,
    ) -> Result<Vec<(TopicName, u32, CommittedOffset)>, GroupError> {
        self.with_offsets(group, |offsets| {
            let owned = offsets.iter().filter_map(|(topic, partition, kept)| {
                let committed = CommittedOffset {
                    offset: Offset::from_wire(kept.offset)?,
                    metadata: kept.metadata.clone(),
                    committed_at: kept.committed_at,
                };
                Some((topic.clone(), partition, committed))
            });
            owned.collect()
        })
    }

    /// Looks at what a group has committed, under its lock: shortly.
    pub(crate) fn with_offsets<R>(
        &self,
        group: &str,
        look: impl FnOnce(GroupOffsets<'_>) -> R,
    ) -> Result<R, GroupError> {
        self.shard_of(group)?
            .query(|coordinator| coordinator.offsets(group).map(look))
    }

    /// Numbers of all groups together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in self.shards() {
            let stats = shard
                .query(|coordinator| Ok(coordinator.stats()))
                .unwrap_or_default();
            sum.groups += stats.groups;
            sum.members += stats.members;
            sum.offsets += stats.offsets;
            sum.bytes += stats.bytes;
            sum.writes_in_flight += stats.writes_in_flight;
        }
        sum
    }

    /// Follows the metadata: what was committed for topics that are gone goes. To be called before
    /// a topic's deletion is answered, so that nothing of a later one of its name is hit.
    pub(crate) fn follow(&self, changes: &Changes, now: Now) {
        let deleted = changes.topics.iter().filter_map(|change| match change {
            TopicChange::Deleted(topic) => Some(topic.name.clone()),
            TopicChange::Created(_) | TopicChange::Changed { .. } => None,
        });
        let topics: Vec<TopicName> = deleted.collect();
        let ours = |change: &TopicChange| match change {
            TopicChange::Created(topic) | TopicChange::Changed { after: topic, .. } => {
                topic.name.as_str() == OFFSETS_TOPIC
            }
            TopicChange::Deleted(_) => false,
        };
        if changes.topics.iter().any(ours) {
            // Another node may keep a partition's groups from now on, or this one.
            self.signal.notify();
        }
        if topics.is_empty() {
            return;
        }
        for shard in self.shards() {
            shard.tell(
                now,
                Input::TopicsDeleted {
                    topics: topics.clone(),
                },
            );
        }
        self.signal.notify();
    }

    /// The topic exists.
    fn expect(&self) {
        self.awaited.store(true, Ordering::Release);
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// The offsets topic is there, with so many partitions.
    fn open(&self, partitions: usize) -> &[Arc<Shard>] {
        let max_bytes = (MAX_BYTES / partitions.max(1)).max(MIN_SHARD_BYTES);
        self.shards.get_or_init(|| {
            let config = CoordinatorConfig {
                max_bytes,
                ..self.config.clone()
            };
            let shard = |index| Arc::new(Shard::new(index, config.clone()));
            (0..partitions).map(shard).collect()
        })
    }

    fn shards(&self) -> &[Arc<Shard>] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    fn shard_of(&self, group: &str) -> Result<&Arc<Shard>, GroupError> {
        let shards = self.shards();
        shards
            .get(hash::partition_of(group, shards.len()))
            .ok_or_else(|| {
                if self.awaited.load(Ordering::Acquire) {
                    GroupError::CoordinatorLoadInProgress
                } else {
                    // Without the topic clients are to ask for the coordinator, which creates it.
                    GroupError::NotCoordinator
                }
            })
    }
}

impl Broker {
    /// Puts a request to the coordinator of `group`. All that depends on the order of requests
    /// happens in this call; the answer may take its time.
    pub(crate) fn ask_group<I: FnOnce(ReplyTo) -> Input>(
        &self,
        group: &str,
        input: I,
    ) -> impl Future<Output = Result<Response, GroupError>> + Send + use<I> {
        let asked = self.enter_group(group, input);
        async move {
            match asked {
                Ok(asked) => asked.answer().await,
                Err(error) => Err(error),
            }
        }
    }

    fn enter_group(
        &self,
        group: &str,
        input: impl FnOnce(ReplyTo) -> Input,
    ) -> Result<Asked, GroupError> {
        let shard = self.groups.shard_of(group)?;
        let (asked, ring) = shard.ask(self.group_time(), input)?;
        if ring {
            self.groups.signal.notify();
        }
        Ok(asked)
    }

    /// Waits for the coordinators of `groups` that are about to be here, for a bounded time for all
    /// of them together; to be called before a look at what they know.
    pub(crate) fn await_groups<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> impl Future<Output = ()> + Send {
        let shards = groups
            .into_iter()
            .filter_map(|group| self.groups.shard_of(group).ok());
        // One place in the queue of a partition, however many groups are asked for.
        let shards: BTreeMap<usize, &Arc<Shard>> =
            shards.map(|shard| (shard.index, shard)).collect();
        let now = self.group_time();
        let waits: Vec<_> = shards
            .values()
            .filter_map(|shard| shard.look_later(now))
            .collect();
        if waits.iter().any(|(_, ring)| *ring) {
            self.groups.signal.notify();
        }
        async move {
            for (slot, _) in waits {
                slot.filled().await;
            }
        }
    }

    /// Answers everyone who waits for a group, and whoever still comes: the node is stopping. A
    /// join may wait for minutes for other members; no shutdown should.
    pub fn stop_groups(&self) {
        for shard in self.groups.shards() {
            shard.failed(self.group_time());
        }
    }

    /// The time, as coordinators take it.
    pub(crate) fn group_time(&self) -> Now {
        Now {
            monotonic: self.clock.now(),
            wall: self.clock.wall(),
        }
    }
}

/// What the node decides comes from its configuration; what is ours to decide is decided here.
fn coordinator_config(config: &GroupConfig) -> CoordinatorConfig {
    CoordinatorConfig {
        min_session_timeout: config.min_session_timeout,
        max_session_timeout: config.max_session_timeout,
        initial_rebalance_delay: config.initial_rebalance_delay,
        new_member_join_timeout: Duration::from_secs(300),
        max_group_members: config.max_members,
        max_groups: MAX_SHARD_GROUPS,
        max_member_bytes: MAX_MEMBER_BYTES,
        // The record of a group holds metadata and assignments: half of it each.
        max_group_bytes: log::MAX_WRITE_BYTES / 2,
        max_bytes: MIN_SHARD_BYTES,
        max_offset_metadata_bytes: config.max_offset_metadata_bytes,
        offsets_retention: config.offsets_retention,
        retention_check_interval: Duration::from_secs(600),
        write_timeout: Duration::from_secs(5),
        max_writes_in_flight: MAX_WRITES_IN_FLIGHT,
        max_records_per_write: 1000,
    }
}

/// For the tests below: limits that do not get in their way.
#[cfg(test)]
fn tests_config() -> CoordinatorConfig {
    coordinator_config(&GroupConfig {
        offsets_partitions: 1,
        initial_rebalance_delay: Duration::ZERO,
        min_session_timeout: Duration::from_secs(6),
        max_session_timeout: Duration::from_secs(60),
        max_members: 10,
        max_offset_metadata_bytes: 100,
        offsets_retention: Duration::from_secs(60),
    })
}
