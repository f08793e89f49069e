//! Partitions that nobody known to be complete is left of: by inspection of the logs, as far as
//! their topic's policy allows.

use super::change::{Change, Loads};
use crate::config::{Durability, UncleanRecovery, durability, unclean_recovery};
use crate::image::{Image, Partition};
use crate::record::Record;
use crate::refusal::Refusal;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionKey};
use std::cmp::Reverse;

/// What a node says of its log of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAnswer {
    /// The node.
    pub node: NodeId,
    /// Its process.
    pub broker_epoch: BrokerEpoch,
    /// The term of its last record; `None` when it has none.
    pub last_epoch: Option<LeaderEpoch>,
    /// The end of its log.
    pub log_end: Offset,
    /// The end of what it has synced.
    pub durable_end: Offset,
    /// Whether it knows that nothing is missing before that.
    pub trusted: bool,
}

/// A partition whose logs are to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryWanted {
    /// The partition.
    pub key: PartitionKey,
    /// Its topic's policy.
    pub policy: UncleanRecovery,
    /// Whom to ask: those that are waited for, fenced or not, and who else is alive. Only who is
    /// unfenced when it answers counts.
    pub ask: Vec<NodeId>,
}

/// What an inspection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverUnclean {
    /// The partition.
    pub key: PartitionKey,
    /// What was answered.
    pub answers: Vec<LogAnswer>,
    /// Whether those that are missing had their time.
    pub timed_out: bool,
}

/// The partitions that wait for an inspection, as their topics' policies are. To be asked for
/// again and again while any are there.
pub fn recoveries_wanted(image: &Image) -> impl Iterator<Item = RecoveryWanted> {
    image.leaderless().filter_map(|key| {
        let partition = image.partition_by_key(key)?;
        let topic = image.topic_by_id(key.topic).map(AsRef::as_ref);
        let policy = unclean_recovery(image, topic);
        let mut ask = awaited(partition, policy);
        if ask.is_empty() {
            return None;
        }
        ask.extend(others(image, partition, &ask));
        Some(RecoveryWanted { key, policy, ask })
    })
}

/// The records that make the best of those who answered the leader; none while too few did, or
/// when the policy leaves it to a person. The election is recorded as unclean.
///
/// # Errors
/// The partition is not there.
pub fn recover_unclean(image: &Image, wish: &RecoverUnclean) -> Result<Vec<Record>, Refusal> {
    let key = wish.key;
    let mut change = Change::of(image, key).ok_or(Refusal::UnknownPartition { key })?;
    let topic = image.topic_by_id(key.topic).map(AsRef::as_ref);
    let policy = unclean_recovery(image, topic);
    let awaited = awaited(change.old, policy);
    let others = others(image, change.old, &awaited);
    let answered = |node: &NodeId| wish.answers.iter().any(|a| counts(image, a, *node));
    let all = |nodes: &[NodeId]| nodes.iter().all(answered);
    let enough = match policy {
        UncleanRecovery::None => false,
        UncleanRecovery::Balanced => all(&awaited) && (wish.timed_out || all(&others)),
        UncleanRecovery::Proactive => wish.timed_out || all(&awaited),
    };
    if awaited.is_empty() || !enough {
        return Ok(Vec::new());
    }
    // Among all who answered: whoever has a later term, or more of the last one, has all that the
    // others committed.
    let Some(chosen) = best(image, key, &wish.answers, &change.old.replicas) else {
        return Ok(Vec::new());
    };
    change.lead_unclean(chosen);
    Ok(change.finish(&mut Loads::of(image)).into_iter().collect())
}

/// Whom a recovery waits for; nobody when there is none to be.
fn awaited(partition: &Partition, policy: UncleanRecovery) -> Vec<NodeId> {
    if partition.leader.is_some() || !partition.isr.is_empty() {
        return Vec::new();
    }
    match policy {
        UncleanRecovery::None => Vec::new(),
        // While anybody complete may still come back, it is worth the wait.
        UncleanRecovery::Balanced if !partition.elr.is_empty() => Vec::new(),
        UncleanRecovery::Balanced => partition.last_known_elr.to_vec(),
        UncleanRecovery::Proactive => partition.replicas.to_vec(),
    }
}

/// Who else may have records that those who are waited for lack.
fn others(image: &Image, partition: &Partition, awaited: &[NodeId]) -> Vec<NodeId> {
    let others = partition.replicas.iter().copied();
    let others = others.filter(|node| !awaited.contains(node) && image.is_alive(*node));
    others.collect()
}

fn counts(image: &Image, answer: &LogAnswer, node: NodeId) -> bool {
    let known = image.node(node);
    answer.node == node
        && known.is_some_and(|known| !known.fenced && known.broker_epoch == answer.broker_epoch)
}

/// Who of `among` has the longest log of the latest term.
pub(super) fn best(
    image: &Image,
    key: PartitionKey,
    answers: &[LogAnswer],
    among: &[NodeId],
) -> Option<NodeId> {
    let topic = image.topic_by_id(key.topic).map(AsRef::as_ref);
    let durability = durability(image, topic);
    let end = |answer: &LogAnswer| match durability {
        Durability::Fsync => answer.durable_end,
        Durability::Os => answer.log_end,
    };
    let candidates = answers.iter().filter_map(|answer| {
        let place = among.iter().position(|node| *node == answer.node)?;
        counts(image, answer, answer.node).then_some((place, answer))
    });
    let best = candidates.max_by_key(|(place, a)| {
        let log = (a.last_epoch, end(a), a.log_end);
        (log, a.trusted, image.is_usable(a.node), Reverse(*place))
    });
    best.map(|(_, answer)| answer.node)
}
