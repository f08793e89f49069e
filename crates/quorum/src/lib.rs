//! The metadata log: opaque entries, in order, committed once most voters have them on disk.
//!
//! [`raft`] is the quorum, of several nodes or of one. What it must not forget, its votes, entries
//! and snapshots, it keeps as records of a journal, of which this page tells.
//!
//! Not here: what an entry means. Entries and snapshots are bytes; whoever proposes them encodes
//! them, and applies what the committed stream brings.
//!
//! The journal, always: a record is answered only after it is synced, in order; after the first
//! failed write or sync nothing is written any more, and everyone is told why ([`Stopped`]); a
//! snapshot takes every log file away that it covers, so the directory does not outgrow what it
//! says.
//!
//! A full disk is no failure as long as nothing is being synced: who asks for room first is told
//! that there is none. Room of [`Limits::reserve_bytes`] is kept for entries that lead to more space
//! or that a start needs ([`Room::Reserved`]), so that a full disk can be emptied, and the process
//! restarted on it.
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
//! | while a refused group is cut | a bad frame, and behind it none that calls it durable | cut there: nobody was told that the group is committed |
//!
//! What a sync never confirmed and open finds all the same may be in memory alone, and after a sync
//! that failed the system holds it for written: open writes it once more, and syncs it, before
//! anybody relies on it.
//!
//! Damage to the very last group is told from a torn write only if the mark behind it reached the
//! disk, as it does within seconds; that is the price of not syncing twice a commit.
//!
//! ## A full disk
//!
//! The reserve is room behind the end of the last log file, allocated without making the file
//! longer: no other file can take it, and reading knows nothing of it. Room for a group and for the
//! reserve behind it is allocated before the group is written; where that fails, only the group's
//! [`Room::Reserved`] entries are written, into the room that is there. If that is not enough either,
//! it is the end: what comes after relies on them. A next log file begins only
//! with a reserve of its own; until there is room for it, this one outgrows
//! [`Limits::log_file_bytes`]. On a file system that cannot allocate ahead, or that copies on
//! write, there is no such reserve, and every entry is refused once the disk is full. A sync that
//! fails, even for want of room, is the end as any other: what the disk then holds is unknown.

mod journal;
pub mod raft;

use bytes::Bytes;

pub use journal::{Fault, OpenError, Recovery, Room, SnapshotError, Stopped};

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
    /// As it was given to [`raft::Quorum::install_snapshot`].
    pub bytes: Bytes,
}

/// Bounds on memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of entries that are proposed and not committed, and of those on the committed stream.
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
