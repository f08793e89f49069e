//! A disk that remembers what was synced, and forgets the rest when the power goes.
//!
//! Files are memory of the kernel's, so that maps of them are real; beside each stands what of it
//! is durable and what was done since. A crash of the process keeps everything; a loss of power
//! keeps what was synced and, drawn at random, any part of what was not: whole writes, fronts and
//! ends of writes, every other sector, names in any combination. That is harsher than file
//! systems are. Faults are switches: full, failing syncs, a flipped bit.

mod crash;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use plimsoll_segment_log::disk::{Disk, DiskFile, DiskSpace, OpenFile};
use rustix::fs::MemfdFlags;

use crash::{Change, NameChange};
use file::SimFile;

/// One node's disk. Clones are the same one; it outlives the node's processes.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

type Inode = u64;

/// How large it says that it is.
const TOTAL_BYTES: u64 = 1 << 40;

struct State {
    files: BTreeMap<Inode, Stored>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    durable_dirs: BTreeSet<PathBuf>,
    next_inode: Inode,
    full: bool,
    failing_syncs: u32,
    flips: Vec<Flip>,
    counts: Counts,
}

/// A bit that flipped: the byte as it is wrong.
struct Flip {
    inode: Inode,
    at: u64,
    wrong: u8,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) failed_syncs: u64,
    pub(crate) refused_for_space: u64,
    pub(crate) power_losses: u64,
    pub(crate) changes_lost: u64,
    pub(crate) changes_torn: u64,
    pub(crate) flipped_bits: u64,
}

struct Stored {
    content: Arc<File>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl SimDisk {
    /// An empty disk with this directory on it.
    pub(crate) fn new(root: &Path) -> Self {
        let dirs: BTreeSet<PathBuf> = root.ancestors().map(Path::to_owned).collect();
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            durable_dirs: dirs.clone(),
            dirs,
            next_inode: 0,
            full: false,
            failing_syncs: 0,
            flips: Vec::new(),
            counts: Counts::default(),
        })))
    }

    /// From here on nothing new finds room, or does again.
    pub(crate) fn set_full(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// The next syncs fail, each losing what it was to make durable.
    pub(crate) fn fail_syncs(&self, next: u32) {
        self.0.lock().failing_syncs = next;
    }

    /// The power goes: what was not synced is gone, but for what chance left of it. Nobody may
    /// have a file open.
    pub(crate) fn lose_power(&self, rng: &mut Rng) {
        self.0.lock().lose_power(rng);
    }

    /// Whether a sync is about to fail.
    pub(crate) fn is_to_fail_syncs(&self) -> bool {
        self.0.lock().failing_syncs > 0
    }

    /// Flips a bit of a segment file that has this many bytes at least and may be `hit`, durably;
    /// says which.
    pub(crate) fn flip_bit(
        &self,
        rng: &mut Rng,
        least: u64,
        hit: impl Fn(&Path) -> bool,
    ) -> Option<(PathBuf, u64)> {
        self.0.lock().flip_bit(rng, least, &hit)
    }

    /// The segment files in which a flipped bit still is what it became.
    pub(crate) fn unhealed_flips(&self) -> Vec<PathBuf> {
        self.0.lock().unhealed_flips()
    }
}

impl State {
    fn create(&mut self, path: &Path) -> Inode {
        self.next_inode += 1;
        let inode = self.next_inode;
        let stored = Stored {
            content: Arc::new(memory_file()),
            durable: Vec::new(),
            pending: Vec::new(),
        };
        self.files.insert(inode, stored);
        self.names.insert(path.to_owned(), inode);
        self.pending_names
            .push(NameChange::Set(path.to_owned(), inode));
        inode
    }

    fn changed(&mut self, inode: Inode, change: Change) {
        self.counts.writes += 1;
        if let Some(stored) = self.files.get_mut(&inode) {
            stored.pending.push(change);
        }
    }

    fn synced(&mut self, inode: Inode) -> io::Result<()> {
        self.counts.syncs += 1;
        let Some(stored) = self.files.get_mut(&inode) else {
            return Ok(());
        };
        let pending = std::mem::take(&mut stored.pending);
        if self.failing_syncs > 0 {
            // As Linux does: the pages are marked clean and never written.
            self.failing_syncs -= 1;
            self.counts.failed_syncs += 1;
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::IO.raw_os_error(),
            ));
        }
        for change in &pending {
            change.apply(&mut stored.durable);
        }
        Ok(())
    }

    fn ask_for_room(&mut self) -> io::Result<()> {
        if self.full {
            self.counts.refused_for_space += 1;
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::NOSPC.raw_os_error(),
            ));
        }
        Ok(())
    }

    /// Files without a name are gone once nobody has them open.
    fn forget_unnamed(&mut self) {
        let State {
            files,
            names,
            durable_names,
            pending_names,
            ..
        } = self;
        files.retain(|inode, stored| {
            Arc::strong_count(&stored.content) > 1
                || names.values().any(|named| named == inode)
                || durable_names.values().any(|named| named == inode)
                || pending_names.iter().any(|change| change.is_of(*inode))
        });
    }
}

fn memory_file() -> File {
    rustix::fs::memfd_create("plimsoll-sim", MemfdFlags::CLOEXEC)
        .expect("memory for a simulated file")
        .into()
}

fn read_all(file: &File) -> Vec<u8> {
    let bytes = file.metadata().map_or(0, |meta| meta.len());
    let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_exact_at(&mut content, 0)
        .expect("memory can be read");
    content
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        let known = state.names.get(path).copied();
        let inode = match (known, how) {
            (Some(_), OpenFile::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenFile::Read | OpenFile::Write) => return Err(not_found()),
            (Some(inode), OpenFile::Read | OpenFile::Write) => inode,
            (Some(inode), OpenFile::Replace) => {
                if let Some(stored) = state.files.get(&inode) {
                    stored.content.set_len(0)?;
                }
                state.changed(inode, Change::SetBytes(0));
                inode
            }
            (None, OpenFile::CreateNew | OpenFile::Replace) => {
                state.ask_for_room()?;
                if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
                    return Err(not_found());
                }
                state.create(path)
            }
        };
        let content = state
            .files
            .get(&inode)
            .map(|stored| Arc::clone(&stored.content));
        let content = content.ok_or_else(not_found)?;
        Ok(Box::new(SimFile::new(self.clone(), inode, content)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        let inode = state.names.get(path).ok_or_else(not_found)?;
        let stored = state.files.get(inode).ok_or_else(not_found)?;
        Ok(read_all(&stored.content))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        if !state.dirs.contains(dir) {
            return Err(not_found());
        }
        let named = state.names.keys().chain(&state.dirs);
        let inside = named.filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(inside.filter_map(name).collect())
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        let inode = state.names.get(path).ok_or_else(not_found)?;
        let stored = state.files.get(inode).ok_or_else(not_found)?;
        Ok(stored.content.metadata()?.len())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.ask_for_room()?;
        state.dirs.insert(path.to_owned());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.dirs.contains(from) {
            state.rename_dir(from, to);
            return Ok(());
        }
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        let change = NameChange::Move(from.to_owned(), to.to_owned(), inode);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.names.remove(path).is_some() {
            state.pending_names.push(NameChange::Unset(path.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.sync_dir(path);
        state.forget_unnamed();
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let full = self.0.lock().full;
        Ok(DiskSpace {
            total_bytes: TOTAL_BYTES,
            usable_bytes: if full { 0 } else { TOTAL_BYTES / 2 },
        })
    }
}

#[cfg(test)]
mod tests;
