//! Cutting the log's tail, and starting it over.
//!
//! Nothing is overwritten and no file is shortened, as readers may hold slices of it: what remains
//! of the segment in which the cut lies is sealed where it is cut, and the next append begins a new
//! file. The checkpoint that says so is the moment at which the cut has happened; before it a crash
//! leaves the log as it was, after it recovery takes away what is left beyond. A second checkpoint
//! says that nothing is left: a file that an earlier cut ended still holds what was cut then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::Offset;

use super::LogWriter;
use super::replica::{aside_path, set_aside};
use crate::damage::{FailedStep, Poisoned};
use crate::disk::{Disk, OpenFile};
use crate::epochs::EpochVector;
use crate::layout::Name;
use crate::producers::ProducerStates;
use crate::rebuild;
use crate::scan::{Found, Look, Scan};
use crate::segment::{Extent, Segment};
use crate::segment_file::SegmentFile;
use crate::sync::{LogSync, Noting};
use crate::upkeep::{Capture, UpkeepError};

/// Why the log was not cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TruncateError {
    /// The log takes no changes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// Upkeep that had to come first did not get through.
    #[error("the log could not be brought up to date before the cut")]
    Upkeep(#[from] UpkeepError),
    /// The cut lies below the log start: nothing would be left. [`LogWriter::reset_to`] does that.
    #[error("the log starts at {log_start}, it cannot be cut to {to}")]
    BelowStart {
        /// What was asked for.
        to: Offset,
        /// The log start.
        log_start: Offset,
    },
}

impl LogWriter {
    /// Cuts the log to `to`, durably, and returns its new end: `to`, or the base of the batch that
    /// `to` lies in. At or above the log end: nothing happens. The caller has ended the tenure, so
    /// that nobody serves what goes; slices that are held stay as they are.
    ///
    /// # Errors
    /// See [`TruncateError`].
    pub fn truncate_to(&mut self, to: Offset) -> Result<Offset, TruncateError> {
        self.log.poison.check()?;
        let log_start = self.log_start();
        if to < log_start {
            return Err(TruncateError::BelowStart { to, log_start });
        }
        if to >= self.log_end() {
            return Ok(self.log_end());
        }
        self.stage_nothing().run()?;
        let log = Arc::clone(&self.log);
        // What stays is durable by the checkpoint that says so.
        LogSync {
            log: Arc::clone(&log),
        }
        .sync()?;
        let _upkeep = log.upkeep.lock();
        let mut noting = log.syncing.lock();
        *noting = Noting::default();
        let cut = self.cut(to).map_err(|error| self.broken(&error))?;
        // What the cut leaves may end below a log start that lies inside its last batch.
        let start = log_start.min(cut.end);
        self.install_cut(cut, start)
            .map_err(|error| self.broken(&error))?;
        Ok(self.log_end())
    }

    /// Drops everything and makes the log start, empty, at `start`, durably: for a replica whose
    /// log cannot be continued.
    ///
    /// # Errors
    /// See [`TruncateError`].
    pub fn reset_to(&mut self, start: Offset) -> Result<(), TruncateError> {
        self.start_over(start, false)
    }

    /// As [`LogWriter::reset_to`], but the old segments' files stay in the directory under another
    /// name, until [`LogWriter::discard_aside`]: what comes may turn out to be less. A crash
    /// half-way removes those that were not renamed yet.
    ///
    /// # Errors
    /// See [`TruncateError`].
    pub fn reset_keeping(&mut self, start: Offset) -> Result<(), TruncateError> {
        self.start_over(start, true)
    }

    fn start_over(&mut self, start: Offset, aside: bool) -> Result<(), TruncateError> {
        self.log.poison.check()?;
        self.ensure_dir().map_err(|error| self.broken(&error))?;
        self.stage_nothing().run()?;
        let log = Arc::clone(&self.log);
        let _upkeep = log.upkeep.lock();
        let mut noting = log.syncing.lock();
        *noting = Noting::default();
        let cut = Cut {
            end: start,
            kept: Vec::new(),
            gone: log.segments.load().all().to_vec(),
            epochs: EpochVector::default(),
            producers: ProducerStates::new(self.config.producer_expiry),
            aside,
        };
        self.install_cut(cut, start)
            .map_err(|error| self.broken(&error))?;
        Ok(())
    }

    pub(super) fn broken(&self, error: &io::Error) -> Poisoned {
        self.log.fail(FailedStep::Files, error)
    }

    /// What the log cut at `to` consists of. Changes nothing.
    fn cut(&self, to: Offset) -> io::Result<Cut> {
        let list = self.log.segments.load();
        let at = list.find(to).unwrap_or_default();
        let (before, from) = list.all().split_at(at);
        let mut kept = before.to_vec();
        let mut end = to;
        if let Some(partly) = from.first() {
            let extent = self.extent_to(partly, to)?;
            end = extent.end;
            if extent.bytes > 0 {
                kept.push(Arc::new(self.sealed_at(partly, extent)?));
            }
        }
        let mut epochs = EpochVector::clone(&self.log.epochs.load());
        epochs.truncate_to(end);
        let expiry = self.config.producer_expiry;
        let producers = rebuild::producers(
            self.log.disk(),
            &self.log.dir,
            &kept,
            self.log_start()..end,
            expiry,
        )?;
        Ok(Cut {
            end,
            kept,
            gone: from.to_vec(),
            epochs,
            producers,
            aside: false,
        })
    }

