//! Who is in sync, as the leader of one partition sees it and proposes it to the controller.
//!
//! Pure: facts and the time go in, steps come out. The controller decides; the leader keeps one
//! change in flight. An expansion holds back the high watermark from before it is proposed, a
//! shrink only once it is committed.
//!
//! The maximal ISR holds the committed ISR and every member that is proposed (R4), and nobody is
//! proposed whose position is below the high watermark while it counts (R3).

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey,
};

use crate::config::Config;

/// A change of one partition's ISR, for the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The partition.
    pub key: PartitionKey,
    /// The term in which it is proposed.
    pub leader_epoch: LeaderEpoch,
    /// The version that it changes.
    pub partition_epoch: PartitionEpoch,
    /// The members, each with the uptime in which it was seen to be in sync.
    pub new_isr: Vec<(NodeId, BrokerEpoch)>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is committed, as this version.
    Changed(PartitionEpoch),
    /// It is certain that it was not applied: a member is not eligible, or it was not attempted.
    Rejected,
    /// Another version rules; the metadata will tell.
    Stale,
    /// Nobody knows: no answer, no controller, a full queue.
    Unknown,
}

/// What the leader knows of one follower now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) node: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    /// It has a session that confirmed its position.
    pub(crate) attached: bool,
    /// It is assigned, not fenced, and the session is of its current uptime.
    pub(crate) fit: bool,
    /// The controller has fenced it.
    pub(crate) fenced: bool,
    /// Its disk failed, or it lost what it had.
    pub(crate) faulted: bool,
    /// The end by which it counts.
    pub(crate) position: Offset,
    pub(crate) log_end: Offset,
    pub(crate) caught_up: Option<Monotonic>,
}

/// The leader's own offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) node: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) high_watermark: Offset,
    /// The end by which the leader counts.
    pub(crate) position: Offset,
    pub(crate) leso: Offset,
    pub(crate) min_isr: usize,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The maximal or committed ISR is another.
    Rule,
    Propose(IsrProposal),
    Event(String),
}

#[derive(Clone, Debug)]
struct Pending {
    members: Vec<NodeId>,
    proposal: IsrProposal,
    sent_at: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    caught_up: Monotonic,
    eligible_since: Option<Monotonic>,
    not_before: Monotonic,
    hold: Duration,
    evicted_at: Option<Monotonic>,
}

/// The ISR of one term.
#[derive(Clone, Debug)]
pub(crate) struct Isr {
    key: PartitionKey,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    committed: Vec<NodeId>,
    pending: Option<Pending>,
    /// Counts already, but is not proposed yet: the high watermark waits for it.
    joining: Option<(NodeId, Monotonic)>,
    members: BTreeMap<NodeId, Member>,
    high_watermark: (Offset, Monotonic),
    began: Monotonic,
}

const LONGEST_HOLD: Duration = Duration::from_secs(60);
const FLAP_MEMORY: Duration = Duration::from_secs(600);

impl Isr {
    pub(crate) fn new(
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        committed: Vec<NodeId>,
        now: Monotonic,
    ) -> Self {
        Self {
            key,
            leader_epoch,
            partition_epoch,
            committed,
            pending: None,
            joining: None,
            members: BTreeMap::new(),
            high_watermark: (Offset::ZERO, now),
            began: now,
        }
    }

    pub(crate) fn committed(&self) -> &[NodeId] {
        &self.committed
    }

    #[cfg(test)]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Committed, proposed and joining members (R4).
    pub(crate) fn maximal(&self) -> Vec<NodeId> {
        let mut maximal = self.committed.clone();
        let proposed = self.pending.iter().flat_map(|pending| &pending.members);
        for node in proposed.chain(self.joining.iter().map(|(node, _)| node)) {
            if !maximal.contains(node) {
                maximal.push(*node);
            }
        }
        maximal
    }

