//! Which nodes hold which replicas.

use crate::image::Image;
use crate::limits::Limits;
use crate::record::Assignment;
use crate::refusal::{AssignmentFault, Refusal};
use plimsoll_types::{LeaderEpoch, NodeId, PartitionEpoch};
use std::collections::BTreeMap;

/// Spreads `partitions` over the registered nodes, those that hold least first. The first replica
/// of each, which leads it, goes around as well.
pub(super) fn spread(
    image: &Image,
    limits: &Limits,
    partitions: u32,
    factor: u32,
) -> Result<Vec<Assignment>, Refusal> {
    let mut nodes: Vec<NodeId> = image.nodes().map(|node| node.id).collect();
    let replicas = usize::try_from(factor).unwrap_or(usize::MAX);
    if replicas > nodes.len() {
        let nodes = nodes.len();
        return Err(Refusal::NotEnoughNodes { factor, nodes });
    }
    // Before anything is built: the count is the client's, up to two thousand million.
    check_total(
        image,
        limits,
        &nodes,
        u64::from(partitions) * u64::from(factor),
    )?;
    nodes.sort_by_key(|node| (image.replicas_on(*node), *node));
    let from = |partition: u32| nodes.iter().cycle().skip(wrap(partition, nodes.len()));
    let assignments: Vec<_> = (0..partitions)
        .map(|partition| fresh(from(partition).take(replicas).copied().collect()))
        .collect();
    check_room(image, limits, &assignments)?;
    Ok(assignments)
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
    for brokers in partitions {
        let expected = *factor.get_or_insert(brokers.len());
        if brokers.is_empty() {
            return Err(AssignmentFault::NoReplicas.into());
        }
        let replicas = known_nodes(image, brokers)?;
        if brokers.len() != expected {
            let replicas = brokers.len();
            return Err(AssignmentFault::Uneven { replicas, expected }.into());
        }
        assignments.push(fresh(replicas));
    }
    check_room(image, limits, &assignments)?;
    Ok(assignments)
}

fn known_nodes(image: &Image, brokers: &[i32]) -> Result<Vec<NodeId>, AssignmentFault> {
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

/// A new partition: every replica is in sync, as all are empty.
fn fresh(replicas: Vec<NodeId>) -> Assignment {
    Assignment {
        leader: replicas.first().copied(),
        isr: replicas.clone(),
        replicas,
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: PartitionEpoch(0),
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

fn check_room(image: &Image, limits: &Limits, added: &[Assignment]) -> Result<(), Refusal> {
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

fn wrap(partition: u32, nodes: usize) -> usize {
    usize::try_from(partition).unwrap_or(0) % nodes.max(1)
}
