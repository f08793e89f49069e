//! Nodes that stop being trusted, are trusted again, leave, or are to lead nothing.

use super::change::{Change, Loads, Loss, MAX_CHANGES, changes, led_first};
use crate::image::{Image, Node};
use crate::record::{Drain, Record};
use crate::refusal::Refusal;
use plimsoll_types::{BrokerEpoch, NodeId, PartitionKey};
use std::collections::BTreeSet;

/// The records that fence the process `broker_epoch` of `node`: it leads nothing and is in no ISR
/// afterwards. Also the last step of a node that stops in good order. To be called until it makes
/// none; the first call fences, so that the node gains nothing in between.
///
/// # Errors
/// The process is not the node's any more.
pub fn fence_node(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
) -> Result<Vec<Record>, Refusal> {
    let known = process(image, node, broker_epoch)?;
    let mut records = Vec::new();
    if !known.fenced {
        records.push(state(node, true, known.drain));
    }
    let after = image.with_node_state(node, true, known.drain);
    if image.in_sync_on(node) > 0 {
        let leaves = |change: &mut Change<'_>| change.leaves(node, Loss::Nothing);
        records.extend(changes(&after, led_first(image, node), leaves));
    }
    Ok(records)
}

/// The records that trust the process `broker_epoch` of `node` again, and give it the partitions
/// that wait for it.
///
/// Invariant C4: not before it has left all that it had when it was fenced.
///
/// # Errors
/// The process is not the node's any more, or has not left everything; see
/// [`settle`](fn@super::settle).
pub fn unfence_node(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
) -> Result<Vec<Record>, Refusal> {
    let known = process(image, node, broker_epoch)?;
    if !known.fenced {
        return Ok(Vec::new());
    }
    let left = image.in_sync_on(node).max(image.leaderships_of(node));
    if left > 0 {
        return Err(Refusal::NotSettled { node, left });
    }
    let after = image.with_node_state(node, false, known.drain);
    let waiting = image.leaderless().filter(|key| {
        let partition = image.partition_by_key(*key);
        partition.is_some_and(|partition| partition.replicas.contains(&node))
    });
    let mut records = vec![state(node, false, known.drain)];
    records.extend(changes(&after, waiting, |_| {}));
    Ok(records)
}

/// The records that take the leaderships from `node` that others can have, and give it none any
/// more, for a person. It stays in sync and goes on to follow, and its next process does, until it
/// is [resumed](resume_node). To be called until it makes none.
///
/// # Errors
/// It is not registered.
pub fn drain_node(image: &Image, node: NodeId) -> Result<Vec<Record>, Refusal> {
    let known = registered(image, node)?;
    let kept = true;
    Ok(drained(
        image,
        known,
        Drain {
            kept,
            ..known.drain
        },
    ))
}

/// As [`drain_node`], for the process `broker_epoch` that is about to stop, and comes into no ISR
/// any more.
///
/// Invariant C6: what was decided about a process that stops does not reach the next one, however
/// late it is carried out.
///
/// # Errors
/// The process is not the node's any more.
pub fn stop_node(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
) -> Result<Vec<Record>, Refusal> {
    let known = process(image, node, broker_epoch)?;
    let stopping = true;
    Ok(drained(
        image,
        known,
        Drain {
            stopping,
            ..known.drain
        },
    ))
}

fn drained(image: &Image, known: &Node, drain: Drain) -> Vec<Record> {
    let mut records = Vec::new();
    if known.drain != drain {
        records.push(state(known.id, known.fenced, drain));
    }
    let after = image.with_node_state(known.id, known.fenced, drain);
    records.extend(moved_off(&after, known.id));
    records
}

/// Whether `node` leads nothing that another could lead.
#[must_use]
pub fn is_drained(image: &Image, node: NodeId) -> bool {
    moved_off(image, node).is_empty()
}

/// The record that lets a node lead again that a person [drained](drain_node). One whose process
/// is about to stop stops all the same.
///
/// # Errors
/// It is not registered.
pub fn resume_node(image: &Image, node: NodeId) -> Result<Vec<Record>, Refusal> {
    let known = registered(image, node)?;
    let kept = false;
    let resumed = Drain {
        kept,
        ..known.drain
    };
    let record = || state(node, known.fenced, resumed);
    Ok(known.drain.kept.then(record).into_iter().collect())
}

