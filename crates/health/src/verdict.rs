//! From the facts about a cluster to one word, an exit code and the reasons.
//!
//! What always holds: what cannot be known is unknown and not unhealthy; the gravest reason comes
//! first; no reason is left out, but lists of partitions are cut and say by how much.

use std::fmt;
use std::time::Duration;

use plimsoll_types::NodeId;

use crate::text::{some, time};

/// How a cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// All is well.
    Ok,
    /// Everything is served, with less to spare.
    Degraded,
    /// Something is not served.
    Unhealthy,
    /// What is known is too old.
    Unknown,
}

impl Level {
    /// The exit code of commands that tell it: 0, 11, 10, and 3 as for who cannot be reached.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unhealthy => 10,
            Self::Degraded => 11,
            Self::Unknown => 3,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// How many partitions there are.
    pub partitions: u64,
    /// Those that nobody leads, by name.
    pub leaderless: Vec<String>,
    /// Those that take no writes because too few are in sync, by name.
    pub below_min_isr: Vec<String>,
    /// Those that have replicas out of sync, by name; the two above may be among them.
    pub under_replicated: Vec<String>,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// The controllers.
    pub quorum: QuorumFacts,
    /// The age of what is known.
    pub age: Duration,
}

/// What is known about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Which.
    pub node: NodeId,
    /// For how long it has been fenced, if it is; zero if that is not known.
    pub fenced: Option<Duration>,
    /// Whether it is being drained.
    pub draining: bool,
    /// What is wrong with its disk, if anything, such as `is full`.
    pub disk: Option<String>,
}

/// What is known about the controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumFacts {
    /// Who leads them.
    pub leader: Option<NodeId>,
    /// How many have a vote.
    pub voters: u32,
    /// How many of them keep up.
    pub current: u32,
}

/// How a cluster does, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterVerdict {
    /// The word for it.
    pub level: Level,
    /// The reasons, gravest first; none if all is well.
    pub reasons: Vec<String>,
    /// The age of what it rests on.
    pub age: Duration,
}

impl ClusterVerdict {
    /// See [`Level::exit_code`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.level.exit_code()
    }
}

/// `degraded: 2 partitions have replicas out of sync: a/0, a/1`.
impl fmt::Display for ClusterVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        for (at, reason) in self.reasons.iter().enumerate() {
            let before = if at == 0 { ": " } else { "; " };
            write!(f, "{before}{reason}")?;
        }
        Ok(())
    }
}

/// Facts older than this say nothing.
const STALE: Duration = Duration::from_secs(15);
/// How many partitions a reason names.
const NAMED: usize = 5;

/// The verdict on a cluster.
#[must_use]
pub fn judge(facts: &ClusterFacts) -> ClusterVerdict {
    if facts.age > STALE {
        return ClusterVerdict {
            level: Level::Unknown,
            reasons: vec![format!("the newest facts are {} old", time(facts.age))],
            age: facts.age,
        };
    }
    let unserved = unserved(facts);
    let lessened = lessened(facts);
    let level = match (unserved.is_empty(), lessened.is_empty()) {
        (false, _) => Level::Unhealthy,
        (true, false) => Level::Degraded,
        (true, true) => Level::Ok,
    };
    ClusterVerdict {
        level,
        reasons: unserved.into_iter().chain(lessened).collect(),
        age: facts.age,
    }
}

/// What is not served.
fn unserved(facts: &ClusterFacts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.quorum.leader.is_none() {
        reasons.push(format!(
            "no controller leads ({} of {} keep up): leaders cannot change",
            facts.quorum.current,
            some(u64::from(facts.quorum.voters), "voter"),
        ));
    }
    reasons.extend(partitions(&facts.leaderless, "without a leader"));
    reasons.extend(partitions(
        &facts.below_min_isr,
        "taking no acks=all writes (below min.insync.replicas)",
    ));
    reasons
}

/// What is less than it should be.
fn lessened(facts: &ClusterFacts) -> Vec<String> {
    let mut reasons = Vec::new();
    let graver =
        |name: &&String| !facts.leaderless.contains(*name) && !facts.below_min_isr.contains(*name);
    let under: Vec<String> = facts
        .under_replicated
        .iter()
        .filter(graver)
        .cloned()
        .collect();
    reasons.extend(partitions(&under, "with replicas out of sync"));
    for node in &facts.nodes {
        let id = node.node;
        if let Some(disk) = &node.disk {
            reasons.push(format!("the disk of node {id} {disk}"));
        }
        match (node.draining, node.fenced) {
            (true, _) => reasons.push(format!("node {id} is being drained")),
            (false, Some(Duration::ZERO)) => reasons.push(format!("node {id} is fenced")),
            (false, Some(since)) => {
                reasons.push(format!("node {id} is fenced for {}", time(since)));
            }
            (false, None) => {}
        }
    }
    let QuorumFacts {
        leader,
        voters,
        current,
    } = facts.quorum;
    if leader.is_some() && current < voters {
        reasons.push(format!(
            "{current} of {} keep up",
            some(u64::from(voters), "controller")
        ));
    }
    reasons
}

fn partitions(names: &[String], what: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let number = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let named = names
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{} {what}: {named}{more}",
        some(number, "partition")
    ))
}
