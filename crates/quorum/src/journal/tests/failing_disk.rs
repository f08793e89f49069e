//! A disk for tests: it counts, waits, fills up, fails and dies when told.

use crate::journal::disk::{Disk, DiskFile, RealDisk};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A disk that counts syncs, has so much room, stands still while its gate is held, and dies when
/// told.
#[derive(Debug)]
pub(crate) struct TestDisk {
    pub(crate) left: Arc<AtomicUsize>,
    pub(crate) syncs: Arc<AtomicUsize>,
    pub(crate) fail_syncs: Arc<AtomicBool>,
    pub(crate) fail_cuts: Arc<AtomicBool>,
    pub(crate) fail_opens: AtomicBool,
    pub(crate) space: Arc<Mutex<Space>>,
    pub(crate) gate: Arc<Mutex<()>>,
}

impl Default for TestDisk {
    fn default() -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            syncs: Arc::default(),
            fail_syncs: Arc::default(),
            fail_cuts: Arc::default(),
            fail_opens: AtomicBool::default(),
            space: Arc::new(Mutex::new(Space {
                free: 1 << 40,
                taken: HashMap::new(),
            })),
            gate: Arc::default(),
        }
    }
}

/// Who has which room.
#[derive(Debug)]
pub(crate) struct Space {
    /// Bytes that nobody has.
    pub(crate) free: u64,
    /// By file, up to where it has room.
    taken: HashMap<PathBuf, u64>,
}

impl Space {
    /// Takes the room up to `to`; if it is not there, nothing, and says how much is missing.
    fn take(&mut self, path: &Path, to: u64) -> Result<(), u64> {
        let taken = self.taken.entry(path.to_owned()).or_default();
        let more = to.saturating_sub(*taken);
        self.free = self.free.checked_sub(more).ok_or(more)?;
        *taken += more;
        Ok(())
    }

    fn give_back(&mut self, path: &Path, from: u64) {
        let taken = self.taken.entry(path.to_owned()).or_default();
        self.free += taken.saturating_sub(from);
        *taken = from.min(*taken);
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        self.give_back(to, 0);
        let taken = self.taken.remove(from).unwrap_or_default();
        self.taken.insert(to.to_owned(), taken);
    }
}

impl TestDisk {
    /// Leaves this much room.
    pub(crate) fn leave(&self, free: u64) {
        self.space.lock().free = free;
    }

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
        if self.fail_opens.load(Ordering::SeqCst) {
            return Err(io::Error::other("no file is opened"));
        }
        Ok(Box::new(TestFile {
            file: RealDisk.open(path)?,
            left: Arc::clone(&self.left),
            syncs: Arc::clone(&self.syncs),
            fail_syncs: Arc::clone(&self.fail_syncs),
            fail_cuts: Arc::clone(&self.fail_cuts),
            space: Arc::clone(&self.space),
            path: path.to_owned(),
            gate: Arc::clone(&self.gate),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate()?;
        self.space.lock().rename(from, to);
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        self.space.lock().give_back(path, 0);
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
    fail_cuts: Arc<AtomicBool>,
    space: Arc<Mutex<Space>>,
    path: PathBuf,
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
        let end = at + bytes.len() as u64;
        if self.space.lock().take(&self.path, end).is_err() {
            // What a full disk still took is there, as on a real one.
            self.file.write_at(&bytes[..bytes.len() * 3 / 4], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, at)
    }

    fn reserve(&self, _from: u64, to: u64) -> io::Result<()> {
        spend(&self.left)?;
        let room = self.space.lock().take(&self.path, to);
        room.map_err(|_| io::ErrorKind::StorageFull.into())
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
        if self.fail_cuts.load(Ordering::SeqCst) {
            return Err(io::Error::other("no more cuts"));
        }
        spend(&self.left)?;
        self.space.lock().give_back(&self.path, len);
        self.file.set_len(len)
    }
}
