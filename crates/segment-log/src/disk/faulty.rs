//! A file system that misbehaves when it is told to: for tests of what stands on it, and for
//! clusters to play with.
//!
//! Whoever holds the [`Faults`] turns them on and off while the disk is used. What a full disk
//! refuses is blocks for records; small files go through, as they do while a node still has its
//! reserve. Not here: wrong bytes, which anybody can write into a file.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Disk, DiskFile, DiskSpace, OpenFile};
use crate::map::SegmentMap;

/// An input/output error, as a broken device gives it.
const EIO: i32 = 5;

/// What is wrong with a [`FaultyDisk`] now; nothing at first. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How much longer each sync takes.
    slow: Mutex<Duration>,
    changed: Condvar,
    full: AtomicBool,
    /// So many of the next syncs fail.
    failing_syncs: AtomicU32,
    failing_reads: AtomicBool,
}

impl Faults {
    /// Makes each sync take so much longer; zero ends that, for those that wait too.
    pub fn slow_down(&self, by: Duration) {
        *self.0.slow.lock() = by;
        self.0.changed.notify_all();
    }

    /// Whether the disk has no room for records.
    pub fn fill(&self, full: bool) {
        self.0.full.store(full, Ordering::Release);
    }

    /// Lets the next `count` syncs of files fail, as a device does that lost what it was given.
    pub fn fail_syncs(&self, count: u32) {
        self.0.failing_syncs.store(count, Ordering::Release);
    }

    /// Whether reading files fails.
    pub fn fail_reads(&self, failing: bool) {
        self.0.failing_reads.store(failing, Ordering::Release);
    }

    /// Everything is well again.
    pub fn mend(&self) {
        self.slow_down(Duration::ZERO);
        self.fill(false);
        self.fail_syncs(0);
        self.fail_reads(false);
    }

    fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Acquire)
    }

    /// Waits as long as a sync takes longer.
    fn drag(&self) {
        let mut slow = self.0.slow.lock();
        let asked = *slow;
        if asked.is_zero() {
            return;
        }
        let same = |slow: &mut Duration| *slow == asked;
        // Whether it was woken or its time was up, it goes on.
        let _ = (self.0.changed).wait_while_for(&mut slow, same, asked);
    }

    fn sync(&self) -> io::Result<()> {
        self.drag();
        let failing = &self.0.failing_syncs;
        let one_less = |count: u32| count.checked_sub(1);
        match failing.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) {
            Ok(_) => Err(io::Error::from_raw_os_error(EIO)),
            Err(_) => Ok(()),
        }
    }
}

/// Another disk with [`Faults`].
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    faults: Faults,
}

impl FaultyDisk {
    /// `disk`, with `faults` once they are turned on.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, faults: Faults) -> Self {
        Self { disk, faults }
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Faults,
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        let faults = self.faults.clone();
        Ok(Box::new(FaultyFile { file, faults }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.file_bytes(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.drag();
        self.disk.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let mut space = self.disk.space(path)?;
        if self.faults.is_full() {
            space.usable_bytes = 0;
        }
        Ok(space)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.file.write_at(parts, at)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        if self.faults.0.failing_reads.load(Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.file.read_at(into, at)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if self.faults.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.allocate(from, to)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.sync()?;
        self.file.sync()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        self.file.map(bytes, frontier)
    }
}
