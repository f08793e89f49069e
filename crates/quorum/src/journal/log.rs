//! The thread that writes the log, and the snapshots that keep the log short.

use crate::Snapshot;
use crate::journal::disk::{Disk, is_full};
use crate::journal::format::{self, FRAME_BYTES, Frame};
use crate::journal::queue::{Proposed, Queue, Room};
use crate::journal::tail::{AppendError, Tail};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The log files, by first index, with their sizes. Never empty once the log is open.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<(u64, u64)>);

impl Files {
    pub(crate) fn push(&mut self, first_index: u64, bytes: u64) {
        self.0.push((first_index, bytes));
    }

    /// First index and size of the last one.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.0.last().copied()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }

    fn set_last_bytes(&mut self, bytes: u64) {
        if let Some(last) = self.0.last_mut() {
            last.1 = bytes;
        }
    }

    /// First indexes of the files that hold nothing after `index`; never the last file.
    fn covered(&self, index: u64) -> Vec<u64> {
        let followed = self.0.iter().zip(self.0.iter().skip(1));
        let covered = followed.filter(|(_, (next, _))| *next <= index + 1);
        covered.map(|((first, _), _)| *first).collect()
    }

    fn forget(&mut self, first_index: u64) {
        self.0.retain(|(first, _)| *first != first_index);
    }
}

/// The one writer of the log.
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) queue: Arc<Queue>,
    pub(crate) files: Arc<Mutex<Files>>,
    pub(crate) tail: Tail,
    pub(crate) log_file_bytes: u64,
    pub(crate) reserve_bytes: u64,
}

impl Writer {
    /// Writes what is proposed until the queue closes or the disk fails.
    pub(crate) fn run(mut self) {
        let stop = StopOnUnwind(Arc::clone(&self.queue));
        while let Some((group, committed)) = self.queue.take() {
            if let Err(error) = self.write(group, committed) {
                let place = self.dir.display();
                self.queue
                    .stop(&format!("writing to {place} failed: {error}"));
                break;
            }
        }
        self.queue.stop("it was closed");
        drop(stop);
    }

    /// Writes and syncs what there is room for of a group, tells of it, and readies the file for
    /// the next one. An error is the end of the log; a full disk before the sync is none.
    fn write(&mut self, group: Vec<Proposed>, committed: u64) -> io::Result<()> {
        let (asked, group) = group.into_iter().partition(|entry| entry.asks.is_some());
        self.answer(asked)?;
        let group = self.refuse_without_room(group)?;
        if group.is_empty() {
            return Ok(());
        }
        let mut frames = Vec::new();
        let mut last = committed;
        for proposed in &group {
            last += 1;
            let frame = Frame {
                index: last,
                durable: committed,
                payload: Some(&*proposed.bytes),
            };
            format::encode_frame(&mut frames, frame);
        }
        match self.append(&frames) {
            Ok(()) => {}
            // What comes after these entries relies on them.
            Err(AppendError::Full(error) | AppendError::Broken(error)) => return Err(error),
        }
        self.tail.sync()?;
        self.queue.commit(group);
        // The next file's header says that this one was synced, as a mark does.
        if self.tail.end() >= self.log_file_bytes && self.roll(last + 1)? {
            return Ok(());
        }
        self.mark(last)
    }

