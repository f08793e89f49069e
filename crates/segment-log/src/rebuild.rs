//! Rebuilding from the log what a side file should have said.
//!
//! Walks headers, not bodies: what matters here is in the headers, and whoever serves the bodies
//! verifies them. A bad batch ends the walk of its segment. Not here: recovery's scan, which
//! decides what is in the log.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Offset;

use crate::disk::{Disk, OpenFile};
use crate::epochs::{EpochEntry, EpochVector};
use crate::layout::Name;
use crate::producers::ProducerStates;
use crate::producers_file;
use crate::scan::{Found, Look, Scan, Walked};
use crate::segment::Segment;
use crate::segment_file::SegmentFile;

/// The producers at `end`: the newest snapshot at or below it, and what `segments` add.
pub(crate) fn producers(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Arc<Segment>],
    range: Range<Offset>,
    expiry: Duration,
) -> io::Result<ProducerStates> {
    let end = range.end;
    let mut snapshots: Vec<_> = disk
        .list(dir)?
        .iter()
        .filter_map(|name| match Name::parse(name) {
            Name::Producers(at) if at <= end => Some(at),
            _ => None,
        })
        .collect();
    snapshots.sort_unstable();
    let mut from = range.start;
    let mut states = ProducerStates::new(expiry);
    while let Some(at) = snapshots.pop() {
        if let Some(known) = producers_file::read(disk, dir, at, expiry)? {
            (states, from) = (known, at);
            break;
        }
    }
    walk(disk, dir, segments, from..end, |batch| {
        states.apply(&batch.header)
    })?;
    Ok(states)
}

/// Adds to `vector` the epochs that the batches of `segments` tell and it does not.
pub(crate) fn epochs(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Arc<Segment>],
    vector: &mut EpochVector,
) -> io::Result<()> {
    walk(disk, dir, segments, Offset::ZERO..Offset::MAX, |batch| {
        let start = batch.header.base;
        if let Some(epoch) = batch.header.leader_epoch {
            vector.try_push(EpochEntry { epoch, start });
        }
    })
}

/// Calls `each` for the batches of `segments` that lie in `range`, in order.
fn walk(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Arc<Segment>],
    range: Range<Offset>,
    mut each: impl FnMut(&Walked),
) -> io::Result<()> {
    let (from, end) = (range.start, range.end);
    for segment in segments
        .iter()
        .filter(|s| s.end() > from && s.base < end && s.bytes() > 0)
    {
        let path = segment.name().path(dir);
        let file = match SegmentFile::open(disk, &path, OpenFile::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result?,
        };
        let mut scan = Scan::new(&file, Look::Headers, 0, segment.bytes())?;
        while let Found::Batch(batch) = scan.next()? {
            if batch.header.end() > end {
                break;
            }
            if batch.header.end() > from {
                each(&batch);
            }
        }
    }
    Ok(())
}
