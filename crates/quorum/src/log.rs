//! The thread that writes the log, and the snapshots that keep the log short.

use crate::disk::{Disk, DiskFile};
use crate::format::{self, Frame};
use crate::queue::Queue;
use crate::recover::create_log;
use crate::{Entry, Snapshot};
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
    pub(crate) tail: Box<dyn DiskFile>,
    /// Where the next frame goes in `tail`.
    pub(crate) end: u64,
    pub(crate) log_file_bytes: u64,
}

impl Writer {
    /// Writes what is proposed until the queue closes or the disk fails.
    pub(crate) fn run(mut self) {
        let stop = StopOnUnwind(Arc::clone(&self.queue));
        while let Some((group, durable)) = self.queue.take() {
            if let Err(error) = self.write(group, durable) {
                let place = self.dir.display();
                self.queue
                    .stop(&format!("writing to {place} failed: {error}"));
                break;
            }
        }
        self.queue.stop("it was closed");
        drop(stop);
    }

    /// Writes and syncs a group, tells of it, and readies the file for the next one.
    fn write(&mut self, group: Vec<Entry>, durable: u64) -> io::Result<()> {
        let Some(last) = group.last().map(|entry| entry.index) else {
            return Ok(());
        };
        let mut frames = Vec::new();
        for entry in &group {
            let payload = Some(&*entry.bytes);
            let index = entry.index;
            format::encode_frame(
                &mut frames,
                Frame {
                    index,
                    durable,
                    payload,
                },
            );
        }
        self.append(&frames)?;
        self.tail.sync()?;
        self.queue.commit(group);
        if self.end >= self.log_file_bytes {
            // The next file's header says that this one was synced, as a mark would.
            let mut files = self.files.lock();
            (self.tail, self.end) = create_log(&*self.disk, &self.dir, &mut files, last + 1)?;
            return Ok(());
        }
        let mut mark = Vec::new();
        let (index, durable, payload) = (last, last, None);
        format::encode_frame(
            &mut mark,
            Frame {
                index,
                durable,
                payload,
            },
        );
        self.append(&mark)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tail.write_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.files.lock().set_last_bytes(self.end);
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
    let file = disk.open(&unfinished)?;
    let head = format::encode_snapshot_head(snapshot.index, &snapshot.bytes);
    // An earlier attempt that failed may have left more.
    file.set_len(0)?;
    file.write_at(&head, 0)?;
    file.write_at(&snapshot.bytes, head.len() as u64)?;
    file.sync()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(dir)
}
