//! What a crash may leave of a recorded workload.
//!
//! The model is harsher than file systems are: of what was done to a file since its last sync any
//! part may be there, writes torn at any byte or missing sectors; of what was done to names since
//! the directory's last sync any part may be there, in any combination.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Random;
use super::disk::{Inode, Op, TestDisk};

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process died: all is there, but the last write may be torn.
    Process,
    /// The power went: nothing that was not synced is there.
    Everything,
    /// The power went: any part is there.
    Some,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Extend(usize),
    SetBytes(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, Inode),
    Move(PathBuf, PathBuf, Inode),
    Unset(PathBuf),
}

/// The disk after a prefix of a workload, what is durable and what is not kept apart.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    files: BTreeMap<Inode, FileState>,
    names: BTreeMap<PathBuf, Inode>,
    pending_names: Vec<NameChange>,
    /// Directories and whether their own names are durable.
    dirs: BTreeMap<PathBuf, bool>,
}

impl Replay {
    /// A disk on which everything is durable.
    pub fn of<E>(disk: &TestDisk<E>) -> Self {
        let (names, contents) = disk.by_inode();
        let durable = |(inode, durable)| {
            let pending = Vec::new();
            (inode, FileState { durable, pending })
        };
        Self {
            files: contents.into_iter().map(durable).collect(),
            names,
            pending_names: Vec::new(),
            dirs: disk.dirs().into_iter().map(|dir| (dir, true)).collect(),
        }
    }

    /// Takes in one operation.
    pub fn apply<E>(&mut self, op: &Op<E>) {
        match op {
            Op::CreateDir(path) => {
                self.dirs.insert(path.clone(), false);
            }
            Op::Create { inode, path } => {
                self.files.insert(*inode, FileState::default());
                self.pending_names
                    .push(NameChange::Set(path.clone(), *inode));
            }
            Op::Truncated { inode } => self.change(*inode, Change::SetBytes(0)),
            Op::Write { inode, at, bytes } => {
                let bytes = bytes.clone();
                self.change(
                    *inode,
                    Change::Write {
                        at: size(*at),
                        bytes,
                    },
                );
            }
            Op::Allocate { inode, to } => self.change(*inode, Change::Extend(size(*to))),
            Op::SetBytes { inode, bytes } => self.change(*inode, Change::SetBytes(size(*bytes))),
            Op::Sync { inode } => {
                let file = self.files.entry(*inode).or_default();
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            // It can be read until the power goes, and no later sync writes it.
            Op::FailedSync { inode } => {
                let file = self.files.entry(*inode).or_default();
                let is_written = |change: &Change| matches!(change, Change::Write { .. });
                file.pending.retain(|change| !is_written(change));
            }
            Op::Rename { inode, from, to } => {
                let change = NameChange::Move(from.clone(), to.clone(), *inode);
                self.pending_names.push(change);
            }
            Op::Remove { path } => self.pending_names.push(NameChange::Unset(path.clone())),
            Op::SyncDir(dir) => self.sync_dir(dir),
            Op::Note(_) => {}
        }
    }

    fn change(&mut self, inode: Inode, change: Change) {
        self.files.entry(inode).or_default().pending.push(change);
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (now, later): (Vec<_>, Vec<_>) = self
            .pending_names
            .drain(..)
            .partition(|change| change.is_in(dir));
        now.iter().for_each(|change| change.apply(&mut self.names));
        self.pending_names = later;
        for (path, durable) in &mut self.dirs {
            *durable |= path.parent() == Some(dir);
        }
    }

    /// One image of what a crash now may leave.
    pub fn image<E>(&self, root: &str, loss: Loss, random: &mut Random) -> TestDisk<E> {
        let disk = TestDisk::new(root);
        let mut names = self.names.clone();
        for change in &self.pending_names {
            if loss.keeps(random) {
                change.apply(&mut names);
            }
        }
        for (dir, durable) in &self.dirs {
            if !durable && !loss.keeps(random) {
                names.retain(|path, _| path.parent() != Some(dir));
            } else {
                disk.put_dir(dir);
            }
        }
        for (path, inode) in &names {
            let content = self.files.get(inode).map(|file| file.content(loss, random));
            disk.put(path, &content.unwrap_or_default());
        }
        disk
    }
}

impl FileState {
    fn content(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable.clone();
        for (at, change) in self.pending.iter().enumerate() {
            let last = at + 1 == self.pending.len();
            match loss {
                Loss::Everything => {}
                Loss::Process if last && random.below(3) == 0 => change.torn(&mut content, random),
                Loss::Process => change.apply(&mut content),
                Loss::Some => match random.below(4) {
                    0 => {}
                    1 => change.torn(&mut content, random),
                    _ => change.apply(&mut content),
                },
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(content, *at, bytes),
            Self::Extend(to) => content.resize((*to).max(content.len()), 0),
            Self::SetBytes(bytes) => content.resize(*bytes, 0),
        }
    }

    /// A part of it: its front, its end, or every other sector.
    fn torn(&self, content: &mut Vec<u8>, random: &mut Random) {
        let Self::Write { at, bytes } = self else {
            return self.apply(content);
        };
        let cut = size(random.below(bytes.len() as u64 + 1));
        match random.below(3) {
            0 => put(content, *at, &bytes[..cut]),
            1 => put(content, at + cut, &bytes[cut..]),
            _ => {
                for (number, sector) in bytes.chunks(64).enumerate() {
                    if random.below(2) == 0 {
                        put(content, at + number * 64, sector);
                    }
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("small")
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Unset(path) | Self::Move(path, ..) => {
                path.parent() == Some(dir)
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Self::Set(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Move(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Unset(path) => {
                names.remove(path);
            }
        }
    }
}

impl Loss {
    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::Process => true,
            Self::Everything => false,
            Self::Some => random.below(2) == 0,
        }
    }
}
