//! The one writer of a log.
//!
//! Stamps batches, puts all that a turn drained into one vectored write, publishes the log end
//! after the bytes are readable. The parts: `append` (reserve, write, commit), `trim` (the front),
//! `truncate` (the tail), `replica` (what only a copy of another log needs), here the state and the rest. Not here: who leads, what may be produced,
//! syncing.
//!
//! Always holds: nothing is published that is not whole in the file (L7); after an error that
//! leaves a file in doubt nothing is written again.

mod append;
mod replica;
mod trim;
mod truncate;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::{LeaderEpoch, Offset, Timestamp};

pub use append::{AppendError, Appended, ToAppend};
pub use replica::AdoptError;
pub use trim::TrimError;
pub use truncate::TruncateError;

use crate::checkpoint::Checkpoint;
use crate::config::LogConfig;
use crate::damage::{FailedStep, Poisoned};
use crate::disk::DiskFile;
use crate::epochs::{EpochEntry, EpochVector};
use crate::epochs_file;
use crate::index_builder::IndexBuilder;
use crate::list::SegmentList;
use crate::log::Shared;
use crate::meta;
use crate::producers::ProducerStates;
use crate::read::LogReader;
use crate::segment::Segment;
use crate::upkeep::{Capture, Upkeep, UpkeepError, is_exhausted, is_full};

/// The writer of one log. There is one, and it cannot be cloned.
#[derive(Debug)]
pub struct LogWriter {
    pub(crate) log: Arc<Shared>,
    config: LogConfig,
    tail: Option<Tail>,
    producers: ProducerStates,
    /// The producers as last captured, and where.
    captured: Option<(Offset, Arc<ProducerStates>)>,
    /// Entries of the epochs file, if it has exactly the vector's.
    epochs_in_file: Option<usize>,
    /// What the epochs file says may not be the vector, or not be durable: a sync of it failed, in
    /// this process or perhaps in the one before. It is replaced before anything relies on it.
    epochs_in_doubt: bool,
    high_watermark: Offset,
    pub(crate) cleaned_to: Offset,
    /// The tail's file may hold something behind its batches: it must be cut and synced before it
    /// is written, or a second crash could bring that back behind new batches.
    shorten_before_append: bool,
    bytes_since_checkpoint: u64,
    changed: bool,
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) segment: Arc<Segment>,
    pub(crate) builder: IndexBuilder,
    /// End of the batches; the same as the segment's frontier between appends.
    pub(crate) bytes: u64,
    /// Bytes with blocks behind them.
    pub(crate) allocated: u64,
    /// Greatest timestamp of the first batch, from which the segment's age counts.
    pub(crate) first_timestamp: Option<Timestamp>,
}

/// What recovery hands to a new writer.
#[derive(Debug)]
pub(crate) struct WriterStart {
    pub(crate) tail: Option<Tail>,
    pub(crate) producers: ProducerStates,
    pub(crate) epochs_in_file: Option<usize>,
    pub(crate) epochs_in_doubt: bool,
    pub(crate) high_watermark: Offset,
    pub(crate) cleaned_to: Offset,
    pub(crate) shorten_before_append: bool,
    pub(crate) changed: bool,
}

impl LogWriter {
    pub(crate) fn new(log: Arc<Shared>, config: LogConfig, start: WriterStart) -> Self {
        Self {
            log,
            config,
            tail: start.tail,
            producers: start.producers,
            captured: None,
            epochs_in_file: start.epochs_in_file,
            epochs_in_doubt: start.epochs_in_doubt,
            high_watermark: start.high_watermark,
            cleaned_to: start.cleaned_to,
            shorten_before_append: start.shorten_before_append,
            bytes_since_checkpoint: 0,
            changed: start.changed,
        }
    }

