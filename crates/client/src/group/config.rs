//! How a member of a group behaves.

use std::collections::BTreeSet;
use std::time::Duration;

use plimsoll_types::TopicName;

use super::Assignor;
use crate::StartAt;

/// A member of a classic group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: String,
    /// The topics to read.
    pub topics: BTreeSet<TopicName>,
    /// A name of its own, for a static member: it may be away for the session timeout without a
    /// rebalance.
    pub instance_id: Option<String>,
    /// How long the group waits for a sign of life.
    pub session_timeout: Duration,
    /// How often to give one.
    pub heartbeat_interval: Duration,
    /// How long the group waits for its members to join a rebalance.
    pub rebalance_timeout: Duration,
    /// The assignors offered, the preferred first.
    pub assignors: Vec<Assignor>,
    /// Where to begin in partitions in which the group has committed nothing.
    pub start: StartAt,
    /// How often to commit what was handed out; `None` for never of its own accord.
    pub auto_commit: Option<Duration>,
}

impl GroupConfig {
    /// A session of 45 s with a heartbeat every 3 s, a minute to rebalance, the range assignor
    /// and then round robin, from the newest record, committing every 5 s.
    #[must_use]
    pub fn new(group: impl Into<String>, topics: impl IntoIterator<Item = TopicName>) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().collect(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            assignors: vec![Assignor::Range, Assignor::RoundRobin],
            start: StartAt::Latest,
            auto_commit: Some(Duration::from_secs(5)),
        }
    }
}
