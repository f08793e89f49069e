//! How much may go wrong at the same time, so that nothing that was promised may be lost.
//!
//! What is acknowledged is synced on all that are in sync, two at least. That outlives the loss of
//! any one copy, not of all; so troubles that cost a copy come one after another, the next when
//! all copies are there again. All others come in any number, at any time, on all nodes at once.
//!
//! | trouble | what it costs | when |
//! |---|---|---|
//! | kill, restart, pause, cuts, slow network, slow disk, full disk, clock, move, drain | nothing on a disk | always, together with all others |
//! | power, power-all | any part of what was not synced: lost, torn, names without files | the same: what was not synced was not promised; never where the topic counts what is written (`durability=os`) |
//! | failed-sync | what that sync was to make durable, and the word of that replica: what it has does not count until it was read again | while no other node has lost a disk or failed to sync and is not back, and no flip is unhealed elsewhere |
//! | flip-bit | one copy of a durable batch, found late | only where every other replica of that partition is up to the high watermark, in sync and well, and no earlier flip in it is unhealed |
//! | wipe | all copies on one node | while every partition is whole like that, and no flip is unhealed anywhere |
//!
//! A second sync that fails loses nothing either, but of a minimum of two in sync nobody may be left
//! whose word counts; the partition then waits for a person, as it must, and there would be no
//! peace to wait for.
//!
//! A flip is healed when the byte is no longer there: its file is gone, put aside, cut short or
//! written anew. Invariant of a run: at any moment every record below a high watermark is whole on
//! one disk at least.

use std::path::Path;
use std::sync::Arc;

use plimsoll_controller::Image;
use plimsoll_partition::Describe;

use crate::world::World;

/// A partition of the image, by name.
type Place = (String, u32);

impl World {
    /// As the first node that is up knows it.
    fn some_image(&self) -> Option<Arc<Image>> {
        let processes = self.net.processes();
        Some(processes.first()?.1.broker.image())
    }

    /// Every replica is up to the high watermark, in sync by everybody's account, and well.
    fn is_whole(&self, (topic, index): &Place) -> bool {
        let processes = self.net.processes();
        let in_sync = processes.iter().all(|(_, process)| {
            let image = process.broker.image();
            image.partition(topic, *index).is_some_and(|known| {
                known.leader.is_some() && known.isr.len() == known.replicas.len()
            })
        });
        let Some(known) = self
            .some_image()
            .and_then(|image| image.partition(topic, *index).cloned())
        else {
            return false;
        };
        let Ok(index) = i32::try_from(*index) else {
            return false;
        };
        let states: Option<Vec<Describe>> = known
            .replicas
            .iter()
            .map(|node| {
                let process = self.net.process(node.get())?;
                let replica = process.broker.catalog().partition(topic, index).ok()?;
                let hosts = self.hosts.lock();
                let fails = hosts.get(&node.get())?.disk.is_to_fail_syncs();
                (!fails).then(|| replica.describe())
            })
            .collect();
        let Some(states) = states else { return false };
        let mark = states.iter().map(|state| state.high_watermark).max();
        in_sync
            && states.iter().all(|state| {
                let end = match self.unsynced {
                    true => state.log_end,
                    false => state.log_end.min(state.durable_end),
                };
                state.offline.is_none() && Some(end) >= mark
            })
    }

    /// The partitions by the names of their directories.
    fn places(&self) -> Vec<(String, Place)> {
        let Some(image) = self.some_image() else {
            return Vec::new();
        };
        let mut places = Vec::new();
        for topic in image.topics() {
            for index in (0..).take(topic.partitions.len()) {
                let dir = format!("{}-{index}", topic.id);
                places.push((dir, (topic.name.to_string(), index)));
            }
        }
        places
    }

    /// The directories of partitions in which a flipped bit is not healed, by node.
    fn flips(&self) -> Vec<(u32, String)> {
        let hosts = self.hosts.lock();
        let mut found = Vec::new();
        for (node, host) in hosts.iter() {
            let dirs = host.disk.unhealed_flips();
            found.extend(dirs.iter().filter_map(|path| Some((*node, dir_of(path)?))));
        }
        found
    }

    /// The directories of partitions in which a bit may flip now, on one node.
    pub(crate) fn may_flip(&self) -> Vec<String> {
        let flipped = self.flips();
        let places = self.places().into_iter();
        places
            .filter(|(dir, place)| {
                self.is_whole(place) && flipped.iter().all(|(_, other)| other != dir)
            })
            .map(|(dir, _)| dir)
            .collect()
    }

    /// Whether a node may lose all it has.
    pub(crate) fn may_wipe(&self) -> bool {
        self.all_whole() && self.flips().is_empty()
    }

    fn all_whole(&self) -> bool {
        let all_up = self.nodes().iter().all(|node| self.is_up(*node));
        let places = self.places();
        let whole = places.iter().all(|(_, place)| self.is_whole(place));
        all_up && !places.is_empty() && whole
    }

    /// Whether a sync of that node may fail.
    pub(crate) fn may_fail_sync(&self, node: u32) -> bool {
        if self.all_whole() {
            self.hurt.lock().clear();
        }
        let elsewhere = |other: &u32| *other != node;
        let flipped = self.flips().iter().any(|(other, _)| elsewhere(other));
        !flipped && !self.hurt.lock().iter().any(elsewhere)
    }

    /// A node lost a copy or its word, until all is whole again.
    pub(crate) fn hurts(&self, node: u32) {
        if self.all_whole() {
            self.hurt.lock().clear();
        }
        self.hurt.lock().insert(node);
    }
}

/// The name of the directory that a file is in.
pub(crate) fn dir_of(path: &Path) -> Option<String> {
    Some(path.parent()?.file_name()?.to_str()?.to_owned())
}
