//! Replicas of this node whose log was found damaged, gone or unusable when it was opened, until
//! the controller was told of each.
//!
//! A loss is told once: a replica that fails to open every two seconds is no news after the first
//! time. An error that may pass (no descriptors, no memory, no space) is a loss only when it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use plimsoll_partition::OpenError;
use plimsoll_segment_log::OpenError as LogOpenError;
use plimsoll_types::{Offset, PartitionKey};
use rustix::io::Errno;

/// After so many attempts that failed, an error does not pass.
pub(super) const ATTEMPTS: u32 = 3;

/// What is lost, and who was told.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Nobody was told of these yet; and from where on the log is of no use.
    untold: BTreeMap<PartitionKey, Offset>,
    /// Replicas that do not open, and whose loss was told.
    told: BTreeSet<PartitionKey>,
    /// How often in a row an error that may pass was met.
    passing: BTreeMap<PartitionKey, u32>,
}

impl Losses {
    /// A replica was opened, and its log is damaged or gone from there on, if it is.
    pub(super) fn opened(&mut self, key: PartitionKey, lost: Option<Offset>) {
        self.forget(key);
        if let Some(from) = lost {
            self.untold.insert(key, from);
        }
    }

    /// A replica could not be opened; `passes` if the reason may pass.
    pub(super) fn failed(&mut self, key: PartitionKey, passes: bool) {
        if passes {
            let met = self.passing.entry(key).or_default();
            *met = met.saturating_add(1);
            if *met < ATTEMPTS {
                return;
            }
        }
        if !self.told.contains(&key) {
            self.untold.insert(key, Offset::ZERO);
        }
    }

    /// A replica is this node's no more, or begins anew.
    pub(super) fn forget(&mut self, key: PartitionKey) {
        self.told.remove(&key);
        self.passing.remove(&key);
        self.untold.remove(&key);
    }

    /// Whether this loss is still to be told.
    pub(super) fn is_untold(&self, key: PartitionKey) -> bool {
        self.untold.contains_key(&key)
    }

    /// All that is to be told.
    pub(super) fn untold(&self) -> Vec<(PartitionKey, Offset)> {
        let untold = self.untold.iter();
        untold.map(|(key, from)| (*key, *from)).collect()
    }

    /// This loss was told. False if it is another one by now, which was not.
    pub(super) fn told(&mut self, key: PartitionKey, from: Offset) -> bool {
        if self.untold.get(&key) != Some(&from) {
            return false;
        }
        self.untold.remove(&key);
        self.told.insert(key);
        true
    }
}

/// Whether it may open at another time, although nothing is done about it.
pub(super) fn passes(error: &OpenError) -> bool {
    matches!(error, OpenError::Log(LogOpenError::Io { source, .. }) if may_pass(source))
}

fn may_pass(error: &io::Error) -> bool {
    const PASSING: [Errno; 6] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::INTR,
        Errno::NOSPC,
        Errno::DQUOT,
    ];
    let kinds = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::OutOfMemory,
        io::ErrorKind::Interrupted,
    ];
    let named = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
    kinds.contains(&error.kind()) || PASSING.iter().any(named)
}

#[cfg(test)]
mod tests {
    use plimsoll_types::TopicId;

    use super::*;

    fn key(index: u32) -> PartitionKey {
        let topic = TopicId::from_bytes([7; 16]);
        PartitionKey { topic, index }
    }

    #[test]
    fn loss_is_told_once_however_often_the_replica_does_not_open() {
        let mut losses = Losses::default();
        losses.failed(key(1), false);
        losses.failed(key(1), false);
        assert_eq!(losses.untold(), [(key(1), Offset::ZERO)]);
        assert!(losses.told(key(1), Offset::ZERO));
        losses.failed(key(1), false);
        assert_eq!(losses.untold(), []);
        // It opened in between: what fails then is another loss.
        losses.opened(key(1), None);
        losses.failed(key(1), false);
        assert!(losses.is_untold(key(1)));
    }

    #[test]
    fn only_what_was_told_is_forgotten() {
        let mut losses = Losses::default();
        losses.failed(key(1), false);
        let telling = losses.untold();
        // Meanwhile another fails, and the first opens with a damage of its own.
        losses.failed(key(2), false);
        losses.opened(key(1), Some(Offset::new(5)));
        for (key, from) in telling {
            assert!(!losses.told(key, from), "that is another loss by now");
        }
        let left = [(key(1), Offset::new(5)), (key(2), Offset::ZERO)];
        assert_eq!(losses.untold(), left);
    }

    #[test]
    fn error_that_may_pass_is_a_loss_when_it_stays() {
        let mut losses = Losses::default();
        for _ in 1..ATTEMPTS {
            losses.failed(key(1), true);
            assert_eq!(losses.untold(), []);
        }
        losses.failed(key(1), true);
        assert!(losses.is_untold(key(1)));
        losses.opened(key(1), None);
        losses.failed(key(1), true);
        assert_eq!(losses.untold(), [], "it is counted anew");
    }

    #[test]
    fn what_runs_out_may_come_back_and_what_is_broken_not() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::INTR,
            Errno::NOSPC,
        ] {
            assert!(may_pass(&io::Error::from_raw_os_error(
                errno.raw_os_error()
            )));
        }
        for errno in [Errno::IO, Errno::NOENT, Errno::ACCESS, Errno::ROFS] {
            assert!(!may_pass(&io::Error::from_raw_os_error(
                errno.raw_os_error()
            )));
        }
        assert!(may_pass(&io::ErrorKind::StorageFull.into()));
    }
}
