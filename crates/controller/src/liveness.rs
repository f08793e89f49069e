//! Which nodes are alive, judged by the active controller from heartbeats and suspicions.
//!
//! Time is an argument, and what comes out are [`Decision`]s: rules to be carried out. Nothing
//! here changes metadata.
//!
//! Always: after a start as the controller, and after a pause of its own, a whole session passes
//! before silence counts, so that nobody is fenced for what the controller did not hear; a word of
//! an earlier process of a node says nothing of its present one.

use crate::image::{Image, Node};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::rules;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId, PartitionKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The times that liveness goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// How long a node may be silent (`broker.session.timeout.ms`).
    pub session: Duration,
    /// How long a node must have been well before leaderships go back to it.
    pub stable_after: Duration,
}

impl LivenessConfig {
    /// A session of six heartbeats of 500 ms, and five minutes until leaderships go back.
    pub const DEFAULT: Self = Self {
        session: Duration::from_secs(3),
        stable_after: Duration::from_secs(300),
    };
}

/// How a node's disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// Well.
    #[default]
    Healthy,
    /// Too slow to lead.
    Slow,
    /// Full: it takes no records.
    Full,
    /// It failed: nothing on it can be trusted until the node is started again.
    Failed,
}

/// What a node says of itself in a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatFacts {
    /// The version of the image it acts on.
    pub applied_version: u64,
    /// Whether its logs are loaded, so that it can take roles.
    pub ready: bool,
    /// Whether it is about to stop and wants its leaderships taken.
    pub drain: bool,
    /// How its disk does.
    pub disk: DiskState,
    /// Partitions whose log it cannot use.
    pub offline: Vec<PartitionKey>,
    /// Nodes whose connection to it closed.
    pub suspects: Vec<NodeId>,
}

/// What a node is told in answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The process is not the node's any more: it must stop and register anew.
    pub stale_epoch: bool,
    /// It is fenced.
    pub fenced: bool,
    /// It is draining and leads nothing that another could lead.
    pub drained: bool,
    /// The controller's version of the image.
    pub version: u64,
}

/// Why a node is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceReason {
    /// It was not heard of.
    Silent {
        /// For how long.
        silent: Duration,
    },
    /// Its connections closed and it accepts no new ones.
    Gone,
    /// Its disk failed.
    DiskFailed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Fence a process.
    Fence {
        /// The node.
        node: NodeId,
        /// The process.
        broker_epoch: BrokerEpoch,
        /// Why.
        why: FenceReason,
    },
    /// Trust a process again.
    Unfence {
        /// The node.
        node: NodeId,
        /// The process.
        broker_epoch: BrokerEpoch,
    },
    /// Take a node's leaderships, as it is about to stop.
    Drain {
        /// The node.
        node: NodeId,
        /// The process.
        broker_epoch: BrokerEpoch,
    },
    /// Take a node's leaderships, as its disk is too slow or too full to lead.
    Resign {
        /// The node.
        node: NodeId,
        /// The process.
        broker_epoch: BrokerEpoch,
        /// Nodes that are no better.
        ill: BTreeSet<NodeId>,
    },
    /// Take a node out of the ISRs of partitions that it cannot use.
    Offline {
        /// The node.
        node: NodeId,
        /// The process.
        broker_epoch: BrokerEpoch,
        /// The partitions.
        partitions: Vec<PartitionKey>,
    },
    /// Find out whether a node accepts connections, and if not, [`suspect`](Liveness::suspect) it.
    Probe {
        /// The node.
        node: NodeId,
    },
}

impl Decision {
    /// The records that carry it out; to be asked for until there are none.
    ///
    /// # Errors
    /// It is overtaken by what happened since.
    pub fn records(&self, image: &Image) -> Result<Vec<Record>, Refusal> {
        match self {
            Self::Fence {
                node, broker_epoch, ..
            } => rules::fence_node(image, *node, *broker_epoch),
            Self::Unfence { node, broker_epoch } => {
                rules::unfence_node(image, *node, *broker_epoch)
            }
            Self::Drain { node, broker_epoch } => rules::stop_node(image, *node, *broker_epoch),
            Self::Resign {
                node,
                broker_epoch,
                ill,
            } => rules::resign_leaderships(image, *node, *broker_epoch, ill),
            Self::Offline {
                node,
                broker_epoch,
                partitions,
            } => rules::report_corrupt(image, *node, *broker_epoch, partitions),
            Self::Probe { .. } => Ok(Vec::new()),
        }
    }
}