    /// Makes the room that is asked for; what may use the reserve leaves an eighth of it.
    fn answer(&mut self, asked: Vec<Proposed>) -> io::Result<()> {
        for entry in asked {
            let reserve = match entry.room {
                Room::Free => self.reserve_bytes,
                Room::Reserved => self.reserve_bytes / 8,
            };
            match self.tail.make_room(entry.asks.unwrap_or_default(), reserve) {
                Ok(()) => self.queue.grant(&entry),
                Err(error) if is_full(&error) => self.queue.refuse(vec![entry], &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes room for a group, its mark and the reserve. If there is none, refuses those entries
    /// that may not use the reserve, and returns the others.
    fn refuse_without_room(&mut self, group: Vec<Proposed>) -> io::Result<Vec<Proposed>> {
        let frames = group.iter().map(|entry| FRAME_BYTES + entry.bytes.len());
        let bytes = frames.sum::<usize>() + FRAME_BYTES;
        match self.tail.make_room(bytes as u64, self.reserve_bytes) {
            Ok(()) => Ok(group),
            Err(error) if is_full(&error) => {
                let (refused, rest) = group
                    .into_iter()
                    .partition(|entry| entry.room == Room::Free);
                self.queue.refuse(refused, &error);
                Ok(rest)
            }
            Err(error) => Err(error),
        }
    }

    /// Goes over to the log file of `first_index`. `false`: the disk has no room for it and its
    /// reserve, and this one goes on.
    fn roll(&mut self, first_index: u64) -> io::Result<bool> {
        let begun = Tail::begin(&*self.disk, &self.dir, first_index, self.reserve_bytes);
        let next = match begun {
            Ok(next) => next,
            Err(error) if is_full(&error) => {
                self.remove_unfinished(first_index)?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        next.sync()?;
        self.disk.sync_dir(&self.dir)?;
        self.files.lock().push(first_index, next.end());
        std::mem::replace(&mut self.tail, next).finish();
        Ok(true)
    }

    /// Takes a file away that did not get its header. Durably, before the file before it is
    /// written again: only the last file may end in a torn group.
    fn remove_unfinished(&self, first_index: u64) -> io::Result<()> {
        match self.disk.remove(&format::log_path(&self.dir, first_index)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.disk.sync_dir(&self.dir),
        }
    }

    /// Notes in the file that everything up to `last` is synced.
    fn mark(&mut self, last: u64) -> io::Result<()> {
        let mut mark = Vec::new();
        let (index, durable, payload) = (last, last, None);
        let frame = Frame {
            index,
            durable,
            payload,
        };
        format::encode_frame(&mut mark, frame);
        match self.append(&mark) {
            // The next group says the same.
            Ok(()) | Err(AppendError::Full(_)) => Ok(()),
            Err(AppendError::Broken(error)) => Err(error),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        self.tail.append(bytes)?;
        self.files.lock().set_last_bytes(self.tail.end());
        Ok(())
    }
}

/// Tells those who wait when the writer panics.
struct StopOnUnwind(Arc<Queue>);

impl Drop for StopOnUnwind {
    fn drop(&mut self) {
        self.0.stop("its writer panicked");
    }
}

/// The newest snapshot's place and size.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pub(crate) index: u64,
    pub(crate) bytes: usize,
}

/// Why a snapshot is not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It holds entries that are not committed.
    #[error("a snapshot up to {index} reaches past the last committed entry, {committed}")]
    Ahead {
        /// Its last entry.
        index: u64,
        /// The last committed one.
        committed: u64,
    },
    /// There is one as new already.
    #[error("a snapshot up to {index} is not newer than the one up to {newest}")]
    NotNewer {
        /// Its last entry.
        index: u64,
        /// The newest one's last entry.
        newest: u64,
    },
    /// The machine refused.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
}

pub(crate) fn install(
    disk: &dyn Disk,
    dir: &Path,
    files: &Mutex<Files>,
    newest: &mut Snapshots,
    committed: u64,
    snapshot: &Snapshot,
) -> Result<(), SnapshotError> {
    let index = snapshot.index;
    if index > committed {
        return Err(SnapshotError::Ahead { index, committed });
    }
    if index <= newest.index {
        let newest = newest.index;
        return Err(SnapshotError::NotNewer { index, newest });
    }
    let path = format::snapshot_path(dir, index);
    let io = |error| SnapshotError::Io {
        path: path.clone(),
        error,
    };
    write_snapshot(disk, dir, &path, snapshot).map_err(io)?;
    let replaced = std::mem::replace(&mut newest.index, index);
    newest.bytes = snapshot.bytes.len();
    // From here on the snapshot stands. What it replaces only takes room: the next open removes
    // what is left when one of these fails.
    let mut files = files.lock();
    for first in files.covered(index) {
        disk.remove(&format::log_path(dir, first)).map_err(io)?;
        files.forget(first);
    }
    if replaced > 0 {
        disk.remove(&format::snapshot_path(dir, replaced))
            .map_err(io)?;
    }
    Ok(())
}

fn write_snapshot(disk: &dyn Disk, dir: &Path, path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let written = write_unfinished(disk, &unfinished, snapshot);
    if written.is_err() {
        // It takes room that the disk may not have; if it stays, the next open removes it.
        drop(disk.remove(&unfinished));
    }
    written?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(dir)
}

fn write_unfinished(disk: &dyn Disk, path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let file = disk.open(path)?;
    let head = format::encode_snapshot_head(snapshot.index, &snapshot.bytes);
    // An earlier attempt that failed may have left more.
    file.set_len(0)?;
    file.write_at(&head, 0)?;
    file.write_at(&snapshot.bytes, head.len() as u64)?;
    file.sync()
}
