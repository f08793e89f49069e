//! What is in the directory, and what it means.
//!
//! Finishes or undoes steps that a crash left half done, as far as names go: temporary files,
//! compaction's output, segments that left the log. Not here: reading batches.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plimsoll_types::{Offset, Timestamp};

use super::{OpenError, Recovery, io_error, lost};
use crate::checkpoint::Checkpoint;
use crate::config::Identity;
use crate::damage::DamageKind;
use crate::disk::{Disk, DiskFile, OpenFile};
use crate::epochs_file;
use crate::format::Unreadable;
use crate::layout::{CHECKPOINT, DURABLE, META, Name};
use crate::meta;
use crate::noted::{Noted, Place};
use crate::segment::{Extent, Segment};
use crate::segment_file::{FRONT_BYTES, SegmentFile};

/// A directory with a log in it.
pub(super) struct Found {
    names: Vec<Name>,
    /// The names that end in `.tmp`.
    temporary: Vec<String>,
    checkpoint: Option<Checkpoint>,
    pub(super) checkpoint_lost: bool,
    /// In the `durable` file.
    noted: Option<Noted>,
}

/// What to recover from where.
pub(super) struct Plan {
    /// As it was written, or as good as it can be made up; with compaction's output in it.
    pub(super) checkpoint: Checkpoint,
    /// Bases of the segments to be scanned, in order.
    pub(super) scan: Vec<Offset>,
    /// No offset below it may be lost silently or given out again.
    pub(super) durable_end: Offset,
    /// Where that is, if it was noted.
    pub(super) durable_place: Option<Place>,
    /// Segments that end at or below this are in the checkpoint on the disk.
    pub(super) sealed_below: Offset,
    names: Vec<Name>,
    temporary: Vec<String>,
}

/// Looks into the directory; `None` if there is no log in it yet.
pub(super) fn look(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
) -> Result<Option<Found>, OpenError> {
    let listed = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|source| io_error(dir, source))?,
    };
    let unreadable = |name: &str, source| OpenError::Unreadable {
        path: dir.join(name),
        source,
    };
    let read = Checkpoint::read(disk, dir).map_err(|source| io_error(dir, source))?;
    let checkpoint = match read {
        // Of a newer build: what it means is not ours to guess.
        Some(Err(source @ Unreadable::Version { .. })) => {
            return Err(unreadable(CHECKPOINT, source));
        }
        Some(Err(_)) | None => None,
        Some(Ok(checkpoint)) => Some(checkpoint),
    };
    let first = Checkpoint::empty(Offset::ZERO);
    let begun = listed
        .iter()
        .any(|name| name == DURABLE || is_segment(name))
        || checkpoint
            .as_ref()
            .is_some_and(|checkpoint| *checkpoint != first);
    let path = dir.join(META);
    match meta::read(disk, dir).map_err(|source| io_error(dir, source))? {
        None if begun => return Err(OpenError::NoIdentity { path }),
        None => return Ok(None),
        Some(Err(source)) => return Err(unreadable(META, source)),
        Some(Ok(found)) if found != *identity => {
            return Err(OpenError::WrongIdentity {
                path,
                found,
                expected: *identity,
            });
        }
        // It was being made when the crash came; the next append makes it again.
        Some(Ok(_)) if checkpoint.is_none() && !begun => return Ok(None),
        Some(Ok(_)) => {}
    }
    let checkpoint_lost = checkpoint.is_none();
    let noted = Noted::read(disk, dir).map_err(|source| io_error(dir, source))?;
    let mut names: Vec<_> = listed.iter().map(|name| Name::parse(name)).collect();
    names.sort_unstable();
    Ok(Some(Found {
        names,
        temporary: listed
            .into_iter()
            .filter(|n| Name::parse(n) == Name::Temporary)
            .collect(),
        checkpoint,
        checkpoint_lost,
        noted,
    }))
}

