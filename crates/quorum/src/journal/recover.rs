//! Opening a directory: what is there, what a crash left, and what is damage.
//!
//! Repairs what a crash explains and nothing else. Reads everything before it changes anything, so
//! that a refusal leaves the directory as it was.

use crate::journal::disk::Disk;
use crate::journal::format;
use crate::journal::log::Files;
use crate::journal::tail::Tail;
use crate::{Entry, Snapshot};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// Why the metadata log does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The machine refused.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// A file does not hold what was synced to it.
    #[error(
        "the metadata log is damaged: {path} at byte {at}: {fault}. Nothing was changed. Restore \
         this file from a copy; without it, topics or configs would silently be others",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// A file that must be there is not.
    #[error(
        "the metadata log is damaged: entries {first} to {last} are in none of the files of {dir}",
        dir = dir.display()
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// The first missing entry.
        first: u64,
        /// The last missing entry.
        last: u64,
    },
    /// What the log says does not hang together.
    #[error(
        "{dir}: the metadata log is not one of a replicated quorum, or not whole: {reason}. \
         Nothing was changed",
        dir = dir.display()
    )]
    Inconsistent {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The log is of a node that was alone, of before such a node was a quorum of one.
    #[error(
        "the metadata log in {} is of a program before nodes could join, and this one cannot read \
         it; nothing was changed. Go on with that program, or start on a new --data-dir and copy \
         the topics over", dir.display()
    )]
    Outdated {
        /// The directory.
        dir: PathBuf,
    },
    /// The log's thread does not start.
    #[error("the metadata log's thread does not start: {0}")]
    Thread(#[source] io::Error),
}

/// What is wrong at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It does not begin as its kind of file does.
    #[error("no header of a metadata file")]
    Header,
    /// The header is another file's.
    #[error("the header names index {index}, the file name another")]
    Name {
        /// What the header says.
        index: u64,
    },
    /// It is of a version that this program does not read.
    #[error("version {version} is not known to this version of Plimsoll")]
    Version {
        /// The version.
        version: u32,
    },
    /// A frame is of a kind that this program does not know.
    #[error("frame kind {kind} is not known to this version of Plimsoll")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// There should be a whole frame with a matching checksum.
    #[error("no whole entry with a matching checksum, though it was synced")]
    Frame,
    /// The snapshot's length or checksum does not match.
    #[error("the length or checksum does not match")]
    Checksum,
    /// A whole frame is not the next one.
    #[error("entry {index} stands where entry {expected} belongs")]
    Order {
        /// What is there.
        index: u64,
        /// What belongs there.
        expected: u64,
    },
}

/// What recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn group that were cut from the end of the log.
    pub cut_bytes: u64,
    /// Files left by a crash that were removed.
    pub removed_files: Vec<PathBuf>,
}

/// A directory made ready.
pub(crate) struct Found {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) last_index: u64,
    pub(crate) files: Files,
    pub(crate) tail: Tail,
    pub(crate) recovery: Recovery,
}

pub(crate) fn recover(disk: &dyn Disk, dir: &Path, reserve_bytes: u64) -> Result<Found, OpenError> {
    std::fs::create_dir_all(dir).map_err(at_path(dir))?;
    let listing = Listing::read(dir)?;
    let snapshot = newest_snapshot(dir, &listing)?;
    let covered = snapshot.as_ref().map_or(0, |s| s.index);
    let scan = scan_logs(dir, &listing.logs, covered)?;

    let mut recovery = Recovery::default();
    let stale = listing.snapshots.iter().filter(|index| **index < covered);
    let stale = stale.map(|index| format::snapshot_path(dir, *index));
    for path in stale.chain(listing.others).chain(scan.unfinished) {
        disk.remove(&path).map_err(at_path(&path))?;
        recovery.removed_files.push(path);
    }
    let mut files = scan.files;
    let tail = match files.last() {
        Some((first, end)) => {
            let path = format::log_path(dir, first);
            let file = disk.open(&path).map_err(at_path(&path))?;
            if scan.cut_bytes > 0 {
                // Synced before anything is appended: what is cut must not come back behind it.
                file.set_len(end).map_err(at_path(&path))?;
                file.sync().map_err(at_path(&path))?;
                recovery.cut_bytes = scan.cut_bytes;
            }
            let (at, unsynced) = &scan.unsynced;
            if !unsynced.is_empty() {
                // It was read, and is believed from here on, but may be in memory alone: after a
                // sync that failed the system takes it for clean, and another sync passes it over.
                file.write_at(unsynced, *at).map_err(at_path(&path))?;
                file.sync().map_err(at_path(&path))?;
            }
            Tail::resume(file, end, reserve_bytes).map_err(at_path(&path))?
        }
        None => {
            let first = scan.last_index + 1;
            let tail = Tail::begin(disk, dir, first, reserve_bytes).map_err(at_path(dir))?;
            tail.sync().map_err(at_path(dir))?;
            files.push(first, tail.end());
            tail
        }
    };
    disk.sync_dir(dir).map_err(at_path(dir))?;
    Ok(Found {
        snapshot,
        entries: scan.entries,
        last_index: scan.last_index,
        files,
        tail,
        recovery,
    })
}

/// The directory's files by kind, sorted by index.
#[derive(Default)]
struct Listing {
    logs: Vec<u64>,
    snapshots: Vec<u64>,
    /// Unfinished snapshots.
    others: Vec<PathBuf>,
}