/// The records that take the leaderships from the process `broker_epoch` of `node` that others can
/// have; for one whose disk is too slow, or too full, to lead. Those that are as `ill` get none:
/// between two of them leaderships would go to and fro for ever.
///
/// # Errors
/// The process is not the node's any more.
pub fn resign_leaderships(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    ill: &BTreeSet<NodeId>,
) -> Result<Vec<Record>, Refusal> {
    process(image, node, broker_epoch)?;
    Ok(moved_off_to(image, node, ill))
}

/// The record that begins another term of a partition that `node` alone is in sync with and leads,
/// after its log lost what others may have copied: what it has left is all there is. The election
/// is recorded as unclean. Where others may lead, who are not here just now, it gives way to them:
/// they have all that was committed.
///
/// # Errors
/// The process is not the node's any more.
pub fn begin_again(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    key: PartitionKey,
) -> Result<Vec<Record>, Refusal> {
    process(image, node, broker_epoch)?;
    let Some(mut change) = Change::of(image, key) else {
        return Ok(Vec::new());
    };
    if *change.old.isr != [node] || change.old.leader != Some(node) {
        return Ok(Vec::new());
    }
    if change.old.elr.is_empty() {
        change.lead_unclean(node);
    } else {
        change.leaves(node, Loss::Some);
    }
    Ok(change.finish(&mut Loads::of(image)).into_iter().collect())
}

/// The record that forgets `node`.
///
/// # Errors
/// It is alive, holds replicas, or is not there.
pub fn remove_node(image: &Image, node: NodeId) -> Result<Vec<Record>, Refusal> {
    if !registered(image, node)?.fenced {
        return Err(Refusal::NodeAlive { node });
    }
    match image.replicas_on(node) {
        0 => Ok(vec![Record::NodeRemoved { node }]),
        replicas => Err(Refusal::NodeHoldsReplicas { node, replicas }),
    }
}

/// The records that take `node` out of the ISR and ELR of `partitions`, whose log there is damaged
/// or cannot be read. Where nobody else can lead it stays as it is: what is left of it is all
/// there is.
///
/// # Errors
/// The process is not the node's any more.
pub fn report_corrupt(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    partitions: &[PartitionKey],
) -> Result<Vec<Record>, Refusal> {
    process(image, node, broker_epoch)?;
    let mut loads = Loads::of(image);
    let mut records = Vec::new();
    for (at, key) in partitions.iter().enumerate() {
        let repeated = partitions.iter().take(at).any(|other| other == key);
        let Some(mut change) = Change::of(image, *key).filter(|_| !repeated) else {
            continue;
        };
        let old = change.old;
        let concerned = old.isr.contains(&node) || old.elr.contains(&node);
        let others_lead = if *old.isr == [node] {
            old.elr.iter().any(|other| image.is_alive(*other))
        } else {
            true
        };
        if concerned && others_lead {
            change.leaves(node, Loss::Some);
            records.extend(change.finish(&mut loads));
        }
    }
    records.truncate(MAX_CHANGES);
    Ok(records)
}

/// The leaderships of `node` that somebody else in sync can have, moved there.
pub(super) fn moved_off(image: &Image, node: NodeId) -> Vec<Record> {
    moved_off_to(image, node, &BTreeSet::new())
}

fn moved_off_to(image: &Image, node: NodeId, ill: &BTreeSet<NodeId>) -> Vec<Record> {
    let movable = image.partitions_led_by(node).filter(|key| {
        let partition = image.partition_by_key(*key);
        partition.is_some_and(|partition| {
            let mut others = partition.isr.iter().filter(|other| **other != node);
            others.any(|other| image.is_usable(*other) && !ill.contains(other))
        })
    });
    changes(image, movable, |change| {
        change.avoid.clone_from(ill);
        change.avoid.insert(node);
        change.vacate();
    })
}

fn state(node: NodeId, fenced: bool, drain: Drain) -> Record {
    Record::NodeStateSet {
        node,
        fenced,
        drain,
    }
}

fn registered(image: &Image, node: NodeId) -> Result<&Node, Refusal> {
    image.node(node).ok_or(Refusal::UnknownNode { node })
}

/// The node, if `broker_epoch` is its process.
pub(super) fn process(
    image: &Image,
    node: NodeId,
    broker_epoch: BrokerEpoch,
) -> Result<&Node, Refusal> {
    let known = registered(image, node)?;
    if known.broker_epoch == broker_epoch {
        return Ok(known);
    }
    Err(Refusal::StaleBrokerEpoch {
        node,
        given: broker_epoch,
        current: known.broker_epoch,
    })
}
