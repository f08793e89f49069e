//! One segment: a file of batches, what is known of it, and what of it is open.
//!
//! Shared by the log's writer, readers, flusher and upkeep. The writer alone publishes and seals.
//! Map, index and descriptor come and go with use (see `host`); what is *known* stays: base, end,
//! bytes, greatest timestamp. What is open for reading is in `resident`. Not here: finding a segment,
//! reading batches.
//!
//! Always holds: the frontier and the end only grow, and stand still once it is sealed (L2).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use plimsoll_types::{Offset, Timestamp};

use crate::disk::{Disk, DiskFile, OpenFile};
use crate::host::LogHost;
use crate::index::{Growing, Index};
use crate::index_builder::IndexBuilder;
use crate::index_file;
use crate::layout::{self, Name};
use crate::scan::{Found, Look, Scan};
use crate::segment_file::SegmentFile;

mod resident;

pub(crate) use resident::{Resident, Unavailable};

/// An open segment file.
pub(crate) type Handle = SegmentFile;

/// Which of its names a segment's file has: compaction's output moves through all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Final = 0,
    Swap = 1,
    Cleaned = 2,
}

/// What a segment is known to be when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) base: Offset,
    /// Where the next segment begins, or the log ends.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: Timestamp,
}

/// One segment of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    stage: AtomicU8,
    /// Bytes that are whole batches and may be read. Release by the writer, acquire by readers.
    frontier: Arc<AtomicU64>,
    end: AtomicU64,
    max_timestamp: AtomicI64,
    /// Bytes below this were there before this uptime, or before it was last closed: they may have
    /// left memory, and are what the disk says.
    trusted_from: AtomicU64,
    sealed: AtomicBool,
    /// Its file is about to lose its name, or has.
    retired: AtomicBool,
    resident: ArcSwapOption<Resident>,
    /// The index, while the file does not have all of it.
    pinned: ArcSwapOption<Index>,
    /// Entries that the index file has; moved by upkeep.
    pub(crate) indexed: AtomicUsize,
    handle: ArcSwapOption<Handle>,
    /// The log's `durable` file, open while this segment is written.
    note: ArcSwapOption<Box<dyn DiskFile>>,
    in_ring: AtomicBool,
    used: AtomicBool,
    /// The file may be longer than the segment, with zeros that were allocated ahead.
    untrimmed: AtomicBool,
}

impl Segment {
    /// An empty one, to be written.
    pub(crate) fn empty(base: Offset) -> Self {
        let extent = Extent {
            base,
            end: base,
            bytes: 0,
            max_timestamp: Timestamp::NONE,
        };
        Self::unsealed(extent, Growing::new(), 0)
    }

    /// One that holds something and is written on; its index file has `indexed` of the entries.
    pub(crate) fn unsealed(extent: Extent, index: Growing, indexed: usize) -> Self {
        let segment = Self::sealed(extent);
        segment.sealed.store(false, Ordering::Release);
        segment.untrimmed.store(true, Ordering::Relaxed);
        segment.pinned.store(Some(Arc::new(Index::Growing(index))));
        segment.indexed.store(indexed, Ordering::Relaxed);
        segment
    }

    /// One that is complete. Nothing of it is opened.
    pub(crate) fn sealed(extent: Extent) -> Self {
        Self {
            base: extent.base,
            stage: AtomicU8::new(Stage::Final as u8),
            frontier: Arc::new(AtomicU64::new(extent.bytes)),
            end: AtomicU64::new(extent.end.get()),
            max_timestamp: AtomicI64::new(extent.max_timestamp.as_millis()),
            trusted_from: AtomicU64::new(extent.bytes),
            sealed: AtomicBool::new(true),
            retired: AtomicBool::new(false),
            resident: ArcSwapOption::empty(),
            pinned: ArcSwapOption::empty(),
            indexed: AtomicUsize::new(0),
            handle: ArcSwapOption::empty(),
            note: ArcSwapOption::empty(),
            in_ring: AtomicBool::new(false),
            used: AtomicBool::new(false),
            untrimmed: AtomicBool::new(false),
        }
    }