impl Listing {
    fn read(dir: &Path) -> Result<Self, OpenError> {
        let mut listing = Self::default();
        for file in std::fs::read_dir(dir).map_err(at_path(dir))? {
            let path = file.map_err(at_path(dir))?.path();
            let index = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            match (path.extension().and_then(|e| e.to_str()), index) {
                (Some("log"), Some(index)) => listing.logs.push(index),
                (Some("snapshot"), Some(index)) => listing.snapshots.push(index),
                (Some("tmp"), _) => listing.others.push(path),
                // Not ours: left alone.
                _ => {}
            }
        }
        listing.logs.sort_unstable();
        listing.snapshots.sort_unstable();
        Ok(listing)
    }
}

fn newest_snapshot(dir: &Path, listing: &Listing) -> Result<Option<Snapshot>, OpenError> {
    let Some(&index) = listing.snapshots.last() else {
        return Ok(None);
    };
    let path = format::snapshot_path(dir, index);
    let file = Bytes::from(std::fs::read(&path).map_err(at_path(&path))?);
    let damaged = |fault| OpenError::Damaged {
        path: path.clone(),
        at: 0,
        fault,
    };
    let (named, payload) = format::decode_snapshot(&file).map_err(damaged)?;
    if named != index {
        return Err(damaged(Fault::Name { index: named }));
    }
    let bytes = file.slice_ref(payload);
    Ok(Some(Snapshot { index, bytes }))
}

/// What the log files hold.
struct Scan {
    files: Files,
    entries: Vec<Entry>,
    last_index: u64,
    cut_bytes: u64,
    /// What nothing in the last file says was synced, and where that is.
    unsynced: (u64, Bytes),
    unfinished: Option<PathBuf>,
}

fn scan_logs(dir: &Path, logs: &[u64], covered: u64) -> Result<Scan, OpenError> {
    let mut scan = Scan {
        files: Files::default(),
        entries: Vec::new(),
        last_index: covered,
        cut_bytes: 0,
        unsynced: (0, Bytes::new()),
        unfinished: None,
    };
    let missing = |first, last| OpenError::Missing {
        dir: dir.to_owned(),
        first,
        last,
    };
    // The first file may begin at or below what the snapshot covers, each later one follows on.
    let mut next = None;
    for (place, &first) in logs.iter().enumerate() {
        let is_last = place + 1 == logs.len();
        let path = format::log_path(dir, first);
        let file = Bytes::from(std::fs::read(&path).map_err(at_path(&path))?);
        if is_last && is_unfinished(&file) {
            scan.unfinished = Some(path);
            break;
        }
        let expected = next.unwrap_or(first.min(covered + 1));
        if first != expected {
            return Err(missing(expected, first.saturating_sub(1)));
        }
        let read = scan_file(&file, first, is_last).map_err(|(at, fault)| OpenError::Damaged {
            path: path.clone(),
            at,
            fault,
        })?;
        scan.files.push(first, read.end);
        scan.cut_bytes = read.cut_bytes;
        scan.unsynced = read.unsynced;
        next = Some(first + read.entries.len() as u64);
        scan.entries.extend(
            read.entries
                .into_iter()
                .filter(|entry| entry.index > covered),
        );
    }
    match next {
        // A log file is made before the first snapshot and one is always kept.
        None if covered > 0 => Err(missing(covered + 1, covered + 1)),
        None => Ok(scan),
        Some(next) if next <= covered => Err(missing(next, covered)),
        Some(next) => {
            scan.last_index = next - 1;
            Ok(scan)
        }
    }
}

/// Whether a crash came before the file's header was synced.
fn is_unfinished(file: &[u8]) -> bool {
    file.len() <= format::HEADER_BYTES && format::decode_log_header(file) == Err(Fault::Header)
}

struct ReadFile {
    entries: Vec<Entry>,
    end: u64,
    cut_bytes: u64,
    unsynced: (u64, Bytes),
}

/// Reads one log file to its end, or to a torn group if it is the last one.
fn scan_file(file: &Bytes, first: u64, is_last: bool) -> Result<ReadFile, (u64, Fault)> {
    let index = format::decode_log_header(file).map_err(|fault| (0, fault))?;
    if index != first {
        return Err((0, Fault::Name { index }));
    }
    let mut entries = Vec::new();
    let mut at = format::HEADER_BYTES;
    // Where the entries begin that no frame so far says were synced, and the first of them.
    let mut unsynced = (at, first);
    while at < file.len() {
        let expected = first + entries.len() as u64;
        let rest = &file[at..];
        let frame = match format::decode_frame(rest) {
            Ok(frame) => frame,
            Err(Fault::Frame) if is_last && !says_durable(rest, expected) => break,
            Err(fault) => return Err((at as u64, fault)),
        };
        let wanted = match frame.payload {
            Some(_) => expected,
            None => expected - 1,
        };
        if frame.index != wanted {
            let index = frame.index;
            return Err((
                at as u64,
                Fault::Order {
                    index,
                    expected: wanted,
                },
            ));
        }
        if frame.durable >= unsynced.1 {
            // What was synced together is told of together, by the first frame behind it.
            unsynced = (at, frame.durable + 1);
        }
        if let Some(payload) = frame.payload {
            let index = frame.index;
            let bytes = file.slice_ref(payload);
            entries.push(Entry { index, bytes });
        }
        at += frame.bytes();
    }
    let has_unsynced = first + entries.len() as u64 > unsynced.1;
    let unsynced = if has_unsynced { unsynced.0 } else { at };
    Ok(ReadFile {
        entries,
        end: at as u64,
        cut_bytes: (file.len() - at) as u64,
        unsynced: (unsynced as u64, file.slice(unsynced..at)),
    })
}

/// Whether some frame in `rest` was written when entry `index` had been synced: then the bad frame
/// in its place is damage and not a torn write.
fn says_durable(rest: &[u8], index: u64) -> bool {
    format::frames_within(rest).any(|frame| frame.durable >= index)
}

fn at_path(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io {
        path: path.clone(),
        error,
    }
}
