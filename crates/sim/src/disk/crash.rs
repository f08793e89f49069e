//! What is left of a disk when the power goes, and what rots on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use plimsoll_segment_log::FRONT_BYTES;

use super::{Flip, Inode, State, memory_file};

/// The part of a write that reaches the disk or does not.
const SECTOR: usize = 512;

/// Something done to a file that is not durable yet.
pub(super) enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Extend(u64),
    SetBytes(u64),
}

/// Something done to a name that is not durable yet.
pub(super) enum NameChange {
    Set(PathBuf, Inode),
    Move(PathBuf, PathBuf, Inode),
    Unset(PathBuf),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(content, *at, bytes),
            Self::Extend(to) => content.resize(size(*to).max(content.len()), 0),
            Self::SetBytes(bytes) => content.resize(size(*bytes), 0),
        }
    }

    /// Its front, its end, or every other sector.
    fn tear(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        let Self::Write { at, bytes } = self else {
            return self.apply(content);
        };
        let cut = rng.usize(..=bytes.len());
        let (front, end) = bytes.split_at(cut);
        match rng.u8(..3) {
            0 => put(content, *at, front),
            1 => put(content, at + cut as u64, end),
            _ => {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    if rng.bool() {
                        put(content, at + (number * SECTOR) as u64, sector);
                    }
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = size(at);
    let end = at + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a simulated file is small")
}

impl NameChange {
    pub(super) fn is_of(&self, inode: Inode) -> bool {
        match self {
            Self::Set(_, of) | Self::Move(_, _, of) => *of == inode,
            Self::Unset(_) => false,
        }
    }

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

impl State {
    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending_names);
        let (now, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|c| c.is_in(dir));
        now.iter()
            .for_each(|change| change.apply(&mut self.durable_names));
        self.pending_names = later;
        let inside = self.dirs.iter().filter(|path| path.parent() == Some(dir));
        self.durable_dirs.extend(inside.cloned());
        let State {
            dirs, durable_dirs, ..
        } = self;
        durable_dirs.retain(|path| path.parent() != Some(dir) || dirs.contains(path));
    }

    /// A directory's name is taken as durable at once: what is removed this way is garbage.
    pub(super) fn rename_dir(&mut self, from: &Path, to: &Path) {
        let moved = |path: &PathBuf| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.clone(),
        };
        let dirs = |dirs: &BTreeSet<PathBuf>| dirs.iter().map(moved).collect();
        let names = |names: &BTreeMap<PathBuf, Inode>| {
            names
                .iter()
                .map(|(path, inode)| (moved(path), *inode))
                .collect()
        };
        self.dirs = dirs(&self.dirs);
        self.durable_dirs = dirs(&self.durable_dirs);
        self.names = names(&self.names);
        self.durable_names = names(&self.durable_names);
        for change in &mut self.pending_names {
            match change {
                NameChange::Set(path, _) | NameChange::Unset(path) => *path = moved(path),
                NameChange::Move(a, b, _) => (*a, *b) = (moved(a), moved(b)),
            }
        }
    }

    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        self.counts.power_losses += 1;
        // All, nothing, or any part of what waits survives.
        let keeps = rng.u8(..3);
        let keep = |rng: &mut Rng| match keeps {
            0 => false,
            1 => true,
            _ => rng.bool(),
        };
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.pending_names) {
            if keep(rng) {
                change.apply(&mut names);
            } else {
                self.counts.changes_lost += 1;
            }
        }
        let mut dirs = self.durable_dirs.clone();
        for dir in &self.dirs {
            if !dirs.contains(dir) && keep(rng) {
                dirs.insert(dir.clone());
            }
        }
        names.retain(|path, _| path.parent().is_some_and(|dir| dirs.contains(dir)));
        for stored in self.files.values_mut() {
            let mut content = std::mem::take(&mut stored.durable);
            for change in std::mem::take(&mut stored.pending) {
                match (keep(rng), rng.u8(..4)) {
                    (true, 0) if keeps == 2 => {
                        self.counts.changes_torn += 1;
                        change.tear(&mut content, rng);
                    }
                    (true, _) => change.apply(&mut content),
                    (false, _) => self.counts.changes_lost += 1,
                }
            }
            let file = memory_file();
            file.write_all_at(&content, 0)
                .expect("memory for a simulated file");
            stored.content = Arc::new(file);
            stored.durable = content;
        }
        self.names.clone_from(&names);
        self.durable_names = names;
        self.dirs.clone_from(&dirs);
        self.durable_dirs = dirs;
        self.forget_unnamed();
    }

    pub(super) fn flip_bit(
        &mut self,
        rng: &mut Rng,
        least: u64,
        hit: &dyn Fn(&Path) -> bool,
    ) -> Option<(PathBuf, u64)> {
        let names = self.names.iter();
        let segments = names.filter(|(path, _)| is_segment(path) && hit(path));
        let mut found: Vec<(PathBuf, Inode, Range<u64>)> = Vec::new();
        for (path, inode) in segments {
            let stored = self.files.get(inode)?;
            let bytes = stored.durable.len() as u64;
            // What is preallocated and empty has nothing to rot.
            let used = stored.durable.iter().rposition(|byte| *byte != 0);
            let used = used.map_or(0, |last| last as u64 + 1).min(bytes);
            // Nor has most of a segment's front.
            let front = if used > FRONT_BYTES { FRONT_BYTES } else { 0 };
            if used - front >= least.max(1) {
                found.push((path.clone(), *inode, front..used));
            }
        }
        let (path, inode, used) = found.get(rng.usize(..found.len().max(1)))?.clone();
        let stored = self.files.get_mut(&inode)?;
        let at = rng.u64(used);
        let bit = 1 << rng.u8(..8);
        let mut byte = [0];
        stored.content.read_exact_at(&mut byte, at).ok()?;
        stored.content.write_all_at(&[byte[0] ^ bit], at).ok()?;
        if let Some(byte) = stored.durable.get_mut(size(at)) {
            *byte ^= bit;
        }
        self.counts.flipped_bits += 1;
        let wrong = byte[0] ^ bit;
        self.flips.push(Flip { inode, at, wrong });
        Some((path, at))
    }

    /// On the disk or in memory: a loss of power brings back what was mended and not synced.
    pub(super) fn unhealed_flips(&mut self) -> Vec<PathBuf> {
        let Self {
            files,
            names,
            durable_names,
            flips,
            ..
        } = self;
        let mut found = Vec::new();
        flips.retain(|flip| {
            let mut byte = [0];
            let stays = files.get(&flip.inode).is_some_and(|stored| {
                let read = stored.content.read_exact_at(&mut byte, flip.at);
                let durable = stored.durable.get(size(flip.at));
                (read.is_ok() && byte[0] == flip.wrong) || durable == Some(&flip.wrong)
            });
            let mut named = names
                .iter()
                .chain(durable_names.iter())
                .filter(|(path, inode)| **inode == flip.inode && is_segment(path));
            match named.next() {
                Some((path, _)) if stays => found.push(path.clone()),
                _ => return false,
            }
            true
        });
        found
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "log")
}
