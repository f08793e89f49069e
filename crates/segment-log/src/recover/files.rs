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
use crate::disk::Disk;
use crate::format::Unreadable;
use crate::layout::{CHECKPOINT, META, Name};
use crate::meta;
use crate::segment::{Extent, Segment};
use crate::sync::{Noted, Place};

/// A directory with a log in it.
pub(super) struct Found {
    names: Vec<Name>,
    /// The names that end in `.tmp`.
    temporary: Vec<String>,
    checkpoint: Option<Checkpoint>,
    pub(super) checkpoint_lost: bool,
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
    let path = dir.join(META);
    match meta::read(disk, dir).map_err(|source| io_error(dir, source))? {
        None => {
            let has_log = |name: &String| !matches!(Name::parse(name), Name::Temporary);
            if listed.iter().any(has_log) {
                return Err(OpenError::NoIdentity { path });
            }
            return Ok(None);
        }
        Some(Err(source)) => return Err(unreadable(META, source)),
        Some(Ok(found)) if found != *identity => {
            return Err(OpenError::WrongIdentity {
                path,
                found,
                expected: *identity,
            });
        }
        Some(Ok(_)) => {}
    }
    let read = Checkpoint::read(disk, dir).map_err(|source| io_error(dir, source))?;
    let (checkpoint, checkpoint_lost) = match read {
        None => (None, false),
        Some(Ok(checkpoint)) => (Some(checkpoint), false),
        // Of a newer build: what it means is not ours to guess.
        Some(Err(source @ Unreadable::Version { .. })) => {
            return Err(unreadable(CHECKPOINT, source));
        }
        Some(Err(_)) => (None, true),
    };
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
    let noted = found
        .noted
        .filter(|noted| !known || noted.generation == checkpoint.generation);
    let durable_end = noted.map_or(Offset::ZERO, |noted| noted.durable_end);
    let scan = names.iter().filter_map(|name| match name {
        Name::Segment(base) if *base >= checkpoint.tail_base => Some(*base),
        _ => None,
    });
    Ok(Plan {
        scan: scan.collect(),
        durable_end: durable_end.max(checkpoint.recovery_point),
        durable_place: noted.and_then(|noted| noted.place),
        checkpoint,
        names,
        temporary: found.temporary,
    })
}

/// What to start from without a checkpoint: everything is scanned.
fn made_up(names: &[Name]) -> Checkpoint {
    let first = names.iter().find_map(|name| match name {
        Name::Segment(base) | Name::Swap { base, .. } => Some(*base),
        _ => None,
    });
    let start = first.unwrap_or(Offset::ZERO);
    Checkpoint {
        log_start: start,
        generation: 0,
        recovery_point: start,
        high_watermark: Offset::ZERO,
        cleaned_to: Offset::ZERO,
        log_time: Timestamp::NONE,
        has_producers: false,
        tail_base: start,
        tail_bytes: 0,
        sealed: Vec::new(),
    }
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
        let bytes = disk.file_bytes(&swap.path(dir))?;
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
        let kind = match disk.file_bytes(&segment.name().path(dir)) {
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
