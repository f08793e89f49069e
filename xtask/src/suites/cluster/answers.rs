//! What nodes say of their cluster: the parts of their JSON that scenarios look at.

use std::fmt;

use serde::Deserialize;

/// A replica, as `plimsoll replica list -o json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) node: u32,
    pub(super) state: String,
    pub(super) log_end: Option<u64>,
    pub(super) high_watermark: Option<u64>,
    pub(super) in_sync: bool,
    pub(super) cause: Option<String>,
    pub(super) action: Option<String>,
}

impl Replica {
    /// Whether it is one of this partition.
    pub(super) fn is(&self, topic: &str, partition: u32) -> bool {
        self.topic == topic && self.partition == partition
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} on node {} is {}: {} ({})",
            self.topic,
            self.partition,
            self.node,
            self.state,
            self.cause.as_deref().unwrap_or("no cause given"),
            self.action.as_deref().unwrap_or("no action given")
        )
    }
}

#[derive(Deserialize)]
pub(super) struct Replicas {
    pub(super) replicas: Vec<Replica>,
}

/// A node, as `plimsoll node list -o json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Broker {
    pub(super) id: u32,
    pub(super) quorum_leader: bool,
    pub(super) state: String,
    pub(super) leaders: u32,
    pub(super) replicas: u32,
}

#[derive(Deserialize)]
pub(super) struct Brokers {
    pub(super) nodes: Vec<Broker>,
}

/// What `plimsoll doctor -o json` tells.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    pub(super) verdict: String,
    pub(super) problems: Vec<Problem>,
    pub(super) reasons: Vec<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) node: Option<u32>,
    pub(super) evidence: String,
    pub(super) action: String,
    #[serde(default)]
    pub(super) partitions: Vec<String>,
}