    /// The metadata says so. Returns whether the rule is another.
    pub(crate) fn metadata(&mut self, partition_epoch: PartitionEpoch, isr: &[NodeId]) -> bool {
        if partition_epoch < self.partition_epoch
            || partition_epoch == self.partition_epoch && isr == self.committed
        {
            return false;
        }
        if partition_epoch > self.partition_epoch {
            // What was proposed for an earlier version is decided, one way or the other.
            self.pending = None;
        }
        self.partition_epoch = partition_epoch;
        self.committed = isr.to_vec();
        true
    }

    /// The controller answered. Returns whether the rule is another.
    pub(crate) fn decided(&mut self, decision: Decision) -> bool {
        let Some(pending) = &self.pending else {
            return false;
        };
        match decision {
            Decision::Changed(epoch) if epoch > self.partition_epoch => {
                let members = pending.members.clone();
                self.partition_epoch = epoch;
                self.committed = members;
                self.pending = None;
                true
            }
            Decision::Rejected => {
                self.pending = None;
                true
            }
            // It may have been applied: the proposed members go on counting, and the tick asks
            // again until the metadata tells.
            Decision::Changed(_) | Decision::Stale | Decision::Unknown => false,
        }
    }

    pub(crate) fn tick(
        &mut self,
        config: &Config,
        now: Monotonic,
        own: &Own,
        facts: &[Facts],
    ) -> Vec<Step> {
        self.observe(config, now, own, facts);
        if let Some(pending) = &mut self.pending {
            if now.since(pending.sent_at) < config.proposal_retry {
                return Vec::new();
            }
            pending.sent_at = now;
            return vec![Step::Propose(pending.proposal.clone())];
        }
        let leaving = self.leaving(config, now, own, facts);
        if !leaving.is_empty() {
            return self.shrink(config, now, own, facts, &leaving);
        }
        if let Some((node, since)) = self.joining {
            return self.settle_joiner(config, now, own, facts, node, since);
        }
        self.find_joiner(config, now, own, facts)
    }

    fn observe(&mut self, config: &Config, now: Monotonic, own: &Own, facts: &[Facts]) {
        if own.high_watermark > self.high_watermark.0 || own.high_watermark >= own.position {
            self.high_watermark = (own.high_watermark, now);
        }
        for fact in facts {
            let member = self.members.entry(fact.node).or_insert(Member {
                caught_up: self.began,
                eligible_since: None,
                not_before: self.began,
                hold: config.join_hold,
                evicted_at: None,
            });
            if let Some(at) = fact.caught_up {
                member.caught_up = member.caught_up.max(at);
            }
            let eligible = fact.attached
                && fact.fit
                && !fact.faulted
                && fact.caught_up.is_some()
                && fact.log_end >= own.leso
                && now.since(member.caught_up) <= config.join_lag;
            if !eligible {
                member.eligible_since = None;
            } else if member.eligible_since.is_none() {
                member.eligible_since = Some(now);
            }
        }
    }

    fn leaving(&self, config: &Config, now: Monotonic, own: &Own, facts: &[Facts]) -> Vec<NodeId> {
        let followers = self.committed.iter().filter(|node| **node != own.node);
        let known: Vec<&Facts> = followers
            .filter_map(|node| facts.iter().find(|fact| fact.node == *node))
            .collect();
        let slow = |fact: &&&Facts| {
            let caught_up = self.members.get(&fact.node).map_or(now, |m| m.caught_up);
            fact.faulted || fact.fenced || now.since(caught_up) > config.lag_max
        };
        let leaving: Vec<NodeId> = known.iter().filter(slow).map(|fact| fact.node).collect();
        if !leaving.is_empty() || now.since(self.high_watermark.1) <= config.commit_stall {
            return leaving;
        }
        let holding: Vec<NodeId> = known
            .iter()
            .filter(|fact| fact.position <= own.high_watermark && fact.position < own.position)
            .map(|fact| fact.node)
            .collect();
        if self.committed.len() >= own.min_isr + holding.len() {
            holding
        } else {
            Vec::new()
        }
    }

