//! What a log does to its files off the writer's turn: checkpoints, and taking files away.
//!
//! The writer *stages*: it captures what a checkpoint is to say and which files have left the log,
//! and hands out an [`Upkeep`]. Running that syncs, writes side files, checkpoint, and only then
//! touches the files, so that a checkpoint never names a file that is gone. It may run on any
//! thread; later stages replace earlier captures. Not here: deciding what leaves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::{Offset, Timestamp};

use crate::checkpoint::Checkpoint;
use crate::damage::{FailedStep, Poisoned};
use crate::layout::Name;
use crate::log::Shared;
use crate::producers::ProducerStates;
use crate::producers_file;
use crate::segment::{Segment, Stage};
use crate::sync::LogSync;

/// Work staged by the log's writer. Until it has run, files that left the log keep their space,
/// and a crash brings back the log start and checkpoint of before.
#[derive(Clone, Debug)]
#[must_use = "files that left the log stay on the disk until this has run"]
pub struct Upkeep {
    pub(crate) log: Arc<Shared>,
}

/// Why upkeep did not get through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpkeepError {
    /// The disk is full. What was staged stays staged, and the log goes on.
    #[error("no space left for the log's checkpoint")]
    NoSpace,
    /// The process is out of descriptors or memory. What was staged stays staged, and the log goes
    /// on.
    #[error("the process cannot open a file for the log's checkpoint")]
    Exhausted,
    /// The log takes no more writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// What the writer staged and nobody has run.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) capture: Option<Capture>,
    pub(crate) changes: Vec<FileChange>,
}

/// The log at one moment of its writer's.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) cleaned_to: Offset,
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// The tail and its bytes then.
    pub(crate) tail: Option<(Arc<Segment>, u64)>,
    pub(crate) log_time: Timestamp,
    /// `None` when there are none.
    pub(crate) producers: Option<Arc<ProducerStates>>,
}

/// A change of names that waits for the checkpoint that allows it.
#[derive(Debug)]
pub(crate) enum FileChange {
    /// The segment left the log.
    Remove(Arc<Segment>),
    /// Compaction's output takes the place of what it was made from.
    Install {
        output: Arc<Segment>,
        replaced: Vec<Arc<Segment>>,
    },
}

impl Capture {
    pub(crate) fn checkpoint(&self, generation: u64) -> Checkpoint {
        let tail = self.tail.as_ref();
        Checkpoint {
            log_start: self.log_start,
            generation,
            recovery_point: self.end,
            high_watermark: self.high_watermark,
            cleaned_to: self.cleaned_to,
            log_time: self.log_time,
            has_producers: self.producers.is_some(),
            cutting: false,
            tail_base: tail.map_or(self.end, |(segment, _)| segment.base),
            tail_bytes: tail.map_or(0, |(_, bytes)| *bytes),
            sealed: self.sealed.iter().map(|segment| segment.extent()).collect(),
        }
    }
}

impl Upkeep {
    /// Does what is staged now, whoever staged it. Nothing staged is fine.
    ///
    /// # Errors
    /// See [`UpkeepError`].
    pub fn run(&self) -> Result<(), UpkeepError> {
        let _turn = self.log.upkeep.lock();
        let staged = std::mem::take(&mut *self.log.staged.lock());
        let Some(capture) = staged.capture else {
            return Ok(());
        };
        // Durable first: a checkpoint's recovery point is a promise.
        LogSync {
            log: Arc::clone(&self.log),
        }
        .sync()?;
        let result = self.carry_out(&capture, &staged.changes);
        match result {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) || is_exhausted(&error) => {
                let mut later = self.log.staged.lock();
                let newer = std::mem::take(&mut later.changes);
                later.changes = staged.changes;
                later.changes.extend(newer);
                later.capture.get_or_insert(capture);
                Err(if is_full(&error) {
                    UpkeepError::NoSpace
                } else {
                    UpkeepError::Exhausted
                })
            }
            Err(error) => Err(self.log.fail(FailedStep::Files, &error).into()),
        }
    }

    fn carry_out(&self, capture: &Capture, changes: &[FileChange]) -> io::Result<()> {
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        self.decide_installs(changes)?;
        for segment in &capture.sealed {
            segment.write_index(disk, dir)?;
            segment.trim(disk, dir)?;
        }
        if let Some((tail, _)) = &capture.tail {
            tail.write_index(disk, dir)?;
        }
        if let Some(producers) = &capture.producers {
            producers_file::write(disk, dir, producers, capture.end)?;
            // The checkpoint counts on it, and its batches may be gone.
            disk.sync_dir(dir)?;
        }
        let generation = self.log.generation.load(Ordering::Acquire);
        let checkpoint = capture.checkpoint(generation);
        checkpoint.write(disk, dir)?;
        let sealed_below = checkpoint.tail_base.get();
        self.log.sealed_below.store(sealed_below, Ordering::Release);
        self.change_names(changes)?;
        self.forget_snapshots(capture.end)
    }

    /// From here on a crash ends with compaction's output in the log.
    fn decide_installs(&self, changes: &[FileChange]) -> io::Result<()> {
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        let mut renamed = false;
        for change in changes {
            if let FileChange::Install { output, .. } = change
                && let cleaned @ Name::Cleaned { base, end } = output.name()
            {
                disk.rename(&cleaned.path(dir), &Name::Swap { base, end }.path(dir))?;
                output.set_stage(Stage::Swap);
                renamed = true;
            }
        }
        if renamed { disk.sync_dir(dir) } else { Ok(()) }
    }

    fn change_names(&self, changes: &[FileChange]) -> io::Result<()> {
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        for change in changes {
            match change {
                FileChange::Remove(segment) => {
                    disk.remove(&segment.name().path(dir))?;
                    disk.remove(&Name::Index(segment.base).path(dir))?;
                }
                FileChange::Install { output, replaced } => {
                    for old in replaced.iter().filter(|old| old.base != output.base) {
                        disk.remove(&Name::Segment(old.base).path(dir))?;
                        disk.remove(&Name::Index(old.base).path(dir))?;
                    }
                    let name = Name::Segment(output.base);
                    disk.rename(&output.name().path(dir), &name.path(dir))?;
                    output.set_stage(Stage::Final);
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        disk.sync_dir(dir)
    }

    /// Keeps the producer snapshots of this checkpoint and of the one before it.
    fn forget_snapshots(&self, current: Offset) -> io::Result<()> {
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        let mut older: Vec<_> = disk
            .list(dir)?
            .iter()
            .filter_map(|name| match Name::parse(name) {
                Name::Producers(at) if at != current => Some(at),
                _ => None,
            })
            .collect();
        older.sort_unstable();
        older.pop();
        for at in older {
            disk.remove(&Name::Producers(at).path(dir))?;
        }
        Ok(())
    }
}

/// Whether an error says that the process has run out of something, which it may get back.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    of(Errno::MFILE) || of(Errno::NFILE) || of(Errno::NOMEM)
}

/// Whether an error says that there is no room, rather than that something is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
