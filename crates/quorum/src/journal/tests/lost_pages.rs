//! A disk whose failed sync loses what was to be written, though it can still be read: as Linux
//! does, until the machine goes down.

use super::{commit, entry};
use crate::Room;
use crate::journal::disk::{Disk, DiskFile, RealDisk};
use crate::journal::{self, Opened};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What of a file is on the disk, and what waits to be.
#[derive(Debug, Default)]
struct Pages {
    durable: Vec<u8>,
    dirty: Vec<(u64, Vec<u8>)>,
}

impl Pages {
    fn write_back(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.dirty) {
            let at = usize::try_from(at).unwrap();
            let end = at + bytes.len();
            self.durable.resize(self.durable.len().max(end), 0);
            self.durable[at..end].copy_from_slice(&bytes);
        }
    }
}

type Files = Arc<Mutex<BTreeMap<PathBuf, Pages>>>;

#[derive(Debug, Default)]
struct LossyDisk {
    files: Files,
    fails: Arc<AtomicBool>,
}

impl LossyDisk {
    /// The machine goes down: only what is on the disk is left.
    fn power_loss(&self) {
        for (path, pages) in &mut *self.files.lock() {
            pages.dirty.clear();
            std::fs::write(path, &pages.durable).unwrap();
        }
    }
}

impl Disk for LossyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LossyFile {
            file: RealDisk.open(path)?,
            path: path.to_owned(),
            files: Arc::clone(&self.files),
            fails: Arc::clone(&self.fails),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

#[derive(Debug)]
struct LossyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    files: Files,
    fails: Arc<AtomicBool>,
}

impl LossyFile {
    fn with<T>(&self, change: impl FnOnce(&mut Pages) -> T) -> T {
        change(self.files.lock().entry(self.path.clone()).or_default())
    }
}

impl DiskFile for LossyFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.with(|pages| pages.dirty.push((at, bytes.to_vec())));
        self.file.write_at(bytes, at)
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        self.file.reserve(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            self.with(|pages| pages.dirty.clear());
            return Err(io::Error::other("pages were lost"));
        }
        self.with(Pages::write_back);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let kept = usize::try_from(len).unwrap();
        self.with(|pages| pages.durable.truncate(kept));
        self.file.set_len(len)
    }
}

fn open(disk: &Arc<LossyDisk>, dir: &Path) -> Opened {
    journal::open(Arc::clone(disk) as Arc<dyn Disk>, dir, super::ONE_FILE).unwrap()
}

#[test]
fn what_is_read_after_a_failed_sync_is_on_the_disk_before_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(LossyDisk::default());
    let first = open(&disk, dir.path());
    commit(&first.journal, 1..=3);
    disk.fails.store(true, Ordering::SeqCst);
    let lost = first.journal.propose(Room::Free, entry(4)).unwrap();
    assert!(lost.wait().is_err());
    drop(first);

    disk.fails.store(false, Ordering::SeqCst);
    let again = open(&disk, dir.path());
    let believed = again.entries.clone();
    assert_eq!(believed.len(), 4, "it can still be read");
    drop(again);

    disk.power_loss();
    assert_eq!(open(&disk, dir.path()).entries, believed);
}
