//! A toy controller: versions of one partition's metadata, changed by optimistic transactions.

use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};

use crate::leader::{Counts, Decision, Proposal, ReplicaView, View};

/// The metadata at one version.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) version: u64,
    pub(super) leader: Option<NodeId>,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) isr: Vec<NodeId>,
    pub(super) elr: Vec<NodeId>,
    pub(super) min_isr: usize,
    pub(super) counts: Counts,
    /// Uptime of each node, and whether it is fenced.
    pub(super) nodes: Vec<(NodeId, BrokerEpoch, bool)>,
}

impl State {
    pub(super) fn broker_epoch(&self, node: NodeId) -> BrokerEpoch {
        let found = self.nodes.iter().find(|(id, ..)| *id == node);
        found.map_or(BrokerEpoch(0), |(_, epoch, _)| *epoch)
    }

    pub(super) fn fenced(&self, node: NodeId) -> bool {
        self.nodes
            .iter()
            .any(|(id, _, fenced)| *id == node && *fenced)
    }

    pub(super) fn view(&self) -> View {
        let replica = |(node, epoch, fenced): &(NodeId, BrokerEpoch, bool)| ReplicaView {
            node: *node,
            broker_epoch: Some(*epoch),
            eligible: !fenced,
        };
        View {
            partition_epoch: self.partition_epoch,
            replicas: self.nodes.iter().map(replica).collect(),
            isr: self.isr.clone(),
            elr: self.elr.clone(),
            min_isr: self.min_isr,
            counts: self.counts,
        }
    }

    /// The rule for an ISR change, judged on this version.
    pub(super) fn judge(
        &self,
        me: NodeId,
        epoch: LeaderEpoch,
        proposal: &Proposal,
    ) -> Option<Decision> {
        if self.leader != Some(me) || self.leader_epoch != epoch {
            return Some(Decision::Superseded);
        }
        if self.partition_epoch != proposal.partition_epoch {
            return Some(Decision::StaleVersion);
        }
        let misfit = |(node, epoch): &&(NodeId, BrokerEpoch)| {
            self.fenced(*node) || self.broker_epoch(*node) != *epoch
        };
        let misfits: Vec<_> = proposal
            .new_isr
            .iter()
            .filter(misfit)
            .map(|(n, _)| *n)
            .collect();
        (!misfits.is_empty()).then_some(Decision::Ineligible(misfits))
    }

    /// A change of this version: what leaves below min ISR stays eligible.
    pub(super) fn set_isr(&mut self, isr: Vec<NodeId>) {
        let before = std::mem::replace(&mut self.isr, isr);
        if self.isr.len() >= self.min_isr {
            self.elr.clear();
        } else {
            self.elr.extend(before);
            self.elr.sort_unstable();
            self.elr.dedup();
            self.elr.retain(|node| !self.isr.contains(node));
        }
        self.partition_epoch = PartitionEpoch(self.partition_epoch.0 + 1);
    }

    /// A node is out of everything it held; `lossy` when it may have lost what it had.
    pub(super) fn out(&mut self, node: NodeId, lossy: bool) {
        if self.isr.contains(&node) || self.leader == Some(node) {
            let rest = self.isr.iter().copied().filter(|n| *n != node).collect();
            self.set_isr(rest);
        }
        if lossy && self.elr.contains(&node) {
            self.elr.retain(|n| *n != node);
            self.partition_epoch = PartitionEpoch(self.partition_epoch.0 + 1);
        }
        if self.leader == Some(node) {
            self.leader = None;
            self.leader_epoch = self.leader_epoch.next();
        }
        self.elect();
    }

    pub(super) fn elect(&mut self) {
        if self.leader.is_some() {
            return;
        }
        let alive = |node: &&NodeId| !self.fenced(**node);
        let from_isr = self.isr.iter().find(alive).copied();
        let chosen = from_isr.or_else(|| {
            let free = self.isr.is_empty();
            self.elr.iter().filter(|_| free).find(alive).copied()
        });
        let Some(leader) = chosen else { return };
        if from_isr.is_none() {
            self.elr.retain(|node| *node != leader);
            self.isr = vec![leader];
        }
        self.leader = Some(leader);
        self.leader_epoch = self.leader_epoch.next();
        self.partition_epoch = PartitionEpoch(self.partition_epoch.0 + 1);
    }
}

/// A transaction on its way to the controller.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) node: NodeId,
    pub(super) expected_version: u64,
    pub(super) proposal: Proposal,
}
