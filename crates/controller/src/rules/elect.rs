//! Elections that somebody asks for, and leaderships brought back to where they belong.

use super::change::{Change, Loads, changes};
use super::recovery::{LogAnswer, best};
use crate::image::Image;
use crate::record::Record;
use crate::refusal::Refusal;
use plimsoll_types::{NodeId, PartitionKey, TopicPartition};
use std::collections::BTreeSet;

/// What an election asked for may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// Make the preferred replica the leader, if it is in sync.
    Preferred,
    /// Make any live replica the leader of a partition without one, at the price of records.
    Unclean,
}

/// The records of the election. `answers` say what logs replicas have, for an unclean one to take
/// the best; without them it takes those that last were complete before others.
///
/// # Errors
/// It is not needed, or there is nobody to elect.
pub fn elect(
    image: &Image,
    key: PartitionKey,
    election: Election,
    answers: &[LogAnswer],
) -> Result<Vec<Record>, Refusal> {
    let mut change = Change::of(image, key).ok_or(Refusal::UnknownPartition { key })?;
    let partition = named(image, key)?;
    let (old, mut loads) = (change.old, Loads::of(image));
    match election {
        Election::Preferred => {
            let Some(&preferred) = old.replicas.first() else {
                return Err(Refusal::EligibleLeadersNotAvailable { partition });
            };
            if old.leader == Some(preferred) {
                return Err(Refusal::ElectionNotNeeded {
                    partition,
                    leader: preferred,
                });
            }
            if !old.isr.contains(&preferred) || !change.could_lead(preferred) {
                return Err(Refusal::PreferredLeaderNotAvailable {
                    partition,
                    preferred,
                });
            }
            change.next.leader = Some(preferred);
        }
        Election::Unclean => {
            if let Some(leader) = old.leader {
                return Err(Refusal::ElectionNotNeeded { partition, leader });
            }
            // Whoever is complete leads without any price.
            let clean = Change::of(image, key).and_then(|change| change.finish(&mut loads));
            let led = |record: &Record| matches!(record, Record::PartitionChanged { state, .. } if state.leader.is_some());
            if let Some(record) = clean.filter(led) {
                return Ok(vec![record]);
            }
            let alive = |node: &&NodeId| image.is_alive(**node);
            let known = old.last_known_elr.iter().chain(old.replicas.iter());
            let chosen = best(image, key, answers, &old.replicas)
                .or_else(|| known.into_iter().find(alive).copied());
            let none = Refusal::EligibleLeadersNotAvailable { partition };
            change.lead_unclean(chosen.ok_or(none)?);
        }
    }
    Ok(change.finish(&mut loads).into_iter().collect())
}

/// The records that bring leaderships back to preferred replicas that are in sync: at most one to
/// each node and one from each, so that a caller who comes once a second moves one a second. None
/// while a partition is below its min ISR. `stable` are the nodes that were well for long enough.
#[must_use]
pub fn balance_leaders(image: &Image, stable: &BTreeSet<NodeId>) -> Vec<Record> {
    if image.under_min_isr().next().is_some() {
        return Vec::new();
    }
    let mut moved: BTreeSet<NodeId> = BTreeSet::new();
    let mut keys = Vec::new();
    for &node in stable.iter().filter(|node| image.is_usable(**node)) {
        let wanted = image.partitions_on(node).find_map(|key| {
            let partition = image.partition_by_key(key)?;
            let leader = partition.leader.filter(|leader| *leader != node)?;
            let belongs = partition.replicas.first() == Some(&node)
                && partition.isr.contains(&node)
                && !partition.is_reassigning();
            (belongs && !moved.contains(&leader)).then_some((key, leader))
        });
        if let Some((key, leader)) = wanted.filter(|_| !moved.contains(&node)) {
            moved.extend([node, leader]);
            keys.push(key);
        }
    }
    changes(image, keys, |change| {
        change.next.leader = change.next.replicas.first().copied();
    })
}

/// The partition by its topic's name, for words to a client.
pub(super) fn named(image: &Image, key: PartitionKey) -> Result<TopicPartition, Refusal> {
    let topic = image.topic_by_id(key.topic);
    let topic = topic.ok_or(Refusal::UnknownPartition { key })?;
    Ok(TopicPartition {
        topic: topic.name.clone(),
        partition: key.index,
    })
}