/// What is known of one node's process.
#[derive(Clone, Debug)]
struct Contact {
    broker_epoch: BrokerEpoch,
    heard: Monotonic,
    well_since: Monotonic,
    facts: HeartbeatFacts,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    /// Since when silence counts; `None` while another node is the controller.
    listening_since: Option<Monotonic>,
    ticked: Monotonic,
    contacts: BTreeMap<NodeId, Contact>,
    gone: BTreeMap<NodeId, Monotonic>,
    probe: BTreeSet<NodeId>,
}

impl Liveness {
    /// Nobody was heard of, and somebody else is the controller.
    #[must_use]
    pub const fn new(config: LivenessConfig) -> Self {
        Self {
            config,
            listening_since: None,
            ticked: Monotonic::from_start(Duration::ZERO),
            contacts: BTreeMap::new(),
            gone: BTreeMap::new(),
            probe: BTreeSet::new(),
        }
    }

    /// This node is the active controller from now on.
    pub fn became_controller(&mut self, now: Monotonic) {
        *self = Self::new(self.config);
        self.listening_since = Some(now);
        self.ticked = now;
    }

    /// Another node is the active controller from now on.
    pub fn resigned(&mut self) {
        *self = Self::new(self.config);
    }

    /// A process of `node` was heard of.
    pub fn heartbeat(
        &mut self,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        now: Monotonic,
        facts: HeartbeatFacts,
    ) {
        let earlier = self.contacts.get(&node);
        if earlier.is_some_and(|earlier| earlier.broker_epoch > broker_epoch) {
            return;
        }
        self.gone.remove(&node);
        self.probe.extend(facts.suspects.iter().copied());
        let well = facts.disk == DiskState::Healthy && facts.offline.is_empty();
        let well_since = match earlier {
            Some(earlier)
                if well
                    && earlier.broker_epoch == broker_epoch
                    && now.since(earlier.heard) <= self.config.session =>
            {
                earlier.well_since
            }
            _ => now,
        };
        let contact = Contact {
            broker_epoch,
            heard: now,
            well_since,
            facts,
        };
        self.contacts.insert(node, contact);
    }

    /// What a process that sent a heartbeat is told.
    #[must_use]
    pub fn standing(image: &Image, node: NodeId, broker_epoch: BrokerEpoch) -> Standing {
        let known = image.node(node);
        let known = known.filter(|known| known.broker_epoch == broker_epoch);
        Standing {
            stale_epoch: known.is_none(),
            fenced: known.is_none_or(|known| known.fenced),
            drained: known.is_some_and(Node::is_draining) && rules::is_drained(image, node),
            version: image.version(),
        }
    }

    /// A connection to `node` closed, and a new one was refused: its process is gone.
    pub fn suspect(&mut self, node: NodeId, now: Monotonic) {
        self.gone.insert(node, now);
        // What it said before says nothing of it now; else it would be trusted again as soon as it
        // is fenced, and be elected.
        self.contacts.remove(&node);
    }

    /// The nodes that were well for long enough to be given leaderships back.
    #[must_use]
    pub fn stable(&self, now: Monotonic) -> BTreeSet<NodeId> {
        let stable = self.contacts.iter().filter(|(_, contact)| {
            now.since(contact.well_since) >= self.config.stable_after
                && now.since(contact.heard) < self.config.session
        });
        stable.map(|(node, _)| *node).collect()
    }

    /// What is to be done now; nothing while somebody else is the controller. To be called some
    /// times a second.
    pub fn tick(&mut self, now: Monotonic, image: &Image) -> Vec<Decision> {
        let Some(mut listening) = self.listening_since else {
            return Vec::new();
        };
        if now.since(self.ticked) > self.config.session / 3 {
            // This process stood still and heard nobody.
            listening = now;
            self.listening_since = Some(now);
        }
        self.ticked = now;
        self.contacts.retain(|node, _| image.node(*node).is_some());
        let mut decisions: Vec<Decision> = image
            .nodes()
            .filter_map(|node| self.judge(node, listening, now, image))
            .collect();
        for decision in &decisions {
            self.acted_on(decision, image);
        }
        let probes = std::mem::take(&mut self.probe).into_iter();
        let probes = probes.filter(|node| image.is_alive(*node) && !self.gone.contains_key(node));
        decisions.extend(probes.map(|node| Decision::Probe { node }));
        self.gone.retain(|node, _| image.is_alive(*node));
        decisions
    }

