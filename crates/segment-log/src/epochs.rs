//! The epoch vector: which leader epoch began where.
//!
//! Kept so that two logs can be compared without their batches (KIP-101): each entry says that
//! from `start` on, up to the next entry, batches carry `epoch`. Not here: its file
//! (`epochs_file`), and what to do about a difference.
//!
//! Always holds (L5): epochs strictly increase, starts never decrease.

use plimsoll_types::{LeaderEpoch, Offset};

/// One leader epoch and where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The log end when it began.
    pub start: Offset,
}

/// The epochs of one log, oldest first. Epochs without a record are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochVector(Vec<EpochEntry>);

impl EpochVector {
    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.0
    }

    /// The epoch that the log is in.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|entry| entry.epoch)
    }

    /// The epoch that a batch at `offset` carries; `None` before the first entry.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.0.partition_point(|entry| entry.start <= offset);
        Some(self.0.get(after.checked_sub(1)?)?.epoch)
    }

    /// Where `epoch` ended in a log that ends at `log_end`: the greatest epoch here that is not
    /// above it, and the start of the next one (`log_end` for the latest). `None` when `epoch` is
    /// above all epochs here or there are none, so that nothing can be said. An epoch below the
    /// first is answered with itself and the first start, as Kafka does.
    #[must_use]
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if epoch == self.latest()? {
            return Some((epoch, log_end));
        }
        let after = self.0.partition_point(|entry| entry.epoch <= epoch);
        let end = self.0.get(after)?.start;
        let floor = after.checked_sub(1).and_then(|at| self.0.get(at));
        Some((floor.map_or(epoch, |entry| entry.epoch), end))
    }

    /// Appends an entry. The caller has compared it with [`EpochVector::latest`].
    pub(crate) fn push(&mut self, entry: EpochEntry) {
        if let Some(last) = self.0.last() {
            assert!(last.epoch < entry.epoch, "L5: epochs strictly increase");
            assert!(last.start <= entry.start, "L5: starts never decrease");
        }
        self.0.push(entry);
    }

    /// Takes an entry if it continues the vector.
    pub(crate) fn try_push(&mut self, entry: EpochEntry) -> bool {
        let fits = self
            .0
            .last()
            .is_none_or(|last| last.epoch < entry.epoch && last.start <= entry.start);
        if fits {
            self.0.push(entry);
        }
        fits
    }

    /// Drops the epochs that begin at or after `end`: the log was cut there. Whether any went.
    pub(crate) fn truncate_to(&mut self, end: Offset) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.start < end);
        before != self.0.len()
    }

    /// Drops the epochs that begin after `end`: the log does not get there. Whether any went.
    pub(crate) fn drop_beyond(&mut self, end: Offset) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.start <= end);
        before != self.0.len()
    }

    /// Drops the epochs that ended at or before `start`. The one that is current there keeps its
    /// own start: the first batch may begin before the log does.
    pub(crate) fn start_at(&mut self, start: Offset) {
        let after = self.0.partition_point(|entry| entry.start <= start);
        if let Some(current) = after.checked_sub(1) {
            self.0.drain(..current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(entries: &[(u32, u64)]) -> EpochVector {
        let mut vector = EpochVector::default();
        for (epoch, start) in entries {
            vector.push(EpochEntry {
                epoch: LeaderEpoch::new(*epoch),
                start: Offset::new(*start),
            });
        }
        vector
    }

    fn end_of(vector: &EpochVector, epoch: u32) -> Option<(u32, u64)> {
        vector
            .end_offset_for(LeaderEpoch::new(epoch), Offset::new(100))
            .map(|(epoch, end)| (epoch.get(), end.get()))
    }

    #[test]
    fn an_epochs_end_is_the_next_ones_start() {
        let epochs = vector(&[(1, 0), (3, 10), (4, 10), (7, 40)]);
        assert_eq!(end_of(&epochs, 1), Some((1, 10)));
        assert_eq!(end_of(&epochs, 2), Some((1, 10)));
        assert_eq!(end_of(&epochs, 3), Some((3, 10)));
        assert_eq!(end_of(&epochs, 5), Some((4, 40)));
        assert_eq!(end_of(&epochs, 7), Some((7, 100)));
    }

    #[test]
    fn epochs_outside_the_vector_are_answered_as_kafka_does() {
        let epochs = vector(&[(3, 10), (4, 20)]);
        assert_eq!(end_of(&epochs, 8), None);
        assert_eq!(end_of(&epochs, 1), Some((1, 10)));
        assert_eq!(end_of(&vector(&[]), 0), None);
    }

    #[test]
    fn an_offset_has_the_last_epoch_that_began_at_or_before_it() {
        let epochs = vector(&[(1, 5), (3, 10), (4, 10)]);
        let at = |offset| epochs.epoch_at(Offset::new(offset)).map(LeaderEpoch::get);
        assert_eq!(
            [at(4), at(5), at(9), at(10)],
            [None, Some(1), Some(1), Some(4)]
        );
    }

    #[test]
    fn a_log_that_starts_later_forgets_what_ended_before() {
        let mut epochs = vector(&[(1, 0), (3, 10), (4, 20)]);
        epochs.start_at(Offset::new(15));
        assert_eq!(epochs, vector(&[(3, 10), (4, 20)]));
        epochs.start_at(Offset::new(20));
        assert_eq!(epochs, vector(&[(4, 20)]));
    }

    #[test]
    fn a_cut_forgets_epochs_at_and_after_it() {
        let mut epochs = vector(&[(1, 0), (3, 10), (4, 20)]);
        assert!(epochs.truncate_to(Offset::new(20)));
        assert_eq!(epochs, vector(&[(1, 0), (3, 10)]));
        assert!(!epochs.truncate_to(Offset::new(11)));
        assert!(epochs.truncate_to(Offset::ZERO));
        assert_eq!(epochs, vector(&[]));
    }
}
