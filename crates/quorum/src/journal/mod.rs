//! Records of one node, in order, each answered once it is synced; and a snapshot in place of the
//! oldest. The crate's page tells how they lie on disk, and what is made of a crash.

pub(crate) mod disk;
pub(crate) mod format;
mod log;
mod queue;
mod recover;
mod tail;

use crate::{Entry, Limits, Snapshot};
use bytes::Bytes;
use disk::Disk;
use parking_lot::Mutex;
use queue::Queue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

pub use log::SnapshotError;
pub(crate) use queue::{CommitError, Proposal, ProposeError};
pub use queue::{Room, Stopped};
pub use recover::{Fault, OpenError, Recovery};

/// What [`open`] found and made.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Open for proposals.
    pub(crate) journal: Journal,
    /// The newest snapshot.
    pub(crate) snapshot: Option<Snapshot>,
    /// Every entry after the snapshot.
    pub(crate) entries: Vec<Entry>,
    /// What recovery did.
    pub(crate) recovery: Recovery,
}

/// Opens the journal in `dir`, which is made if it is not there.
///
/// The caller sees to it that nobody else has the directory open (the data directory's lock).
///
/// # Errors
/// Damage, a version from the future, or the machine's refusal; nothing is changed then.
pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, limits: Limits) -> Result<Opened, OpenError> {
    let found = recover::recover(&*disk, dir, limits.reserve_bytes)?;
    let queue = Arc::new(Queue::new(found.last_index, limits.max_queued_bytes));
    let files = Arc::new(Mutex::new(found.files));
    let writer = log::Writer {
        disk: Arc::clone(&disk),
        dir: dir.to_owned(),
        queue: Arc::clone(&queue),
        files: Arc::clone(&files),
        tail: found.tail,
        log_file_bytes: limits.log_file_bytes,
        reserve_bytes: limits.reserve_bytes,
    };
    let thread = std::thread::Builder::new()
        .name("metadata-log".to_owned())
        .spawn(move || writer.run())
        .map_err(OpenError::Thread)?;
    Ok(Opened {
        journal: Journal {
            disk,
            dir: dir.to_owned(),
            queue,
            files,
            snapshots: Mutex::new(log::Snapshots {
                index: found.snapshot.as_ref().map_or(0, |s| s.index),
                bytes: found.snapshot.as_ref().map_or(0, |s| s.bytes.len()),
            }),
            limits,
            thread: Mutex::new(Some(thread)),
        },
        snapshot: found.snapshot,
        entries: found.entries,
        recovery: found.recovery,
    })
}

/// The journal, open. Dropping it writes what was proposed and ends its thread.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    queue: Arc<Queue>,
    files: Arc<Mutex<log::Files>>,
    snapshots: Mutex<log::Snapshots>,
    limits: Limits,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Puts an entry into the log. Entries are committed in the order of these calls; those that
    /// wait together are synced together.
    ///
    /// # Errors
    /// Too many bytes wait, the entry is too large, or the log has stopped.
    pub(crate) fn propose(&self, room: Room, entry: Bytes) -> Result<Proposal, ProposeError> {
        Queue::propose(&self.queue, entry, room, None)
    }

    /// Resolves when there is room for `bytes` more, which others' entries may then take.
    pub(crate) fn ask_room(&self, room: Room, bytes: u64) -> Result<Proposal, ProposeError> {
        Queue::propose(&self.queue, Bytes::new(), room, Some(bytes))
    }

    /// Writes what was proposed and ends the thread.
    pub(crate) fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the writer has stopped the queue already; there is nobody left to tell.
            drop(thread.join());
        }
    }

    /// Resolves when nothing is written any more, with the reason: also where all that was proposed
    /// before was committed, as when the next log file cannot be begun.
    pub(crate) fn ended(&self) -> Proposal {
        Queue::ended(&self.queue)
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.queue.stopped()
    }

    /// Whether enough log has gathered for a snapshot to be worth its writing.
    pub(crate) fn wants_snapshot(&self) -> bool {
        let last = u64::try_from(self.snapshots.lock().bytes).unwrap_or(u64::MAX);
        let enough = self.limits.snapshot_after_bytes.max(last.saturating_mul(2));
        self.files.lock().bytes() >= enough
    }

    /// Makes `snapshot` the newest, and removes log files that hold nothing after it.
    ///
    /// # Errors
    /// The snapshot reaches past what is committed or is older than the newest one, or the disk
    /// failed. The earlier snapshot and the log then stand as before.
    pub(crate) fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let committed = self.queue.committed_index();
        let mut snapshots = self.snapshots.lock();
        log::install(
            &*self.disk,
            &self.dir,
            &self.files,
            &mut snapshots,
            committed,
            snapshot,
        )
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
pub(crate) mod tests;
