//! What one node says about replicas, as it travels between nodes.
//!
//! Nodes of two versions may talk: what is missing has a default, and words that are not known
//! stand for "unknown".

use plimsoll_controller::Image;
use plimsoll_health as health;
use plimsoll_replicator::ReplicaStatus;
use plimsoll_types::{Monotonic, NodeId, Offset};
use serde::{Deserialize, Serialize};

use super::view::ClusterView;

/// Everything that one node says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) node: u32,
    pub(crate) metadata_version: u64,
    pub(crate) controller: Option<u32>,
    /// How many have a vote in the quorum, and how many of them keep up, by what it knows.
    pub(crate) voters: u32,
    pub(crate) voters_current: u32,
    pub(crate) recovered: bool,
    /// Whether no controller answers it.
    pub(crate) self_fenced: bool,
    /// Why its metadata log takes no more, if so.
    pub(crate) stopped: Option<String>,
    pub(crate) sightings: Vec<Sighting>,
}

/// One replica as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sighting {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// Whose replica.
    pub(crate) node: u32,
    pub(crate) leader_epoch: u32,
    pub(crate) state: String,
    /// A code such as `R002`.
    pub(crate) cause: Option<String>,
    pub(crate) log_end: u64,
    pub(crate) durable_end: u64,
    pub(crate) high_watermark: u64,
    pub(crate) behind: u64,
    pub(crate) in_isr: bool,
    /// For how long it has lacked something.
    pub(crate) lag_ms: Option<u64>,
    /// Up to where it was compared with its leader.
    pub(crate) verified_end: Option<u64>,
    pub(crate) evidence: String,
    pub(crate) action: String,
    pub(crate) next_attempt_ms: Option<u64>,
    pub(crate) estimate_ms: Option<u64>,
    pub(crate) advice: Option<String>,
}

impl Report {
    /// What this node says now.
    pub(crate) fn of(view: &dyn ClusterView, now: Monotonic) -> Self {
        let image = view.image();
        let quorum = view.quorum();
        let statuses = view.statuses(now).into_iter();
        Self {
            node: view.node().get(),
            metadata_version: image.version(),
            controller: quorum.leader.map(NodeId::get),
            voters: quorum.voters,
            voters_current: quorum.current,
            recovered: view.is_recovered(),
            self_fenced: view.is_self_fenced(),
            stopped: view.stopped().map(|why| why.to_string()),
            sightings: statuses
                .filter_map(|status| Sighting::of(&image, status))
                .collect(),
        }
    }
}

impl Sighting {
    /// `None`: the topic is gone.
    fn of(image: &Image, status: ReplicaStatus) -> Option<Self> {
        let topic = image.topic_by_id(status.key.topic)?;
        let told = status.diagnosis;
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(Self {
            topic: topic.name.to_string(),
            partition: status.key.index,
            node: status.node.get(),
            leader_epoch: status.leader_epoch.get(),
            state: told.state.as_str().to_owned(),
            cause: told.cause.map(|cause| cause.code().to_owned()),
            log_end: status.log_end.get(),
            durable_end: status.durable_end.get(),
            high_watermark: status.high_watermark.get(),
            behind: status.behind,
            in_isr: status.in_isr,
            lag_ms: status.lag.map(ms),
            verified_end: status.verified_end.map(Offset::get),
            evidence: told.evidence,
            action: told.action,
            next_attempt_ms: told.next_attempt.map(ms),
            estimate_ms: told.estimate.map(ms),
            advice: told.advice,
        })
    }

    pub(crate) fn state(&self) -> health::ReplicaState {
        let known = health::ReplicaState::ALL;
        let named = known.iter().find(|state| state.as_str() == self.state);
        named.copied().unwrap_or(health::ReplicaState::Unknown)
    }

    pub(crate) fn cause(&self) -> Option<health::Cause> {
        let code = self.cause.as_deref()?;
        let known = health::Cause::ALL.iter().copied();
        let mut named = known.filter(|cause| cause.code() == code);
        Some(named.next().unwrap_or(health::Cause::NoNews))
    }
}
