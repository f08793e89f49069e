//! The metadata log: opaque entries, in order, committed once a quorum has them on disk.
//!
//! Two faces: [`raft`] is a quorum of several nodes, and of one. What is here at the top is a log
//! of one node, in which an entry is committed when this node's disk has it; `raft` keeps its own
//! records in such a log, so what this page says of disks and crashes holds for both.
//!
//! Not here: what an entry means. Entries and snapshots are bytes; whoever proposes them encodes
//! them, and applies what the committed stream brings.
//!
//! Always: a proposal is answered only after it is synced; the stream brings every committed entry
//! once and in order; after the first failed write or sync nothing is written any more, and
//! everyone is told why ([`Stopped`]); a snapshot, asked for by [`Quorum::wants_snapshot`], takes
//! every log file away that it covers, so the directory does not outgrow what it says.
//!
//! A full disk is no failure as long as nothing is being synced: entries that find no room are
//! refused ([`CommitError::Full`]), leave nothing behind, and are taken again once there is room.
//! Room of [`Limits::reserve_bytes`] is kept for entries that lead to more space or that a start
//! needs ([`Room::Reserved`]), so that a full disk can be emptied, and the process restarted on it.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let limits = plimsoll_quorum::Limits::default();
//! let opened = plimsoll_quorum::open(dir.path(), limits)?;
//! let index = opened.quorum.propose("a fact".into())?.wait()?;
//! assert_eq!(opened.committed.next()?.index, index);
//! drop(opened);
//!
//! let opened = plimsoll_quorum::open(dir.path(), limits)?;
//! assert_eq!(opened.entries[0].bytes, "a fact");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # On disk
//!
//! One directory. All numbers are little-endian; each crc is CRC-32 (IEEE).
//!
//! ```text
//! <first index, 20 digits>.log        log files; the last one is being written
//! <last index, 20 digits>.snapshot    the newest snapshot: what entries up to there amount to
//! *.tmp                               a snapshot being written; removed at open
//!
//! log file      0  magic "PLIMMETA"   8  version u32 = 1   12  first index u64   20  crc u32 of 0..20
//! then frames   0  magic "PLMf"       4  kind u8: 1 entry, 2 mark   5  three zeros
//!               8  payload length u32           12  index u64
//!              20  durable u64: the last index that was synced before this frame was written
//!              28  crc u32 of 0..28 and the payload   32  payload
//! snapshot      0  magic "PLIMSNAP"   8  version u32 = 1   12  last index u64
//!              20  payload length u64 28  crc u32 of 0..28 and the payload   32  payload
//! ```
//!
//! An entry's index is one more than the entry's before it; the first one of a log is 1. A mark has
//! the index of the entry before it and no payload. It is written after each group's sync and not
//! itself synced: it lets a later open know that what lies before it had been synced.
//!
//! ## What a crash leaves, and what open makes of it
//!
//! | crash | found | done |
//! | --- | --- | --- |
//! | while a group is written or before its sync ends | a bad frame, and behind it none that calls it durable | cut there: nobody was told that the group is committed |
//! | later damage | a bad frame, and behind it one that calls it durable, or another log file | refused, with file and offset |
//! | while a new log file gets its header | a last file no longer than a header, and no good one | the file is removed: entries follow only a synced header |
//! | while a snapshot is written | a `.tmp` file | removed |
//! | after a snapshot's rename, before old files go | snapshots and log files below it | snapshots are removed; log files are read past, and go with the next snapshot |
//!
//! | while a refused group is cut | a bad frame, and behind it none that calls it durable | cut there: nobody was told that the group is committed |
//!
//! Damage to the very last group is told from a torn write only if the mark behind it reached the
//! disk, as it does within seconds; that is the price of not syncing twice a commit.
//!
//! ## A full disk
//!
//! The reserve is room behind the end of the last log file, allocated without making the file
//! longer: no other file can take it, and reading knows nothing of it. Room for a group and for the
//! reserve behind it is allocated before the group is written; where that fails, only the group's
//! [`Room::Reserved`] entries are written, into the room that is there. A next log file begins only
//! with a reserve of its own; until there is room for it, this one outgrows
//! [`Limits::log_file_bytes`]. On a file system that cannot allocate ahead, or that copies on
//! write, there is no such reserve, and every entry is refused once the disk is full. A sync that
//! fails, even for want of room, is the end as any other: what the disk then holds is unknown.

mod disk;
mod format;
mod log;
mod queue;
pub mod raft;
mod recover;
mod tail;

use bytes::Bytes;
use disk::{Disk, RealDisk};
use parking_lot::Mutex;
use queue::Queue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

