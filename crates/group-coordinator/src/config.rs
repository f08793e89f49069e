//! What a coordinator is told once; its owner holds the defaults and their reasons.

use std::time::Duration;

/// Timeouts and limits of the groups of one coordinator. Kafka's configuration name stands with
/// each field that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Shortest session timeout a member may ask for: `group.min.session.timeout.ms`.
    pub min_session_timeout: Duration,
    /// Longest session timeout a member may ask for: `group.max.session.timeout.ms`.
    pub max_session_timeout: Duration,
    /// How long the first rebalance of an empty group waits for more members, anew with each that
    /// comes: `group.initial.rebalance.delay.ms`. At zero the first member starts alone at once.
    pub initial_rebalance_delay: Duration,
    /// How long a member that is new may wait for its first join to be answered, since it cannot
    /// send heartbeats meanwhile (Kafka's fixed five minutes).
    pub new_member_join_timeout: Duration,
    /// Most members of one group, and most promised member ids: `group.max.size`.
    pub max_group_members: usize,
    /// Most groups of this coordinator.
    pub max_groups: usize,
    /// Most bytes of one member: its ids and the metadata of all its protocols.
    pub max_member_bytes: usize,
    /// Most bytes of all members of a group; the same again for their assignments.
    pub max_group_bytes: usize,
    /// Most bytes of everything this coordinator keeps: members, assignments, offsets. Beyond,
    /// joins and commits are refused until there is less.
    pub max_bytes: usize,
    /// Longest metadata of a committed offset: `offset.metadata.max.bytes`.
    pub max_offset_metadata_bytes: usize,
    /// How long offsets outlive their use: `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// How often expired offsets are looked for: `offsets.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// How long a reply waits for its write before it is refused: `offsets.commit.timeout.ms`.
    pub write_timeout: Duration,
    /// Most writes that wait for the log; beyond, what needs a write is refused.
    pub max_writes_in_flight: usize,
    /// Most tombstones in one write; expiry and deletion of more take several.
    pub max_records_per_write: usize,
}
