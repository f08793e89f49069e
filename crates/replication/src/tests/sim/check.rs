//! What must hold in the whole world, after every step, and what holds when all is well again.

use plimsoll_types::{LeaderEpoch, NodeId};

use super::metadata::partition;
use super::node::{End, Log, Node, Record, Role};
use super::world::World;
use crate::leader::Lease;

/// Everything that some leader has ever called committed, in order.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) records: Vec<Record>,
}

impl Ledger {
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// A leader's high watermark is here now.
    pub(super) fn commit(&mut self, node: &Node) -> Result<(), String> {
        let high_watermark = node.log.high_watermark;
        if node.log.start > self.end() {
            return Err(format!(
                "R5: {} begins above all that is committed",
                node.id
            ));
        }
        for offset in self.end()..high_watermark {
            let Some(record) = node.log.get(offset) else {
                return Err(format!("R5: {} commits {offset}, past its end", node.id));
            };
            self.records.push(*record);
        }
        // What is committed anew is looked at again, in case it was committed otherwise before.
        self.compare(node, high_watermark.saturating_sub(8))
    }

    /// Whether `node` has below its high watermark what was committed there, from `from` on.
    fn compare(&self, node: &Node, from: u64) -> Result<(), String> {
        let to = node.log.high_watermark.min(self.end());
        let from = from.max(node.log.start).min(to);
        let known = &self.records[from as usize..to as usize];
        let held = node.log.slice(from, to.min(node.log.end()).max(from));
        if known == held {
            return Ok(());
        }
        let differs = known.iter().zip(held).position(|(a, b)| a != b);
        let at = from + differs.unwrap_or(held.len()) as u64;
        let is = node.log.get(at);
        let was = self.records[at as usize];
        Err(format!("R2: {at} was {was:?}, is {is:?} at {}", node.id))
    }
}

impl World {
    /// Whether a replica in this epoch has heard of the last unclean election, if any: what one
    /// says that has not is not true any more, and need not be.
    pub(super) fn is_of_this_line(&self, epoch: LeaderEpoch) -> bool {
        let unclean = partition(self.image()).unclean_epoch;
        unclean.is_none_or(|unclean| epoch >= unclean)
    }

    /// What can go wrong between two ticks.
    pub(super) fn check(&mut self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        for node in self.nodes.values_mut() {
            let log = &node.log;
            if log.high_watermark > log.end() || log.durable > log.end() {
                let id = node.id;
                return Err(format!("R5: {id} has its high watermark above its end"));
            }
            if node.up && log.high_watermark < node.seen.1 {
                let id = node.id;
                return Err(format!("R5: the high watermark of {id} goes back"));
            }
            node.seen.1 = log.high_watermark;
        }
        let image = partition(self.image());
        for id in image.isr.iter().chain(image.elr.iter()) {
            let node = &self.nodes[id];
            let held = node.log.counted(self.counts);
            if node.end == End::Harmless && held < self.ledger.end() {
                let all = self.ledger.end();
                return Err(format!("R3: candidate {id} has {held} of {all} committed"));
            }
        }
        self.check_quorum()?;
        self.check_leases()
    }

    /// And every record.
    pub(super) fn check_all(&mut self) -> Result<(), String> {
        self.check()?;
        for node in self.nodes.values() {
            let follows = match &node.role {
                Role::Following(follower) => follower.session().is_some(),
                Role::Leading(_) => true,
                Role::Idle => false,
            };
            if !follows || !self.is_of_this_line(node.seen.0) {
                continue;
            }
            if node.log.high_watermark > self.ledger.end() {
                let id = node.id;
                return Err(format!("R5: {id} knows more committed than there is"));
            }
            self.ledger.compare(node, 0)?;
        }
        let image = partition(self.image());
        for id in image.isr.iter().chain(image.elr.iter()) {
            if self.nodes[id].end == End::Harmless && !self.has_committed(*id) {
                return Err(format!("R3: candidate {id} has not all that is committed"));
            }
        }
        Ok(())
    }

    /// Whether what `id` would keep in a crash holds all that is committed.
    pub(super) fn has_committed(&self, id: NodeId) -> bool {
        let (log, ledger): (&Log, _) = (&self.nodes[&id].log, &self.ledger);
        let start = log.start.min(ledger.end());
        log.start <= ledger.end()
            && log.counted(self.counts) >= ledger.end()
            && log.slice(log.start, ledger.end()) == &ledger.records[start as usize..]
    }

    fn check_quorum(&self) -> Result<(), String> {
        let image = partition(self.image());
        let leader = image.leader.map(|id| &self.nodes[&id]);
        if let Some(Node {
            role: Role::Leading(leading),
            up: true,
            ..
        }) = leader
            && leading.machine.leader_epoch() == image.leader_epoch
            && leading.tenure.rule.committed_isr >= leading.tenure.rule.min_isr
        {
            let counts = |id: &&NodeId| !leading.tenure.rule.maximal_isr.contains(id);
            if let Some(missing) = image.isr.iter().chain(image.elr.iter()).find(counts) {
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
        let image = partition(self.image());
        let Some(leader) = image.leader.map(|id| &self.nodes[&id]) else {
            return Err(format!(
                "no leader, ISR {:?}, ELR {:?}, before that {:?}",
                image.isr, image.elr, image.last_known_elr
            ));
        };
        if image.isr.len() != image.replicas.len() || image.is_reassigning() {
            let peers: Vec<_> = match &leader.role {
                Role::Leading(leading) => leading.machine.peers(self.now).collect(),
                Role::Idle | Role::Following(_) => Vec::new(),
            };
            return Err(format!(
                "ISR {:?} of {:?}: {peers:?}",
                image.isr, image.replicas
            ));
        }
        for id in image.replicas.iter() {
            let (node, end) = (&self.nodes[id], leader.log.end());
            if node.damaged {
                return Err(format!("{id} still has a damaged log"));
            }
            let start = node.log.start.max(leader.log.start);
            if node.log.end() != end || node.log.slice(start, end) != leader.log.slice(start, end) {
                return Err(format!("{id} and its leader {} differ", leader.id));
            }
            if node.log.high_watermark != end {
                return Err(format!("{id} at {} of {end}", node.log.high_watermark));
            }
        }
        Ok(())
    }
}
