//! Moving partitions between nodes (KIP-455).
//!
//! The replicas that come in are added first; once all of them are in sync, those on their way out
//! go, in one record with a new term of the leader. That new term is also what tells a replica that
//! was taken out and put back from the one that never left.

use super::change::{Change, Loads};
use super::elect::named;
use super::placement;
use crate::image::Image;
use crate::limits::Limits;
use crate::record::{Assignment, Record};
use crate::refusal::{AssignmentFault, Refusal};
use plimsoll_types::{NodeId, PartitionKey};

/// The wish for other replicas; as the wire says it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassign {
    /// The partition.
    pub key: PartitionKey,
    /// Its replicas, the preferred leader first; `None` to cancel what goes on.
    pub replicas: Option<Vec<i32>>,
}

/// The record that begins the reassignment, replaces the one that goes on, or cancels it. It also
/// ends it where nobody has to come in sync first.
///
/// # Errors
/// Why it is not done; everything is as before, then.
pub fn reassign(image: &Image, limits: &Limits, wish: &Reassign) -> Result<Vec<Record>, Refusal> {
    let key = wish.key;
    let mut change = Change::of(image, key).ok_or(Refusal::UnknownPartition { key })?;
    let old = change.old;
    let original: Vec<NodeId> = old.original().collect();
    let target = match &wish.replicas {
        None if !old.is_reassigning() => {
            let partition = named(image, key)?;
            return Err(Refusal::NoReassignmentInProgress { partition });
        }
        None => original.clone(),
        Some(brokers) if brokers.is_empty() => return Err(AssignmentFault::NoReplicas.into()),
        Some(brokers) => placement::known_nodes(image, brokers)?,
    };
    let not_in = |list: &[NodeId]| {
        let list = list.to_vec();
        move |node: &NodeId| !list.contains(node)
    };
    let adding: Vec<NodeId> = target.iter().copied().filter(not_in(&original)).collect();
    let removing: Vec<NodeId> = original.iter().copied().filter(not_in(&target)).collect();
    let new = adding.iter().copied().filter(not_in(&old.replicas));
    let added = Assignment {
        replicas: new.collect(),
        ..Assignment::default()
    };
    placement::check_room(image, limits, &[added])?;
    let mut replicas = target;
    replicas.extend(&removing);
    change.next.adding = adding;
    change.next.removing = removing;
    change.keep_only(replicas);
    let (in_sync, needed) = (change.next.isr.len(), change.least_in_sync());
    let was_enough = old.isr.len()
        >= old.min_isr(image.configured_min_isr(image.topic_by_id(key.topic).map(AsRef::as_ref)));
    let emptied = in_sync == 0 && !old.isr.is_empty();
    if emptied || (was_enough && in_sync < needed) || loses_elr(image, &change) {
        let partition = named(image, key)?;
        return Err(Refusal::TooFewInSync {
            partition,
            in_sync,
            needed,
        });
    }
    Ok(change.finish(&mut Loads::of(image)).into_iter().collect())
}

/// Whether the last replicas known to be complete would go.
fn loses_elr(_: &Image, change: &Change<'_>) -> bool {
    let (old, next) = (change.old, &change.next);
    old.isr.is_empty() && !old.elr.is_empty() && next.elr.is_empty()
}