    /// A replica that could not be used when its node last said so may be in order a moment later,
    /// and its leader takes it in by what it has then. So each word of it takes it out once, and
    /// the next heartbeat says whether that still holds. Who is not trusted yet waits until it is
    /// done.
    fn acted_on(&mut self, decision: &Decision, image: &Image) {
        if let Decision::Offline {
            node, partitions, ..
        } = decision
            && image.is_alive(*node)
            && let Some(contact) = self.contacts.get_mut(node)
        {
            let offline = &mut contact.facts.offline;
            offline.retain(|key| !partitions.contains(key));
        }
    }

    /// Nodes whose disk keeps them from leading.
    fn ill(&self) -> BTreeSet<NodeId> {
        let ill = self.contacts.iter();
        let ill = ill.filter(|(_, contact)| contact.facts.disk != DiskState::Healthy);
        ill.map(|(node, _)| *node).collect()
    }

    fn judge(
        &self,
        node: &Node,
        listening: Monotonic,
        now: Monotonic,
        image: &Image,
    ) -> Option<Decision> {
        let contact = self.contacts.get(&node.id);
        let contact = contact.filter(|contact| contact.broker_epoch == node.broker_epoch);
        let heard = contact.map_or(listening, |contact| contact.heard.max(listening));
        let silent = now.since(heard);
        let (id, broker_epoch) = (node.id, node.broker_epoch);
        let fence = |why| {
            Some(Decision::Fence {
                node: id,
                broker_epoch,
                why,
            })
        };
        if !node.fenced {
            if self.gone.contains_key(&id) {
                return fence(FenceReason::Gone);
            }
            if silent >= self.config.session {
                return fence(FenceReason::Silent { silent });
            }
        }
        let Contact { facts, heard, .. } = contact?;
        match (node.fenced, facts.disk) {
            (true, DiskState::Failed) => None,
            (false, DiskState::Failed) => fence(FenceReason::DiskFailed),
            (true, DiskState::Healthy | DiskState::Slow | DiskState::Full) => {
                let here = now.since(*heard) < self.config.session;
                // The epoch is the version of the registration, so this one knows of it.
                let knows = facts.applied_version >= broker_epoch.0;
                let settled = image.in_sync_on(id) == 0;
                if !(here && knows && settled && facts.ready && !facts.drain) {
                    return None;
                }
                Some(match shunned(id, facts, image) {
                    partitions if partitions.is_empty() => Decision::Unfence {
                        node: id,
                        broker_epoch,
                    },
                    partitions => Decision::Offline {
                        node: id,
                        broker_epoch,
                        partitions,
                    },
                })
            }
            (false, disk) => employ(node, facts, disk, image, || self.ill()),
        }
    }
}

/// Partitions that a fenced node may lead as soon as it is trusted, with a log that it cannot use:
/// where others may come back with all of it, they are waited for.
fn shunned(id: NodeId, facts: &HeartbeatFacts, image: &Image) -> Vec<PartitionKey> {
    let offline = facts.offline.iter().copied().filter(|key| {
        let partition = image.partition_by_key(*key);
        partition.is_some_and(|p| p.elr.contains(&id) && p.elr.len() > 1)
    });
    offline.collect()
}

/// What becomes of the partitions of a node that is alive.
fn employ(
    node: &Node,
    facts: &HeartbeatFacts,
    disk: DiskState,
    image: &Image,
    all_ill: impl FnOnce() -> BTreeSet<NodeId>,
) -> Option<Decision> {
    let (id, broker_epoch) = (node.id, node.broker_epoch);
    if facts.drain && !node.drain.stopping {
        return Some(Decision::Drain {
            node: id,
            broker_epoch,
        });
    }
    let offline = facts.offline.iter().copied().filter(|key| {
        let partition = image.partition_by_key(*key);
        partition.is_some_and(|p| p.isr.contains(&id) || p.elr.contains(&id))
    });
    let partitions: Vec<PartitionKey> = offline.collect();
    let decision = Decision::Offline {
        node: id,
        broker_epoch,
        partitions,
    };
    if decision
        .records(image)
        .is_ok_and(|records| !records.is_empty())
    {
        return Some(decision);
    }
    if disk == DiskState::Healthy || image.leaderships_of(id) == 0 {
        return None;
    }
    let resign = Decision::Resign {
        node: id,
        broker_epoch,
        ill: all_ill(),
    };
    let useful = resign.records(image).is_ok_and(|r| !r.is_empty());
    useful.then_some(resign)
}
