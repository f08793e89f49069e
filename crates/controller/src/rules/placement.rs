//! Which nodes hold which replicas.

use crate::image::{Image, Node};
use crate::limits::Limits;
use crate::record::Assignment;
use crate::refusal::{AssignmentFault, Refusal};
use plimsoll_types::NodeId;
use std::collections::BTreeMap;

/// Spreads `partitions` over the nodes that are neither fenced nor draining, those that hold least
/// first, and over their racks. The first replica of each, which leads it, goes around as well, and
/// so do the followers of each leader. Others take a replica only where there are too few.
pub(super) fn spread(
    image: &Image,
    limits: &Limits,
    partitions: u32,
    factor: u32,
) -> Result<Vec<Assignment>, Refusal> {
    let registered: Vec<NodeId> = image.nodes().map(|node| node.id).collect();
    let replicas = usize::try_from(factor).unwrap_or(usize::MAX);
    let nodes = registered.len();
    if replicas > nodes {
        return Err(Refusal::NotEnoughNodes { factor, nodes });
    }
    let (mut usable, mut others): (Vec<_>, Vec<_>) =
        image.nodes().partition(|node| node.is_usable());
    if usable.is_empty() {
        return Err(Refusal::NoUsableNodes { nodes });
    }
    let load = |node: &&Node| (image.replicas_on(node.id), node.id);
    usable.sort_by_key(load);
    others.sort_by_key(load);
    // Before anything is built: the count is the client's, up to two thousand million.
    let targets: Vec<NodeId> = if replicas > usable.len() {
        registered
    } else {
        usable.iter().map(|node| node.id).collect()
    };
    let wanted = u64::from(partitions) * u64::from(factor);
    check_total(image, limits, &targets, wanted)?;
    let racks = Racks::of(&usable);
    let around = racks.interleaved(&usable);
    let assignments: Vec<_> = (0..partitions)
        .map(|partition| {
            let mut chosen = racks.pick(&around, partition, replicas);
            let left = replicas.saturating_sub(chosen.len());
            chosen.extend(others.iter().take(left).map(|node| node.id));
            fresh(image, chosen)
        })
        .collect();
    check_room(image, limits, &assignments)?;
    Ok(assignments)
}

/// Which failure zone a node is in; every node one of its own where not all say.
struct Racks(BTreeMap<NodeId, String>);

impl Racks {
    fn of(nodes: &[&Node]) -> Self {
        let known = nodes.iter().all(|node| node.rack.is_some());
        let rack = |node: &&Node| match &node.rack {
            Some(rack) if known => rack.clone(),
            _ => node.id.to_string(),
        };
        Self(nodes.iter().map(|node| (node.id, rack(node))).collect())
    }

    /// The nodes in their order, but those of one rack as far apart as can be.
    fn interleaved(&self, nodes: &[&Node]) -> Vec<NodeId> {
        let mut seen: BTreeMap<Option<&String>, usize> = BTreeMap::new();
        let mut rounds: Vec<(usize, NodeId)> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let round = seen.entry(self.0.get(&node.id)).or_default();
            rounds.push((*round, node.id));
            *round += 1;
        }
        rounds.sort_by_key(|(round, _)| *round);
        rounds.into_iter().map(|(_, node)| node).collect()
    }

    /// A leader, by turns, and followers: each in a rack without a replica while there is one.
    fn pick(&self, around: &[NodeId], partition: u32, replicas: usize) -> Vec<NodeId> {
        let count = around.len();
        let partition = usize::try_from(partition).unwrap_or(0);
        let (leader, turn) = (partition % count.max(1), partition / count.max(1));
        let mut chosen: Vec<NodeId> = around.get(leader).copied().into_iter().collect();
        let others = (1..count).map(|step| (leader + step) % count);
        let mut others: Vec<NodeId> = others.filter_map(|at| around.get(at).copied()).collect();
        if !others.is_empty() {
            let turn = turn % others.len();
            others.rotate_left(turn);
        }
        while chosen.len() < replicas && !others.is_empty() {
            let new_rack = |node: &NodeId| {
                let rack = self.0.get(node);
                !chosen.iter().any(|taken| self.0.get(taken) == rack)
            };
            let next = others.iter().position(new_rack).unwrap_or(0);
            chosen.push(others.remove(next));
        }
        chosen
    }
}

/// Takes a client's assignment: one list of nodes a partition.
pub(super) fn manual(
    image: &Image,
    limits: &Limits,
    partitions: &[&[i32]],
    factor: Option<usize>,
) -> Result<Vec<Assignment>, Refusal> {
    let mut factor = factor;
    let mut assignments = Vec::with_capacity(partitions.len());
    for (partition, brokers) in partitions.iter().enumerate() {
        let expected = *factor.get_or_insert(brokers.len());
        if brokers.is_empty() {
            return Err(AssignmentFault::NoReplicas.into());
        }
        let replicas = known_nodes(image, brokers)?;
        if brokers.len() != expected {
            let replicas = brokers.len();
            return Err(AssignmentFault::Uneven { replicas, expected }.into());
        }
        let assignment = fresh(image, replicas);
        if assignment.leader.is_none() {
            return Err(AssignmentFault::AllFenced { partition }.into());
        }
        assignments.push(assignment);
    }
    check_room(image, limits, &assignments)?;
    Ok(assignments)
}

pub(super) fn known_nodes(image: &Image, brokers: &[i32]) -> Result<Vec<NodeId>, AssignmentFault> {
    let mut nodes = Vec::with_capacity(brokers.len().min(image.nodes().len()));
    for &broker in brokers {
        let node = NodeId::from_wire(broker)
            .filter(|node| image.node(*node).is_some())
            .ok_or(AssignmentFault::NoSuchNode { node: broker })?;
        if nodes.contains(&node) {
            return Err(AssignmentFault::NodeRepeated { node: broker });
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// A new partition: whoever is there is in sync, as all are empty, and the first one leads.
fn fresh(image: &Image, replicas: Vec<NodeId>) -> Assignment {
    let there = replicas.iter().copied();
    let isr: Vec<NodeId> = there.filter(|node| image.is_usable(*node)).collect();
    Assignment {
        leader: isr.first().copied(),
        isr,
        replicas,
        ..Assignment::default()
    }
}

fn check_total(
    image: &Image,
    limits: &Limits,
    nodes: &[NodeId],
    wanted: u64,
) -> Result<(), Refusal> {
    let limit = limits.max_partitions_per_node;
    let held: u64 = nodes
        .iter()
        .map(|node| u64::from(image.replicas_on(*node)))
        .sum();
    let room = u64::from(limit) * u64::try_from(nodes.len()).unwrap_or(u64::MAX);
    match nodes.first() {
        Some(&node) if held + wanted > room => Err(Refusal::TooManyPartitions {
            node,
            current: image.replicas_on(node),
            wanted: u64::from(image.replicas_on(node)) + wanted,
            limit,
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_room(
    image: &Image,
    limits: &Limits,
    added: &[Assignment],
) -> Result<(), Refusal> {
    let mut counts: BTreeMap<NodeId, u64> = BTreeMap::new();
    for node in added.iter().flat_map(|assignment| &assignment.replicas) {
        *counts.entry(*node).or_default() += 1;
    }
    for (node, added) in counts {
        let current = image.replicas_on(node);
        let wanted = u64::from(current) + added;
        let limit = limits.max_partitions_per_node;
        if wanted > u64::from(limit) {
            return Err(Refusal::TooManyPartitions {
                node,
                current,
                wanted,
                limit,
            });
        }
    }
    Ok(())
}