/// Decides what is in the log as far as names and checkpoint tell.
pub(super) fn plan(
    disk: &dyn Disk,
    dir: &Path,
    found: Found,
    report: &mut Recovery,
) -> io::Result<Plan> {
    let known = found.checkpoint.is_some();
    let mut checkpoint = found.checkpoint.unwrap_or_else(|| made_up(&found.names));
    let mut names = found.names;
    for name in names.clone() {
        if let Name::Swap { base, end } = name {
            finish_swap(disk, dir, (base, end), known, &mut checkpoint, &mut names)?;
            report.leftovers += 1;
        }
    }
    let cutting = std::mem::take(&mut checkpoint.cutting);
    if cutting {
        finish_cut(disk, dir, &checkpoint, &mut names)?;
        report.leftovers += 1;
    }
    let scan = names.iter().filter_map(|name| match name {
        Name::Segment(base) if *base >= checkpoint.tail_base => Some(*base),
        _ => None,
    });
    let scan: Vec<_> = scan.collect();
    let mut notes: Vec<_> = found.noted.into_iter().collect();
    for base in &scan {
        let path = Name::Segment(*base).path(dir);
        let file = SegmentFile::open(disk, &path, OpenFile::Read)?;
        notes.extend(file.notes().into_iter().flatten());
    }
    // Without a checkpoint the last cut is the one that is noted last.
    notes.retain(|noted| !known || noted.generation == checkpoint.generation);
    let noted = notes.into_iter().max_by_key(Noted::rank);
    let mut durable_end = noted.map_or(Offset::ZERO, |noted| noted.durable_end);
    if !known {
        // Nobody knows. What was rolled was most likely durable: better to report than to cut.
        durable_end = durable_end.max(last_base(&names));
    }
    Ok(Plan {
        scan,
        durable_end: durable_end.max(checkpoint.recovery_point),
        sealed_below: if known {
            checkpoint.tail_base
        } else {
            Offset::ZERO
        },
        durable_place: noted.and_then(|noted| noted.place),
        checkpoint,
        names,
        temporary: found.temporary,
    })
}

/// What to start from when the checkpoint is lost: everything is scanned.
fn made_up(names: &[Name]) -> Checkpoint {
    let first = names.iter().find_map(|name| match name {
        Name::Segment(base) | Name::Swap { base, .. } => Some(*base),
        _ => None,
    });
    Checkpoint::empty(first.unwrap_or(Offset::ZERO))
}

fn last_base(names: &[Name]) -> Offset {
    let bases = names.iter().filter_map(|name| match name {
        Name::Segment(base) => Some(*base),
        _ => None,
    });
    bases.max().unwrap_or(Offset::ZERO)
}

fn is_segment(name: &str) -> bool {
    matches!(Name::parse(name), Name::Segment(_) | Name::Swap { .. })
}

/// A cut had happened: what is beyond it goes, and only then is the cut over.
fn finish_cut(
    disk: &dyn Disk,
    dir: &Path,
    checkpoint: &Checkpoint,
    names: &mut Vec<Name>,
) -> io::Result<()> {
    let beyond = |name: &Name| match name {
        Name::Segment(base) | Name::Index(base) => *base >= checkpoint.recovery_point,
        _ => false,
    };
    for name in names.iter().filter(|name| beyond(name)) {
        disk.remove(&name.path(dir))?;
    }
    names.retain(|name| !beyond(name));
    let mut epochs = epochs_file::load(disk, dir)?;
    if epochs.intact && epochs.vector.truncate_to(checkpoint.recovery_point) {
        epochs_file::rewrite(disk, dir, &epochs.vector)?;
    }
    disk.sync_dir(dir)?;
    checkpoint.write(disk, dir)
}

