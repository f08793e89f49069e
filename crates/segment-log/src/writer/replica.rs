//! What only the copy of another log needs: its epochs, and keeping what is thrown away.
//!
//! A replica takes over the epochs of the log it copies, so that the two can be compared without
//! their batches. What it has to give up is first kept aside, for people and for recovery by hand.
//! Not here: deciding any of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::Offset;

use super::{AppendError, LogWriter};
use crate::config::Minimum;
use crate::disk::{Disk, OpenFile, write_all_at};
use crate::epochs::{EpochEntry, EpochVector};
use crate::read::{LogReader, ReadError};

/// What files that were set aside end in.
const ASIDE: &str = ".aside";
/// Copied at once into quarantine.
const COPY_BYTES: usize = 1 << 20;

/// Why another log's epochs were not taken over. The epochs are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The log holds batches, and no epoch of it is known to the other: the two cannot be compared.
    #[error("no leader epoch of this log is known to the other")]
    NothingInCommon,
    /// The other's epochs are not in order.
    #[error("epoch {} begins before the one before it", at.epoch)]
    Disordered {
        /// The first entry out of order.
        at: EpochEntry,
    },
    /// They could not be written.
    #[error(transparent)]
    Write(#[from] AppendError),
}

impl LogWriter {
    /// Takes over `leader`, the epochs of the log that this one copies: what lies here above the
    /// greatest epoch that both have is replaced by the leader's, as far as this log reaches.
    /// Durable once this returns, if the log has files. Later epochs come with their batches.
    ///
    /// # Errors
    /// See [`AdoptError`].
    pub fn adopt_epochs(&mut self, leader: &[EpochEntry]) -> Result<(), AdoptError> {
        self.log.poison.check().map_err(AppendError::from)?;
        let current = self.log.epochs.load_full();
        let own = current.entries();
        let known = |entry: &&EpochEntry| leader.iter().any(|other| other.epoch == entry.epoch);
        let common = own.iter().rev().find(known).map(|entry| entry.epoch);
        let holds_batches = self.log_start() < self.log_end();
        if common.is_none() && holds_batches && !own.is_empty() {
            return Err(AdoptError::NothingInCommon);
        }
        let mut adopted = EpochVector::default();
        let kept = own.iter().filter(|entry| common >= Some(entry.epoch));
        let taken = leader.iter().filter(|entry| common < Some(entry.epoch));
        let end = self.log_end();
        for entry in kept.chain(taken.take_while(|entry| entry.start <= end)) {
            if !adopted.try_push(*entry) {
                return Err(AdoptError::Disordered { at: *entry });
            }
        }
        adopted.start_at(self.log_start());
        if adopted == *current {
            return Ok(self.settle_epochs()?);
        }
        if self.log.has_dir.load(Ordering::Acquire) {
            self.write_epochs(&adopted, None)
                .map_err(|error| self.refused(error))?;
        }
        self.log.epochs.store(Arc::new(adopted));
        Ok(())
    }

    /// Copies the batches from the one that holds `from` to the log end into a file of their own in
    /// the log's directory, durably, and returns its path. Damaged ranges are left out.
    ///
    /// # Errors
    /// What the system said. The log is as it was.
    pub fn quarantine(&self, from: Offset) -> io::Result<PathBuf> {
        let reader = LogReader {
            log: Arc::clone(&self.log),
        };
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        let end = self.log_end();
        let name = format!("{:020}-{:020}.quarantine", from.get(), end.get());
        let path = dir.join(name);
        let file = disk.open(&path, OpenFile::Replace)?;
        let (mut at, mut written) = (from, 0);
        while at < end {
            let slices = match reader.read(at, end, COPY_BYTES, Minimum::OneBatch) {
                Ok(slices) => slices,
                Err(ReadError::Damaged(damage)) => {
                    at = damage.until.max(at + 1);
                    continue;
                }
                Err(ReadError::Io { source, .. }) => return Err(source),
                Err(ReadError::BelowStart { .. } | ReadError::AboveEnd { .. }) => break,
            };
            for chunk in &slices.chunks {
                write_all_at(&*file, chunk, written)?;
                written += chunk.len() as u64;
            }
            if slices.next <= at {
                break;
            }
            at = slices.next;
        }
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok(path)
    }

    /// Removes what [`LogWriter::reset_keeping`] kept; returns how many files that were.
    ///
    /// # Errors
    /// What the system said; what is left goes with another call.
    pub fn discard_aside(&self) -> io::Result<usize> {
        if !self.log.has_dir.load(Ordering::Acquire) {
            return Ok(0);
        }
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        let mut gone = 0;
        for name in disk.list(dir)? {
            if name.ends_with(ASIDE) {
                disk.remove(&dir.join(name))?;
                gone += 1;
            }
        }
        if gone > 0 {
            disk.sync_dir(dir)?;
        }
        Ok(gone)
    }

    /// Waits for the syncs and the upkeep of a poisoned log that are under way; later ones are
    /// refused by the poison. After this nobody changes the files, and the log can be opened again.
    pub fn settle(&self) {
        debug_assert!(self.is_poisoned(), "a log that takes writes never settles");
        drop(self.log.upkeep.lock());
        drop(self.log.syncing.lock());
    }
}

/// Where the file of the segment that begins at `base` goes.
pub(super) fn aside_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.log{ASIDE}", base.get()))
}

/// Renames; a file that is not there has nothing to keep.
pub(super) fn set_aside(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    match disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
