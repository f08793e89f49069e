//! A leader's proposals for its ISRs (KIP-497, KIP-841, KIP-903) and what they do to ELRs
//! (KIP-966).

use super::change::{Change, Loads};
use super::fencing::process;
use crate::image::Image;
use crate::record::Record;
use crate::refusal::Refusal;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionKey};
use std::collections::BTreeSet;

/// Who a leader says is in sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    /// The partition.
    pub key: PartitionKey,
    /// The term in which the sender leads it.
    pub leader_epoch: LeaderEpoch,
    /// The version that the sender goes by.
    pub partition_epoch: PartitionEpoch,
    /// The whole ISR, the sender in it, each with the process that was seen to be in sync.
    pub new_isr: Vec<(NodeId, BrokerEpoch)>,
}

/// A node's proposals for partitions that it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartition {
    /// The node.
    pub node: NodeId,
    /// Its process.
    pub broker_epoch: BrokerEpoch,
    /// What it proposes.
    pub changes: Vec<IsrChange>,
}

/// Why an ISR is not changed. Only after [`Ineligible`](Self::Ineligible) and
/// [`NotAttempted`](Self::NotAttempted) may the leader go back to the ISR it had; else the same
/// proposal may have been carried out before, and it waits for the metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlterRefusal {
    /// There is no such partition.
    #[error("there is no such partition")]
    UnknownPartition,
    /// The sender does not lead it, or did so in an earlier term.
    #[error("the sender does not lead the partition in this term")]
    Fenced,
    /// The partition is at another version.
    #[error("the partition is at another version")]
    StaleVersion,
    /// The change was accepted, and with it the partition got another leader or a new term.
    #[error("the change was made, and with it the leader's term ended")]
    NewLeader,
    /// These were not in sync as the processes they are now, are fenced, stopping or unknown.
    #[error("nodes {0:?} cannot be in sync")]
    Ineligible(Vec<NodeId>),
    /// The ISR is none for this partition: without its leader, with a stranger, or one twice.
    #[error("the proposed ISR is none for this partition")]
    NotAttempted,
    /// The sender is not the node's current process.
    #[error("the sender's broker epoch is not its current one")]
    StaleBrokerEpoch,
}

/// What becomes of proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// What carries out those that are accepted.
    pub records: Vec<Record>,
    /// What became of each, in their order: the partition's version with the records applied.
    pub outcomes: Vec<Result<PartitionEpoch, AlterRefusal>>,
}

/// Carries out a leader's proposals, each by itself.
///
/// Kafka also refuses to let the ISR of a leader grow that still recovers from an unclean
/// election. There is no such state here: logs are inspected before the election.
///
/// # Errors
/// The sender is not the node's current process; nothing was attempted, then.
pub fn alter_partition(image: &Image, wish: &AlterPartition) -> Result<Altered, Refusal> {
    process(image, wish.node, wish.broker_epoch)?;
    let mut loads = Loads::of(image);
    let mut altered = Altered {
        records: Vec::new(),
        outcomes: Vec::with_capacity(wish.changes.len()),
    };
    let mut seen = BTreeSet::new();
    for proposal in &wish.changes {
        let outcome = if seen.insert(proposal.key) {
            accept(image, wish.node, proposal, &mut loads)
        } else {
            Err(AlterRefusal::StaleVersion)
        };
        altered.outcomes.push(outcome.and_then(|(record, outcome)| {
            altered.records.push(record);
            outcome
        }));
    }
    Ok(altered)
}

type Accepted = (Record, Result<PartitionEpoch, AlterRefusal>);

fn accept(
    image: &Image,
    sender: NodeId,
    proposal: &IsrChange,
    loads: &mut Loads<'_>,
) -> Result<Accepted, AlterRefusal> {
    let mut change = Change::of(image, proposal.key).ok_or(AlterRefusal::UnknownPartition)?;
    let old = change.old;
    // A newer epoch than ours was carried out by somebody whose records are still to come.
    if proposal.leader_epoch > old.leader_epoch {
        return Err(AlterRefusal::StaleVersion);
    }
    if proposal.leader_epoch < old.leader_epoch || old.leader != Some(sender) {
        return Err(AlterRefusal::Fenced);
    }
    if proposal.partition_epoch != old.partition_epoch {
        return Err(AlterRefusal::StaleVersion);
    }
    let isr: Vec<NodeId> = proposal.new_isr.iter().map(|(node, _)| *node).collect();
    let distinct: BTreeSet<NodeId> = isr.iter().copied().collect();
    if !isr.contains(&sender)
        || distinct.len() != isr.len()
        || !isr.iter().all(|node| old.replicas.contains(node))
    {
        return Err(AlterRefusal::NotAttempted);
    }
    let ineligible = proposal.new_isr.iter().filter(|(node, epoch)| {
        let known = image.node(*node);
        known.is_none_or(|known| {
            // One that is about to stop may stay in sync, but not come in.
            let leaving = !known.may_be_in_sync() && !old.isr.contains(node);
            known.fenced || leaving || known.broker_epoch != *epoch
        })
    });
    let ineligible: Vec<NodeId> = ineligible.map(|(node, _)| *node).collect();
    if !ineligible.is_empty() {
        return Err(AlterRefusal::Ineligible(ineligible));
    }
    change.in_sync(isr);
    let version = PartitionEpoch(old.partition_epoch.0 + 1);
    let record = change.finish(loads).unwrap_or_else(|| {
        let mut state = old.assignment();
        state.partition_epoch = version;
        Record::PartitionChanged {
            id: proposal.key.topic,
            partition: proposal.key.index,
            state,
        }
    });
    let same_term = matches!(
        &record,
        Record::PartitionChanged { state, .. } if state.leader_epoch == old.leader_epoch
    );
    let outcome = if same_term {
        Ok(version)
    } else {
        Err(AlterRefusal::NewLeader)
    };
    Ok((record, outcome))
}