    /// What of `segment` lies before `to`: whole batches only.
    fn extent_to(&self, segment: &Arc<Segment>, to: Offset) -> io::Result<Extent> {
        let path = segment.name().path(&self.log.dir);
        let file = SegmentFile::open(self.log.disk(), &path, OpenFile::Read)?;
        let mut scan = Scan::new(&file, Look::Headers, 0, segment.bytes())?;
        let mut extent = Extent {
            base: segment.base,
            end: to,
            bytes: 0,
            max_timestamp: plimsoll_types::Timestamp::NONE,
        };
        while let Found::Batch(batch) = scan.next()? {
            if batch.header.end() > to {
                extent.end = to.min(batch.header.base);
                break;
            }
            extent.bytes = batch.after();
            extent.max_timestamp = extent.max_timestamp.max(batch.header.max_timestamp);
        }
        Ok(extent)
    }

    /// `old` with its end at `extent`'s, in the same file. Another object: readers of the old one
    /// keep what they hold.
    fn sealed_at(&self, old: &Segment, extent: Extent) -> io::Result<Segment> {
        let segment = Segment::sealed(extent);
        let interval = self.config.index_interval_bytes;
        segment.derive_index(self.log.disk(), &self.log.dir, old, interval)?;
        segment.keep_length();
        Ok(segment)
    }

    /// Makes `cut` the log: the checkpoint first, which decides; then memory; then the files.
    fn install_cut(&mut self, cut: Cut, log_start: Offset) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let (disk, dir) = (log.disk(), log.dir.as_path());
        self.high_watermark = self.high_watermark.min(cut.end);
        self.cleaned_to = self.cleaned_to.min(cut.end);
        // Marks from before the cut say nothing from here on.
        let generation = log.generation.load(Ordering::Acquire) + 1;
        let capture = Capture {
            log_start,
            end: cut.end,
            high_watermark: self.high_watermark,
            cleaned_to: self.cleaned_to,
            sealed: cut.kept.clone(),
            tail: None,
            log_time: cut.producers.log_time,
            producers: None,
        };
        let mut checkpoint = capture.checkpoint(generation);
        if !cut.producers.producers.is_empty() {
            crate::producers_file::write(disk, dir, &cut.producers, cut.end)?;
            disk.sync_dir(dir)?;
            checkpoint.has_producers = true;
        }
        checkpoint.cutting = true;
        checkpoint.write(disk, dir)?;
        if let Some(parent) = dir.parent()
            && std::mem::take(&mut log.dirty.lock().parent)
        {
            disk.sync_dir(parent)?;
        }
        log.sealed_below.store(cut.end.get(), Ordering::Release);
        log.generation.store(generation, Ordering::Release);
        self.publish_cut(&cut, log_start);
        epochs_after(&log, &cut)?;
        self.epochs_in_file = Some(cut.epochs.entries().len());
        self.epochs_in_doubt = false;
        remove_gone(disk, dir, &cut)?;
        // Only from here on may a segment take one of the names.
        checkpoint.cutting = false;
        checkpoint.write(disk, dir)?;
        self.producers = cut.producers;
        Ok(())
    }

    fn publish_cut(&mut self, cut: &Cut, log_start: Offset) {
        let log = &self.log;
        self.tail = None;
        self.captured = None;
        self.shorten_before_append = false;
        self.changed = true;
        let kept = |old: &Arc<Segment>| cut.kept.iter().any(|new| new.base == old.base);
        for segment in cut.gone.iter().filter(|segment| !kept(segment)) {
            segment.retire();
        }
        self.set_segments(cut.kept.clone());
        let end = cut.end.get();
        log.durable_end.store(end, Ordering::Release);
        log.log_start.store(log_start.get(), Ordering::Release);
        log.log_end.store(end, Ordering::Release);
        log.epochs.store(Arc::new(cut.epochs.clone()));
        log.dirty.lock().files.clear();
        log.forget_damage((!cut.kept.is_empty()).then_some(cut.end));
    }
}

/// What a log consists of after a cut.
struct Cut {
    end: Offset,
    kept: Vec<Arc<Segment>>,
    /// The old segments from the cut on, the one that was kept in part included.
    gone: Vec<Arc<Segment>>,
    epochs: EpochVector,
    producers: ProducerStates,
    /// What goes is renamed, not removed.
    aside: bool,
}

fn epochs_after(log: &crate::log::Shared, cut: &Cut) -> io::Result<()> {
    crate::epochs_file::rewrite(log.disk(), &log.dir, &cut.epochs)
}

/// Removes the files beyond the cut, the last first, and makes that durable before anything new
/// can take one of the names.
fn remove_gone(disk: &dyn Disk, dir: &std::path::Path, cut: &Cut) -> io::Result<()> {
    for segment in cut.gone.iter().rev() {
        if cut.kept.iter().all(|kept| kept.base != segment.base) {
            let path = Name::Segment(segment.base).path(dir);
            if cut.aside {
                set_aside(disk, &path, &aside_path(dir, segment.base))?;
            } else {
                disk.remove(&path)?;
            }
            disk.remove(&Name::Index(segment.base).path(dir))?;
        }
    }
    // A snapshot of what went must never be taken for one of what comes.
    for name in disk.list(dir)? {
        if let name @ Name::Producers(at) = Name::parse(&name)
            && at > cut.end
        {
            disk.remove(&name.path(dir))?;
        }
    }
    disk.sync_dir(dir)
}
