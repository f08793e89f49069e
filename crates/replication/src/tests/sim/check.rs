//! What must hold in the whole world, after every step.

use plimsoll_types::NodeId;

use super::node::{Node, Record, Role};
use super::world::World;
use crate::leader::{Counts, Lease};

/// Everything that some leader has ever called committed, in order.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) records: Vec<Record>,
}

impl Ledger {
    /// A leader's high watermark is here now.
    pub(super) fn commit(&mut self, node: &Node, high_watermark: u64) -> Result<(), String> {
        for (offset, record) in node.log.records[..high_watermark as usize]
            .iter()
            .enumerate()
        {
            match self.records.get(offset) {
                Some(known) if known != record => {
                    return Err(format!(
                        "R2: {offset} was {known:?}, is {record:?} at {}",
                        node.id
                    ));
                }
                Some(_) => {}
                None => self.records.push(*record),
            }
        }
        Ok(())
    }
}

impl World {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let ledger = &self.ledger.records;
        for node in self.nodes.values() {
            let log = &node.log;
            if log.high_watermark > log.end() || log.durable > log.end() {
                return Err(format!(
                    "R5: {} has its high watermark above its end",
                    node.id
                ));
            }
            let known = (log.high_watermark as usize).min(ledger.len());
            if log.high_watermark as usize > ledger.len() {
                return Err(format!(
                    "R5: {} knows more committed than there is",
                    node.id
                ));
            }
            if log.records[..known] != ledger[..known] {
                return Err(format!("R2: {} differs below its high watermark", node.id));
            }
        }
        for id in self.state.isr.iter().chain(&self.state.elr) {
            let node = &self.nodes[id];
            if !node.wiped && !self.has_committed(node) {
                let held = match self.state.counts {
                    Counts::Durable => node.log.durable,
                    Counts::Written => node.log.end(),
                };
                let all = ledger.len();
                return Err(format!("R3: candidate {id} has {held} of {all} committed"));
            }
        }
        self.check_quorum()?;
        self.check_leases()
    }

    /// Whether what `node` would keep in a crash holds all that is committed.
    pub(super) fn has_committed(&self, node: &Node) -> bool {
        let ledger = &self.ledger.records;
        let held = match self.state.counts {
            Counts::Durable => node.log.durable,
            Counts::Written => node.log.end(),
        };
        held as usize >= ledger.len() && node.log.records[..ledger.len()] == ledger[..]
    }

    fn check_quorum(&self) -> Result<(), String> {
        let leader = self.state.leader.map(|id| &self.nodes[&id]);
        if let Some(Node {
            role: Role::Leading(leading),
            up: true,
            ..
        }) = leader
            && leading.machine.leader_epoch() == self.state.leader_epoch
            && leading.tenure.rule.committed_isr >= leading.tenure.rule.min_isr
        {
            let counts = |id: &&NodeId| !leading.tenure.rule.maximal_isr.contains(id);
            if let Some(missing) = self.state.isr.iter().chain(&self.state.elr).find(counts) {
                return Err(format!("R4: {missing} may be elected and does not count"));
            }
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), String> {
        let leaders = self.nodes.values().filter_map(|node| match &node.role {
            Role::Leading(leading) if node.up => Some(leading),
            Role::Leading(_) | Role::Following(_) | Role::Idle => None,
        });
        let newest = leaders.clone().map(|l| l.machine.leader_epoch()).max();
        for leading in leaders {
            let epoch = leading.machine.leader_epoch();
            let holds = matches!(leading.machine.lease(), Lease::Until(until) if until > self.now);
            if Some(epoch) < newest && holds {
                return Err(format!("the lease of epoch {epoch} outlives its election"));
            }
        }
        Ok(())
    }

    pub(super) fn converged(&self) -> Result<(), String> {
        let Some(leader) = self.state.leader.map(|id| &self.nodes[&id]) else {
            return Err(format!(
                "no leader, ISR {:?}, ELR {:?}",
                self.state.isr, self.state.elr
            ));
        };
        if self.state.isr.len() != self.nodes.len() {
            let peers: Vec<_> = match &leader.role {
                Role::Leading(leading) => leading.machine.peers(self.now).collect(),
                Role::Idle | Role::Following(_) => Vec::new(),
            };
            return Err(format!(
                "ISR {:?} of {:?}: {peers:?}",
                self.state.isr, leader.id
            ));
        }
        for node in self.nodes.values() {
            if node.log.records != leader.log.records {
                return Err(format!("{} and its leader {} differ", node.id, leader.id));
            }
            if node.log.high_watermark != leader.log.end() {
                let end = leader.log.end();
                return Err(format!(
                    "{} at {} of {end}",
                    node.id, node.log.high_watermark
                ));
            }
        }
        Ok(())
    }
}