    /// Where the next segment begins, or the log ends.
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// Bytes that may be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.frontier.load(Ordering::Acquire)
    }

    pub(crate) fn max_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.max_timestamp.load(Ordering::Acquire))
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent {
            base: self.base,
            end: self.end(),
            bytes: self.bytes(),
            max_timestamp: self.max_timestamp(),
        }
    }

    /// Makes batches up to `bytes` readable. The bytes are in the file, their index entries in the
    /// index.
    pub(crate) fn publish(&self, bytes: u64, end: Offset, max_timestamp: Timestamp) {
        assert!(!self.is_sealed(), "L2: a sealed segment stands still");
        debug_assert!(self.bytes() <= bytes && self.end() <= end, "L2: only grows");
        self.max_timestamp
            .store(max_timestamp.as_millis(), Ordering::Release);
        self.end.store(end.get(), Ordering::Release);
        // Release: pairs with readers' acquire; what is below is in the file and in the index.
        self.frontier.store(bytes, Ordering::Release);
    }

    /// Ends the segment at `end`, which is past its last batch if what was there is lost.
    pub(crate) fn seal(&self, end: Offset, builder: &mut IndexBuilder) {
        if let (Some(pinned), Some(entry)) = (self.pinned(), builder.end(end, self.bytes()))
            && let Index::Growing(growing) = &*pinned
        {
            growing.push(entry);
        }
        self.end.store(end.get(), Ordering::Release);
        self.sealed.store(true, Ordering::Release);
    }

    /// Marks it as out of the log. Comes before its file loses its name, so that whoever opens the
    /// name afterwards can tell that it may be another file's.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// The name that the file has now.
    pub(crate) fn name(&self) -> Name {
        self.name_at(self.stage.load(Ordering::SeqCst))
    }

    fn name_at(&self, stage: u8) -> Name {
        let (base, end) = (self.base, self.end());
        match stage {
            0 => Name::Segment(base),
            1 => Name::Swap { base, end },
            _ => Name::Cleaned { base, end },
        }
    }

    /// The index, while its file does not have all of it.
    pub(crate) fn pinned(&self) -> Option<Arc<Index>> {
        self.pinned.load_full()
    }

    /// Holds `index` until its file has it.
    pub(crate) fn pin(&self, index: Arc<Index>) {
        self.pinned.store(Some(index));
    }

    /// Lets go of an index that its file has.
    pub(crate) fn unpin(&self) {
        self.pinned.store(None);
    }

    /// Writes what the index file does not have yet.
    pub(crate) fn write_index(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let Some(index) = self.pinned() else {
            return Ok(());
        };
        let complete = self.is_sealed();
        let path = Name::Index(self.base).path(dir);
        let written = self.indexed.load(Ordering::Relaxed);
        let now = index_file::write(disk, &path, self.base, &index, written)?;
        self.indexed.store(now, Ordering::Relaxed);
        if complete {
            self.unpin();
        }
        Ok(())
    }

    /// Gives back what was allocated beyond the end of a sealed segment. No reader can have seen
    /// a byte of it (point 2 of the contract in `map`).
    pub(crate) fn trim(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if self.is_sealed() && self.untrimmed.load(Ordering::Relaxed) {
            let file = SegmentFile::open(disk, &self.name().path(dir), OpenFile::Write)?;
            file.set_bytes(self.bytes())?;
            self.untrimmed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Leaves the file as long as it is: bytes behind the end are evidence, or still mapped.
    pub(crate) fn keep_length(&self) {
        self.untrimmed.store(false, Ordering::Relaxed);
    }

    /// The file, open for writing.
    pub(crate) fn writable(
        self: &Arc<Self>,
        host: &LogHost,
        dir: &Path,
    ) -> io::Result<Arc<Handle>> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.load_full() {
            return Ok(handle);
        }
        let file = SegmentFile::open(host.disk(), &self.name().path(dir), OpenFile::Write)?;
        Ok(self.hold(host, file))
    }

    /// Keeps `file`, open for writing, until the host wants it closed.
    pub(crate) fn hold(self: &Arc<Self>, host: &LogHost, file: Handle) -> Arc<Handle> {
        let handle = Arc::new(file);
        self.handle.store(Some(Arc::clone(&handle)));
        host.admit(self);
        handle
    }

    /// The index: the one in memory, or what its file has and the log adds to it.
    pub(crate) fn load_index(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        file: &dyn DiskFile,
        interval_bytes: u32,
    ) -> io::Result<Arc<Index>> {
        if let Some(pinned) = self.pinned() {
            return Ok(pinned);
        }
        let bytes = self.bytes();
        let stored = match disk.read(&Name::Index(self.base).path(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            result => result?,
        };
        let entries = index_file::believed(self.base, bytes, &stored);
        let complete = entries.last().map_or(0, |e| u64::from(e.position)) == bytes;
        if complete {
            return Ok(Arc::new(Index::Fixed(entries.into())));
        }
        let believed = entries.len();
        let growing = Growing::from_entries(&entries);
        self.rebuild(file, &growing, interval_bytes)?;
        let index = Arc::new(Index::Growing(growing));
        self.indexed.store(believed, Ordering::Relaxed);
        self.pin(Arc::clone(&index));
        Ok(index)
    }

    /// Takes over the entries of `old`, a longer segment in the same file, as far as they are for
    /// this one, and adds the rest.
    pub(crate) fn derive_index(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        old: &Self,
        interval_bytes: u32,
    ) -> io::Result<()> {
        let file = SegmentFile::open(disk, &old.name().path(dir), OpenFile::Read)?;
        let index = old.load_index(disk, dir, &file, interval_bytes)?;
        let bytes = self.bytes();
        let growing = Growing::new();
        let mut kept = 0;
        // Without the one at the new end: it is made anew there, with that end's offset.
        while let Some(entry) = index.entry(kept).filter(|e| u64::from(e.position) < bytes) {
            growing.push(entry);
            kept += 1;
        }
        self.rebuild(&file, &growing, interval_bytes)?;
        let written = match old.pinned() {
            Some(_) => old.indexed.load(Ordering::Relaxed),
            None => kept,
        };
        self.indexed.store(written.min(kept), Ordering::Relaxed);
        self.pin(Arc::new(Index::Growing(growing)));
        Ok(())
    }

    /// Adds the entries after the last one of a sealed segment's `growing` by walking the file.
    fn rebuild(&self, file: &dyn DiskFile, growing: &Growing, interval: u32) -> io::Result<()> {
        let last = growing.last();
        let mut builder = IndexBuilder::after(self.base, interval, last);
        let mut scan = Scan::new(file, Look::Headers, builder.interval_at(), self.bytes())?;
        let mut expected = self.base + last.map_or(0, |last| u64::from(last.relative));
        loop {
            match scan.next()? {
                Found::Batch(batch) if batch.header.base >= expected => {
                    expected = batch.header.end();
                    if let Some(entry) = builder.walked(&batch) {
                        growing.push(entry);
                    }
                }
                Found::End if scan.position() == self.bytes() => break,
                Found::Batch(_) | Found::End | Found::Bad(_) => {
                    // Whoever reads there finds out what it is.
                    builder.spoil();
                    break;
                }
            }
        }
        if let Some(entry) = builder.end(self.end(), self.bytes()) {
            growing.push(entry);
        }
        Ok(())
    }

    /// Closes whatever is open; what is in use elsewhere stays until it is dropped there.
    pub(crate) fn close(&self) {
        self.in_ring.store(false, Ordering::Release);
        // Relaxed: it says nothing about other memory.
        self.trusted_from.fetch_max(self.bytes(), Ordering::Relaxed);
        self.resident.store(None);
        self.handle.store(None);
        self.note.store(None);
    }

    /// The log's `durable` file, open for writing.
    pub(crate) fn note_file(
        &self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> io::Result<Arc<Box<dyn DiskFile>>> {
        if let Some(file) = self.note.load_full() {
            return Ok(file);
        }
        let path = dir.join(layout::DURABLE);
        let file = disk
            .open(&path, OpenFile::Write)
            .or_else(|_| disk.open(&path, OpenFile::Replace))?;
        let file = Arc::new(file);
        if self.in_ring.load(Ordering::Acquire) {
            self.note.store(Some(Arc::clone(&file)));
        }
        Ok(file)
    }

    /// Whether it was not in the host's ring before.
    pub(crate) fn enter_ring(&self) -> bool {
        self.used.store(true, Ordering::Relaxed);
        !self.in_ring.swap(true, Ordering::AcqRel)
    }

    /// Whether it was used since this was last asked.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}
