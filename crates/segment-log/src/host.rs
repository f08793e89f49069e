//! What all logs of a process share: the file system, and the bound on open files and maps.
//!
//! A segment that is read or written gets a map, an index in memory, a descriptor; the host counts
//! segments that have any of it and takes it from one that was not used of late when there are too
//! many. Nothing is lost by that but the time to open it again. Not here: what a segment is.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::disk::{Disk, RealDisk};
use crate::segment::Segment;

/// What all logs of a process share. Clones are the same host.
#[derive(Clone, Debug)]
pub struct LogHost {
    disk: Arc<dyn Disk>,
    open: Arc<OpenSegments>,
}

impl LogHost {
    /// A host on the machine's file system, with at most `max_open_segments` segments mapped or
    /// open at a time. Each costs one map and, if it is written, up to three descriptors; slices on their
    /// way to somebody keep a map beyond that.
    #[must_use]
    pub fn new(max_open_segments: usize) -> Self {
        Self::on(Arc::new(RealDisk), max_open_segments)
    }

    /// The same on another file system: the seam for tests.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, max_open_segments: usize) -> Self {
        Self {
            disk,
            open: Arc::new(OpenSegments {
                max: max_open_segments.max(1),
                ring: Mutex::default(),
            }),
        }
    }

    /// Segments that are mapped or open now.
    #[must_use]
    pub fn open_segments(&self) -> usize {
        self.open.ring.lock().len()
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Counts `segment`, which has just opened something, and closes others over the limit.
    pub(crate) fn admit(&self, segment: &Arc<Segment>) {
        self.open.admit(segment);
    }
}

/// The segments that hold something open, in a ring with one "used of late" bit each.
#[derive(Debug)]
struct OpenSegments {
    max: usize,
    ring: Mutex<VecDeque<Weak<Segment>>>,
}

impl OpenSegments {
    fn admit(&self, segment: &Arc<Segment>) {
        let mut ring = self.ring.lock();
        if !segment.enter_ring() {
            return;
        }
        // Two rounds at most: in the first every bit is cleared.
        for _ in 0..2 * ring.len() {
            if ring.len() < self.max {
                break;
            }
            let Some(oldest) = ring.pop_front() else {
                break;
            };
            match oldest.upgrade() {
                Some(open) if open.was_used() => ring.push_back(oldest),
                Some(open) => open.close(),
                None => {}
            }
        }
        ring.push_back(Arc::downgrade(segment));
    }
}