/// Compaction had decided: its output takes the place of what it was made from.
fn finish_swap(
    disk: &dyn Disk,
    dir: &Path,
    (base, end): (Offset, Offset),
    known: bool,
    checkpoint: &mut Checkpoint,
    names: &mut Vec<Name>,
) -> io::Result<()> {
    let swap = Name::Swap { base, end };
    let inside = |at: Offset| base <= at && at < end;
    let covered = |extent: &Extent| inside(extent.base);
    names.retain(|name| *name != swap);
    if known && !checkpoint.sealed.iter().any(covered) {
        // It left the log before it got its name.
        return disk.remove(&swap.path(dir));
    }
    if known {
        let replaced = checkpoint.sealed.iter().filter(|e| covered(e));
        let max_timestamp = replaced
            .map(|e| e.max_timestamp)
            .max()
            .unwrap_or(Timestamp::NONE);
        let bytes = SegmentFile::open(disk, &swap.path(dir), OpenFile::Read)?.bytes()?;
        checkpoint.sealed.retain(|extent| !covered(extent));
        let at = checkpoint
            .sealed
            .partition_point(|extent| extent.base < base);
        checkpoint.sealed.insert(
            at,
            Extent {
                base,
                end,
                bytes,
                max_timestamp,
            },
        );
        // Before a file goes that the old checkpoint names.
        checkpoint.write(disk, dir)?;
    }
    let stale: Vec<_> = names
        .iter()
        .filter(|name| matches!(name, Name::Segment(at) | Name::Index(at) if inside(*at)))
        .copied()
        .collect();
    for name in &stale {
        disk.remove(&name.path(dir))?;
    }
    names.retain(|name| !stale.contains(name));
    // The index of what was replaced must not come back beside the output.
    disk.sync_dir(dir)?;
    let name = Name::Segment(base);
    disk.rename(&swap.path(dir), &name.path(dir))?;
    names.push(name);
    names.sort_unstable();
    disk.sync_dir(dir)
}

/// Looks whether the sealed segments' files are there and long enough. Their bytes are looked at
/// when they are read.
pub(super) fn check_sealed(
    disk: &dyn Disk,
    dir: &Path,
    sealed: &[Arc<Segment>],
    report: &mut Recovery,
) -> io::Result<()> {
    for segment in sealed.iter().filter(|segment| segment.bytes() > 0) {
        let path = segment.name().path(dir);
        let kind = match bytes_behind_front(disk, &path, segment.bytes()) {
            Ok(bytes) if bytes >= segment.bytes() => continue,
            Ok(bytes) => (DamageKind::Short, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (DamageKind::Missing, 0),
            Err(error) => return Err(error),
        };
        let (kind, position) = kind;
        report.damage.push(lost(
            segment.base,
            position,
            segment.base,
            segment.end(),
            kind,
        ));
    }
    Ok(())
}

/// How much there is for batches, at least, in a file of which `wanted` are needed. Opened only if
/// its length leaves a doubt.
fn bytes_behind_front(disk: &dyn Disk, path: &Path, wanted: u64) -> io::Result<u64> {
    let all = disk.file_bytes(path)?;
    if all >= wanted + FRONT_BYTES {
        return Ok(all - FRONT_BYTES);
    }
    SegmentFile::open(disk, path, OpenFile::Read)?.bytes()
}

/// Takes away what no step needs any more.
pub(super) fn remove_leftovers(
    disk: &dyn Disk,
    dir: &Path,
    plan: &Plan,
    segments: &[Arc<Segment>],
    report: &mut Recovery,
) -> io::Result<()> {
    let in_log = |base: &Offset| segments.iter().any(|segment| segment.base == *base);
    let mut gone = 0;
    for name in &plan.names {
        let stays = match name {
            Name::Segment(base) | Name::Index(base) => in_log(base),
            Name::Producers(at) => *at <= plan.checkpoint.recovery_point,
            Name::Cleaned { .. } => false,
            Name::Swap { .. } | Name::Temporary | Name::Other => true,
        };
        if !stays {
            disk.remove(&name.path(dir))?;
            gone += 1;
        }
    }
    for name in &plan.temporary {
        disk.remove(&dir.join(name))?;
        gone += 1;
    }
    report.leftovers += gone;
    // Before anything new can take one of the names.
    if gone > 0 { disk.sync_dir(dir) } else { Ok(()) }
}
