//! What follows from an image by itself, without anybody's asking: for the active controller to do
//! whenever the image changed.

use super::change::{MAX_CHANGES, changes};
use super::fencing::moved_off;
use crate::image::Image;
use crate::record::Record;
use plimsoll_types::PartitionKey;
use std::collections::BTreeSet;

/// The records that give a leader to every partition that has none and could have one.
#[must_use]
pub fn choose_leaders(image: &Image) -> Vec<Record> {
    changes(image, image.leaderless(), |_| {})
}

/// The records that finish what is half done: [`choose_leaders`], fenced nodes out of what they
/// still are in, reassignments whose replicas are in sync, leaderships off draining nodes. To be
/// called until it makes none; costs next to nothing when there is nothing to do.
#[must_use]
pub fn settle(image: &Image) -> Vec<Record> {
    let mut keys: BTreeSet<PartitionKey> = image.leaderless().collect();
    keys.extend(image.reassigning());
    let fenced = image.nodes().filter(|node| node.fenced);
    for node in fenced.filter(|node| image.in_sync_on(node.id) > 0) {
        let in_sync = image.partitions_on(node.id).filter(|key| {
            let partition = image.partition_by_key(*key);
            partition.is_some_and(|partition| partition.isr.contains(&node.id))
        });
        keys.extend(in_sync);
    }
    let records = changes(image, keys, |_| {});
    if !records.is_empty() {
        return records;
    }
    let draining = image
        .nodes()
        .filter(|node| node.is_draining() && !node.fenced);
    let busy = draining.filter(|node| image.leaderships_of(node.id) > 0);
    let moved = busy.map(|node| moved_off(image, node.id));
    let moved = moved.into_iter().find(|records| !records.is_empty());
    debug_assert!(moved.as_ref().is_none_or(|m| m.len() <= MAX_CHANGES));
    moved.unwrap_or_default()
}