    fn shrink(
        &mut self,
        config: &Config,
        now: Monotonic,
        own: &Own,
        facts: &[Facts],
        leaving: &[NodeId],
    ) -> Vec<Step> {
        for node in leaving {
            if let Some(member) = self.members.get_mut(node) {
                let again = member
                    .evicted_at
                    .is_some_and(|at| now.since(at) < FLAP_MEMORY);
                member.hold = if again {
                    (member.hold * 2).min(LONGEST_HOLD)
                } else {
                    config.join_hold
                };
                member.evicted_at = Some(now);
                member.eligible_since = None;
            }
        }
        let stay = |node: &&NodeId| !leaving.contains(node);
        let members = self.committed.iter().filter(stay).copied().collect();
        let leavers: Vec<String> = leaving.iter().map(ToString::to_string).collect();
        let why = format!("shrink: {} leave", leavers.join(", "));
        // A joiner that waits must not be lost from the rule while the shrink is in flight.
        let joining = self.joining.take().is_some();
        let mut steps = self.propose(now, own, facts, members, why);
        if joining {
            steps.push(Step::Rule);
        }
        steps
    }

    fn settle_joiner(
        &mut self,
        config: &Config,
        now: Monotonic,
        own: &Own,
        facts: &[Facts],
        node: NodeId,
        since: Monotonic,
    ) -> Vec<Step> {
        let fact = facts.iter().find(|fact| fact.node == node);
        let fact = fact.filter(|fact| fact.attached && fact.fit && !fact.faulted);
        if fact.is_some_and(|fact| fact.position >= own.high_watermark) {
            self.joining = None;
            let mut members = self.committed.clone();
            members.push(node);
            return self.propose(now, own, facts, members, format!("expand: {node} joins"));
        }
        if fact.is_some() && now.since(since) <= config.join_freeze {
            return Vec::new();
        }
        self.joining = None;
        if let Some(member) = self.members.get_mut(&node) {
            member.not_before = now + config.join_hold;
        }
        vec![Step::Rule]
    }

    fn find_joiner(
        &mut self,
        _config: &Config,
        now: Monotonic,
        own: &Own,
        facts: &[Facts],
    ) -> Vec<Step> {
        for fact in facts {
            if self.committed.contains(&fact.node) {
                continue;
            }
            let Some(member) = self.members.get(&fact.node) else {
                continue;
            };
            let stable = member
                .eligible_since
                .is_some_and(|since| now.since(since) >= member.hold);
            if stable && now >= member.not_before && fact.log_end >= own.leso {
                self.joining = Some((fact.node, now));
                return vec![Step::Rule];
            }
        }
        Vec::new()
    }

    fn propose(
        &mut self,
        now: Monotonic,
        own: &Own,
        facts: &[Facts],
        members: Vec<NodeId>,
        why: String,
    ) -> Vec<Step> {
        let epoch_of = |node: &NodeId| {
            let fact = facts.iter().find(|fact| fact.node == *node);
            if *node == own.node {
                own.broker_epoch
            } else {
                fact.map_or(BrokerEpoch::default(), |fact| fact.broker_epoch)
            }
        };
        let joined = |node: &NodeId| !self.committed.contains(node);
        debug_assert!(
            facts
                .iter()
                .filter(|fact| members.contains(&fact.node) && joined(&fact.node))
                .all(|fact| fact.position >= own.high_watermark),
            "R3"
        );
        let proposal = IsrProposal {
            key: self.key,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            new_isr: members.iter().map(|node| (*node, epoch_of(node))).collect(),
        };
        self.pending = Some(Pending {
            members,
            proposal: proposal.clone(),
            sent_at: now,
        });
        debug_assert!(
            self.committed
                .iter()
                .all(|node| self.maximal().contains(node)),
            "R4"
        );
        vec![Step::Propose(proposal), Step::Event(why)]
    }
}

#[cfg(test)]
mod tests;
