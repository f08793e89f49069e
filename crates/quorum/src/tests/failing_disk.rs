//! A disk for tests: it counts, waits, fails and dies when told.

use crate::disk::{Disk, DiskFile, RealDisk};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A disk that counts syncs, stands still while its gate is held, and dies when told.
#[derive(Debug)]
pub(super) struct TestDisk {
    pub(super) left: Arc<AtomicUsize>,
    pub(super) syncs: Arc<AtomicUsize>,
    pub(super) fail_syncs: Arc<AtomicBool>,
    pub(super) gate: Arc<Mutex<()>>,
}

impl Default for TestDisk {
    fn default() -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            syncs: Arc::default(),
            fail_syncs: Arc::default(),
            gate: Arc::default(),
        }
    }
}

impl TestDisk {
    fn operate(&self) -> io::Result<()> {
        spend(&self.left)
    }
}

/// Takes one of the operations that are left; an error once they are gone.
fn spend(left: &AtomicUsize) -> io::Result<()> {
    let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    });
    spent
        .map(drop)
        .map_err(|_| io::Error::other("the disk is dead"))
}

impl Disk for TestDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.operate()?;
        Ok(Box::new(TestFile {
            file: RealDisk.open(path)?,
            left: Arc::clone(&self.left),
            syncs: Arc::clone(&self.syncs),
            fail_syncs: Arc::clone(&self.fail_syncs),
            gate: Arc::clone(&self.gate),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate()?;
        RealDisk.sync_dir(dir)
    }
}

#[derive(Debug)]
struct TestFile {
    file: Box<dyn DiskFile>,
    left: Arc<AtomicUsize>,
    syncs: Arc<AtomicUsize>,
    fail_syncs: Arc<AtomicBool>,
    gate: Arc<Mutex<()>>,
}

impl DiskFile for TestFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let _open = self.gate.lock();
        let dies = spend(&self.left);
        if dies.is_err() {
            self.file.write_at(&bytes[..bytes.len() / 2], at)?;
        }
        dies?;
        self.file.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("no more syncs"));
        }
        spend(&self.left)?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        spend(&self.left)?;
        self.file.set_len(len)
    }
}
