//! What the parts of one log share.
//!
//! Writer, readers, flusher and upkeep each hold an `Arc` of [`Shared`]. Who may change what is
//! said at each field. Not here: any of their work.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_types::Offset;

use crate::config::{Identity, LogConfig};
use crate::damage::{Damage, FailedStep, Poison, Poisoned};
use crate::disk::Disk;
use crate::epochs::EpochVector;
use crate::host::LogHost;
use crate::list::SegmentList;
use crate::segment::Handle;
use crate::sync::Noting;
use crate::upkeep::Staged;

/// Damaged ranges that are remembered for whoever asks; more are only counted by their reads.
const MAX_DAMAGE: usize = 64;

/// One log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: LogHost,
    pub(crate) dir: PathBuf,
    pub(crate) identity: Identity,
    /// Swapped by the writer.
    pub(crate) config: ArcSwap<LogConfig>,
    /// Swapped by the writer.
    pub(crate) segments: ArcSwap<SegmentList>,
    /// Swapped by the writer, after the file has it.
    pub(crate) epochs: ArcSwap<EpochVector>,
    /// Invariant L1: log start and durable end are never above the log end. The writer stores start
    /// and end, the flusher the durable end; truncation stores all, holding the flusher off.
    pub(crate) log_start: AtomicU64,
    pub(crate) durable_end: AtomicU64,
    pub(crate) log_end: AtomicU64,
    pub(crate) poison: Poison,
    /// What was written and is not durable. Locked for a push or a take, never over I/O.
    pub(crate) dirty: Mutex<Dirty>,
    /// Held over a sync: one at a time. Before it in order: `upkeep`. After it: `dirty`.
    pub(crate) syncing: Mutex<Noting>,
    /// What upkeep is to do. Never locked over I/O.
    pub(crate) staged: Mutex<Staged>,
    /// Held over upkeep: one at a time.
    pub(crate) upkeep: Mutex<()>,
    /// Segments that end at or below this are sealed in the checkpoint on the disk. Moved by
    /// upkeep and truncation, holding `upkeep`.
    pub(crate) sealed_below: AtomicU64,
    /// Raised by truncation, so that a durable mark from before it says nothing.
    pub(crate) generation: AtomicU64,
    /// Whether the directory exists, with the identity durable in it.
    pub(crate) has_dir: AtomicBool,
    /// Somebody holds the log's turn at compaction.
    pub(crate) compacting: AtomicBool,
    damage: Mutex<Vec<Damage>>,
    /// Whether there is any; looked at before each read.
    damaged: AtomicBool,
}

/// What is not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Files with unsynced bytes.
    pub(crate) files: Vec<Arc<Handle>>,
    /// The log's directory has new names.
    pub(crate) dir: bool,
    /// The log's directory is itself a new name.
    pub(crate) parent: bool,
}

impl Dirty {
    pub(crate) fn add(&mut self, file: &Arc<Handle>) {
        if !self.files.iter().any(|known| Arc::ptr_eq(known, file)) {
            self.files.push(Arc::clone(file));
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.files.is_empty() && !self.dir && !self.parent
    }
}

/// What a log starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) segments: SegmentList,
    pub(crate) epochs: EpochVector,
    pub(crate) log_start: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) log_end: Offset,
    pub(crate) sealed_below: Offset,
    pub(crate) generation: u64,
    pub(crate) has_dir: bool,
    pub(crate) dirty: Dirty,
    pub(crate) damage: Vec<Damage>,
}

impl Shared {
    pub(crate) fn new(
        host: LogHost,
        dir: PathBuf,
        identity: Identity,
        config: LogConfig,
        start: Start,
    ) -> Self {
        assert!(
            start.log_start <= start.log_end,
            "L1: the log does not end before it starts"
        );
        assert!(
            start.durable_end <= start.log_end,
            "L1: what is durable is in the log"
        );
        Self {
            host,
            dir,
            identity,
            config: ArcSwap::from_pointee(config),
            segments: ArcSwap::from_pointee(start.segments),
            epochs: ArcSwap::from_pointee(start.epochs),
            log_start: AtomicU64::new(start.log_start.get()),
            durable_end: AtomicU64::new(start.durable_end.get()),
            log_end: AtomicU64::new(start.log_end.get()),
            poison: Poison::default(),
            dirty: Mutex::new(start.dirty),
            syncing: Mutex::default(),
            staged: Mutex::default(),
            upkeep: Mutex::default(),
            sealed_below: AtomicU64::new(start.sealed_below.get()),
            generation: AtomicU64::new(start.generation),
            has_dir: AtomicBool::new(start.has_dir),
            compacting: AtomicBool::new(false),
            damaged: AtomicBool::new(!start.damage.is_empty()),
            damage: Mutex::new(start.damage),
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.host.disk()
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn durable_end(&self) -> Offset {
        Offset::new(self.durable_end.load(Ordering::Acquire))
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset::new(self.log_end.load(Ordering::Acquire))
    }

    /// Poisons the log.
    pub(crate) fn fail(&self, step: FailedStep, error: &std::io::Error) -> Poisoned {
        self.poison.set(self.log_end(), step, error)
    }

    /// Remembers a damaged range.
    pub(crate) fn note_damage(&self, damage: Damage) {
        let mut known = self.damage.lock();
        if known.len() < MAX_DAMAGE && !known.contains(&damage) {
            known.push(damage);
        }
        // Release: pairs with the acquire in `damage_in`.
        self.damaged.store(true, Ordering::Release);
    }

    /// The first known damage that reading from `from` on meets before `below`.
    pub(crate) fn damage_in(&self, from: Offset, below: Offset) -> Option<Damage> {
        if !self.damaged.load(Ordering::Acquire) {
            return None;
        }
        let known = self.damage.lock();
        let met = known.iter().filter(|d| d.until > from && d.from < below);
        met.min_by_key(|damage| damage.from).copied()
    }

    /// The log ends at `end` now, or is begun anew if that is `None`: what was damaged beyond is gone.
    pub(crate) fn forget_damage(&self, end: Option<Offset>) {
        let mut known = self.damage.lock();
        known.retain(|damage| end.is_some_and(|end| damage.from < end));
        self.damaged.store(!known.is_empty(), Ordering::Release);
    }

    /// The damaged ranges met so far.
    pub(crate) fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::LogReader;
    use crate::sync::LogSync;
    use crate::writer::LogWriter;

    #[test]
    fn an_idle_log_is_small() {
        let parts = [
            size_of::<Shared>(),
            size_of::<LogConfig>(),
            size_of::<SegmentList>(),
            size_of::<EpochVector>(),
            size_of::<LogWriter>(),
            size_of::<LogReader>(),
            size_of::<LogSync>(),
        ];
        let bytes: usize = parts.iter().sum();
        assert!(bytes <= 1024, "{bytes}: {parts:?}");
    }
}