    /// The next offset to be written.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log.log_end()
    }

    /// The oldest offset that can be read.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log.log_start()
    }

    /// The high watermark that was checkpointed last: after a restart a hint, no more.
    #[must_use]
    pub fn checkpointed_high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Its reader.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader {
            log: Arc::clone(&self.log),
        }
    }

    /// The idempotent producers, as of the log end.
    #[must_use]
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// The epoch vector.
    #[must_use]
    pub fn epochs(&self) -> Arc<EpochVector> {
        self.log.epochs.load_full()
    }

    /// What poisoned the log, if anything has.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.log.poison.get()
    }

    /// Whether the log takes no more writes.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned().is_some()
    }

    /// Bytes appended since the last checkpoint: what a restart after a crash reads again.
    #[must_use]
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.bytes_since_checkpoint
    }

    /// Where compaction got to: what lies below was cleaned.
    #[must_use]
    pub fn cleaned_to(&self) -> Offset {
        self.cleaned_to
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the configuration. What is on the disk stays as it is.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
        self.producers.set_expiry(config.producer_expiry);
        self.log.config.store(Arc::new(config));
    }

    /// Begins leader epoch `epoch` at the log end, durably, before anything of it is appended. Of
    /// the current epoch: nothing to do. A log without a directory keeps it in memory until its
    /// first batch: an epoch of a log that was always empty says nothing to anybody.
    ///
    /// # Errors
    /// As [`LogWriter::append`]; [`AppendError::StaleEpoch`] for one below the current.
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), AppendError> {
        let start = self.log_end();
        self.begin_epoch(EpochEntry { epoch, start })
    }

    fn begin_epoch(&mut self, entry: EpochEntry) -> Result<(), AppendError> {
        self.log.poison.check()?;
        let current = self.log.epochs.load();
        match current.latest() {
            Some(latest) if latest > entry.epoch => {
                return Err(AppendError::StaleEpoch {
                    latest,
                    got: entry.epoch,
                });
            }
            Some(latest) if latest == entry.epoch => return self.settle_epochs(),
            _ => {}
        }
        let mut vector = EpochVector::clone(&current);
        vector.push(entry);
        if self.log.has_dir.load(Ordering::Acquire) {
            self.write_epochs(&vector, Some(entry))
                .map_err(|error| self.refused(error))?;
        }
        self.log.epochs.store(Arc::new(vector));
        Ok(())
    }

    /// Makes `vector` durable, by appending its last entry `appended` where that does.
    fn write_epochs(
        &mut self,
        vector: &EpochVector,
        appended: Option<EpochEntry>,
    ) -> io::Result<()> {
        let (disk, dir) = (self.log.disk(), self.log.dir.as_path());
        let entries = vector.entries().len();
        let in_file = self.epochs_in_file.take();
        // Until it is done: another attempt begins with a new file.
        let before = std::mem::replace(&mut self.epochs_in_doubt, true);
        match (appended, in_file) {
            (Some(entry), Some(written)) if written + 1 == entries && !before => {
                epochs_file::append(disk, dir, entry, written)?;
            }
            _ => epochs_file::rewrite(disk, dir, vector)?,
        }
        self.epochs_in_file = Some(entries);
        self.epochs_in_doubt = false;
        Ok(())
    }

    /// Replaces the epochs file by the vector, durably, if it is in doubt.
    fn settle_epochs(&mut self) -> Result<(), AppendError> {
        if !self.epochs_in_doubt || !self.log.has_dir.load(Ordering::Acquire) {
            return Ok(());
        }
        let vector = self.log.epochs.load_full();
        self.write_epochs(&vector, None)
            .map_err(|error| self.refused(error))
    }

    /// Makes the directory durable with the identity and a first checkpoint in it, once in the
    /// log's life. The directory's own name is the next sync's to make durable.
    fn ensure_dir(&mut self) -> io::Result<()> {
        if self.log.has_dir.load(Ordering::Acquire) {
            return Ok(());
        }
        let log = Arc::clone(&self.log);
        log.disk().create_dir(&log.dir)?;
        log.dirty.lock().parent = true;
        meta::write(log.disk(), &log.dir, &log.identity)?;
        let vector = log.epochs.load_full();
        if !vector.entries().is_empty() {
            epochs_file::write(log.disk(), &log.dir, &vector)?;
            self.epochs_in_file = Some(vector.entries().len());
        }
        // Syncs all their names, once. From here on a log without a checkpoint has lost it.
        Checkpoint::empty(log.log_start()).write(log.disk(), &log.dir)?;
        log.has_dir.store(true, Ordering::Release);
        Ok(())
    }

    /// What an error before anything was written means: a full disk leaves the log as it was.
    fn refused(&self, error: io::Error) -> AppendError {
        if is_full(&error) {
            AppendError::NoSpace { source: error }
        } else if is_exhausted(&error) {
            AppendError::Exhausted { source: error }
        } else {
            self.log.fail(FailedStep::Files, &error).into()
        }
    }

    /// Ends the segment being written, if it holds anything; the next append begins another.
    pub fn roll(&mut self) {
        let Some(mut tail) = self.tail.take_if(|tail| tail.bytes > 0) else {
            return;
        };
        tail.segment.seal(self.log.log_end(), &mut tail.builder);
        self.changed = true;
    }

    /// Stages a checkpoint of the log as it is, with `high_watermark` as the hint for the next
    /// start. Costs no I/O; the [`Upkeep`] does it.
    pub fn checkpoint(&mut self, high_watermark: Offset) -> Upkeep {
        self.high_watermark = high_watermark;
        self.stage(Vec::new())
    }

    /// Stages a capture and `changes` that wait for it.
    pub(crate) fn stage(&mut self, changes: Vec<crate::upkeep::FileChange>) -> Upkeep {
        let upkeep = Upkeep {
            log: Arc::clone(&self.log),
        };
        if !self.log.has_dir.load(Ordering::Acquire) {
            return upkeep;
        }
        let capture = self.capture();
        let mut staged = self.log.staged.lock();
        staged.capture = Some(capture);
        staged.changes.extend(changes);
        drop(staged);
        self.bytes_since_checkpoint = 0;
        self.changed = false;
        upkeep
    }

    fn capture(&mut self) -> Capture {
        let end = self.log_end();
        let list = self.log.segments.load();
        let sealed = list.all().iter().filter(|segment| segment.is_sealed());
        let sealed = sealed.cloned().collect();
        let tail = self.tail.as_ref();
        let tail = tail.map(|tail| (Arc::clone(&tail.segment), tail.bytes));
        Capture {
            log_start: self.log_start(),
            end,
            high_watermark: self.high_watermark,
            cleaned_to: self.cleaned_to,
            sealed,
            tail,
            log_time: self.producers.log_time,
            producers: self.capture_producers(end),
        }
    }

    fn capture_producers(&mut self, end: Offset) -> Option<Arc<ProducerStates>> {
        self.producers.expire();
        if self.producers.producers.is_empty() {
            return None;
        }
        if let Some((at, states)) = &self.captured
            && *at == end
        {
            return Some(Arc::clone(states));
        }
        let states = Arc::new(self.producers.clone());
        self.captured = Some((end, Arc::clone(&states)));
        Some(states)
    }

    /// Closes the log cleanly: everything durable, checkpointed, and nothing to scan at the next
    /// start. Costs nothing if nothing happened since the last checkpoint.
    ///
    /// # Errors
    /// As [`Upkeep::run`]. The log is as after a crash then, which loses nothing that was durable.
    pub fn close(mut self, high_watermark: Offset) -> Result<(), UpkeepError> {
        let upkeep = if self.changed || high_watermark != self.high_watermark {
            self.checkpoint(high_watermark)
        } else {
            self.stage_nothing()
        };
        upkeep.run()?;
        if let Some(tail) = &self.tail
            && tail.allocated > tail.bytes
        {
            // No reader can have seen a byte of what goes (point 2 of the contract in `map`).
            let cut = (tail.segment.writable(&self.log.host, &self.log.dir))
                .and_then(|file| file.set_bytes(tail.bytes));
            cut.map_err(|error| self.log.fail(FailedStep::Files, &error))?;
        }
        Ok(())
    }

    fn stage_nothing(&self) -> Upkeep {
        Upkeep {
            log: Arc::clone(&self.log),
        }
    }

    /// Swaps in another list of segments.
    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        self.log
            .segments
            .store(Arc::new(SegmentList::new(segments)));
    }
}