pub use log::SnapshotError;
pub use queue::{CommitError, Committed, Proposal, ProposeError, Room, Stopped};
pub use recover::{Fault, OpenError, Recovery};

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub index: u64,
    /// What was proposed.
    pub bytes: Bytes,
}

/// What all entries up to an index amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is in it.
    pub index: u64,
    /// As it was given to [`Quorum::install_snapshot`].
    pub bytes: Bytes,
}

/// Bounds on memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of entries that are proposed but not yet taken off the committed stream.
    pub max_queued_bytes: usize,
    /// The size at which a log file is followed by the next.
    pub log_file_bytes: u64,
    /// Bytes of log after which a snapshot is wanted, or twice the last snapshot if that is more.
    pub snapshot_after_bytes: u64,
    /// Room kept on the disk for entries of [`Room::Reserved`].
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_queued_bytes: 128 << 20,
            log_file_bytes: 4 << 20,
            snapshot_after_bytes: 16 << 20,
            // Several starts of a node that leads ten thousand partitions, and any number of
            // deletions.
            reserve_bytes: 4 << 20,
        }
    }
}

/// What [`open`] found and made.
#[derive(Debug)]
pub struct Opened {
    /// The log, open for proposals.
    pub quorum: Quorum,
    /// What is committed from now on.
    pub committed: Committed,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// Every committed entry after the snapshot.
    pub entries: Vec<Entry>,
    /// What recovery did.
    pub recovery: Recovery,
}

/// Opens the metadata log in `dir`, which is made if it is not there.
///
/// The caller sees to it that nobody else has the directory open (the data directory's lock).
///
/// # Errors
/// Damage, a version from the future, or the machine's refusal; nothing is changed then.
pub fn open(dir: &Path, limits: Limits) -> Result<Opened, OpenError> {
    open_on(Arc::new(RealDisk), dir, limits)
}

fn open_on(disk: Arc<dyn Disk>, dir: &Path, limits: Limits) -> Result<Opened, OpenError> {
    open_log(disk, dir, limits, false)
}

fn open_log(
    disk: Arc<dyn Disk>,
    dir: &Path,
    limits: Limits,
    strict: bool,
) -> Result<Opened, OpenError> {
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
        strict,
    };
    let thread = std::thread::Builder::new()
        .name("metadata-log".to_owned())
        .spawn(move || writer.run())
        .map_err(OpenError::Thread)?;
    Ok(Opened {
        quorum: Quorum {
            disk,
            dir: dir.to_owned(),
            queue: Arc::clone(&queue),
            files,
            snapshots: Mutex::new(log::Snapshots {
                index: found.snapshot.as_ref().map_or(0, |s| s.index),
                bytes: found.snapshot.as_ref().map_or(0, |s| s.bytes.len()),
            }),
            limits,
            thread: Mutex::new(Some(thread)),
        },
        committed: Committed::new(queue),
        snapshot: found.snapshot,
        entries: found.entries,
        recovery: found.recovery,
    })
}

/// The metadata log, open. Dropping it writes what was proposed and ends its thread.
#[derive(Debug)]
pub struct Quorum {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    queue: Arc<Queue>,
    files: Arc<Mutex<log::Files>>,
    snapshots: Mutex<log::Snapshots>,
    limits: Limits,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Quorum {
    /// Puts an entry into the log. Entries are committed in the order of these calls; those that
    /// wait together are synced together.
    ///
    /// # Errors
    /// Too many bytes wait, the entry is too large, or the log has stopped.
    pub fn propose(&self, entry: Bytes) -> Result<Proposal, ProposeError> {
        self.propose_within(Room::Free, entry)
    }

    /// As [`Quorum::propose`], with a say in what is used of a full disk.
    ///
    /// # Errors
    /// As there.
    pub fn propose_within(&self, room: Room, entry: Bytes) -> Result<Proposal, ProposeError> {
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

    /// The last committed index; 0 before the first entry.
    #[must_use]
    pub fn committed_index(&self) -> u64 {
        self.queue.committed_index()
    }

    /// Why nothing is written any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.queue.stopped()
    }

    /// Whether enough log has gathered for a snapshot to be worth its writing.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        let last = u64::try_from(self.snapshots.lock().bytes).unwrap_or(u64::MAX);
        let enough = self.limits.snapshot_after_bytes.max(last.saturating_mul(2));
        self.files.lock().bytes() >= enough
    }

    /// Makes `snapshot` the newest, and removes log files that hold nothing after it.
    ///
    /// # Errors
    /// The snapshot reaches past what is committed or is older than the newest one, or the disk
    /// failed. The earlier snapshot and the log then stand as before.
    pub fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
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

impl Drop for Quorum {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
