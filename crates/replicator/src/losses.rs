//! Why logs are copied anew, kept for people until each replica is in sync again.
//!
//! The state of a replica forgets what was wrong as soon as it copies, and a whole new disk forgets
//! everything; whoever asks wants to know all the while. What always holds: nothing is decided by
//! what stands here.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use plimsoll_health::Repair;
use plimsoll_types::{Offset, PartitionKey};

use crate::replicas::Replicas;

/// What became of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Files of it, or all, are not there, from that offset on.
    Gone(Offset),
    /// Bytes of it have changed between these offsets.
    Changed(Offset, Offset),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    loss: Loss,
    /// It has been seen out of the ISR since: the next time it is in, that is over.
    left: bool,
}

/// At most one entry a replica of this node.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<PartitionKey, Entry>>);

impl Losses {
    fn note(&self, key: PartitionKey, loss: Loss, out: bool) {
        let mut entries = self.0.lock();
        let entry = entries.entry(key).or_insert(Entry { loss, left: out });
        // What is gone is not there to have changed.
        if matches!(loss, Loss::Gone(_)) {
            entry.loss = loss;
        }
    }

    /// Files are gone.
    pub(crate) fn gone(&self, key: PartitionKey, from: Offset, out: bool) {
        self.note(key, Loss::Gone(from), out);
    }

    /// Bytes have changed.
    pub(crate) fn changed(&self, key: PartitionKey, from: Offset, to: Offset, out: bool) {
        self.note(key, Loss::Changed(from, to), out);
    }

    /// The metadata has the replica in the ISR, or has it not.
    pub(crate) fn standing(&self, key: PartitionKey, in_isr: bool) {
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(&key) else {
            return;
        };
        match (entry.left, in_isr) {
            (true, true) => drop(entries.remove(&key)),
            (_, in_isr) => entry.left |= !in_isr,
        }
    }

    pub(crate) fn forget(&self, key: PartitionKey) {
        self.0.lock().remove(&key);
    }

    /// What is to be mended, of which so much has been copied.
    pub(crate) fn repair(&self, key: PartitionKey, copied_to: Offset) -> Option<Repair> {
        let entry = self.0.lock().get(&key).copied()?;
        Some(match entry.loss {
            Loss::Gone(from) => Repair::Lost { from, copied_to },
            Loss::Changed(from, to) => Repair::Corrupt {
                from,
                to,
                copied_to,
            },
        })
    }
}

impl Replicas {
    /// Files of this replica's log are not there from `from` on: deleted, or on a disk that was
    /// replaced. For people; it may be told before the replica is hosted.
    pub fn lost(&self, key: PartitionKey, from: Offset) {
        let replica = self.replica(key);
        let me = self.me();
        let out = replica.is_some_and(|replica| !replica.state.lock().view.isr.contains(&me));
        self.losses.gone(key, from, out);
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_types::TopicId;

    use super::*;

    const KEY: PartitionKey = PartitionKey {
        topic: TopicId::from_bytes([7; 16]),
        index: 0,
    };

    fn at(offset: u64) -> Offset {
        Offset::new(offset)
    }

    #[test]
    fn loss_is_over_once_the_replica_has_left_and_come_back() {
        let losses = Losses::default();
        losses.standing(KEY, true);
        losses.changed(KEY, at(3), at(9), false);
        // It counts still, or again; nobody has taken it out yet.
        losses.standing(KEY, true);
        let repair = Repair::Corrupt {
            from: at(3),
            to: at(9),
            copied_to: at(0),
        };
        assert_eq!(losses.repair(KEY, at(0)), Some(repair));
        losses.standing(KEY, false);
        losses.standing(KEY, false);
        assert!(losses.repair(KEY, at(5)).is_some(), "it copies");
        losses.standing(KEY, true);
        assert_eq!(losses.repair(KEY, at(9)), None);
    }

    #[test]
    fn what_is_gone_has_not_merely_changed() {
        let losses = Losses::default();
        losses.changed(KEY, at(3), at(9), true);
        losses.gone(KEY, at(0), true);
        losses.changed(KEY, at(0), at(9), true);
        let (from, copied_to) = (at(0), at(4));
        let gone = Repair::Lost { from, copied_to };
        assert_eq!(losses.repair(KEY, at(4)), Some(gone));
        losses.forget(KEY);
        assert_eq!(losses.repair(KEY, at(4)), None);
    }
}
