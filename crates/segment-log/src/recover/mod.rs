//! Opening a log: making whole what a crash left.
//!
//! Everything below the recovery point of the checkpoint is taken as it is; sealed segments are
//! not even opened. From there on every batch is checked. What does not continue the log is *torn*,
//! and cut, if nobody was promised it; it is *damage*, reported and left where it is, if it lies
//! below the durable end. Side files that cannot be believed are rebuilt from the log.
//!
//! Always holds: recovery moves neither the recovery point nor the durable end; a second recovery
//! finds nothing to do; no offset below the durable end is given out again (L8).

mod anew;
mod files;
mod resync;
mod tail;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plimsoll_types::Offset;

use crate::config::{Identity, LogConfig};
use crate::damage::{Damage, DamageKind};
use crate::epochs::EpochVector;
use crate::epochs_file;
use crate::format::Unreadable;
use crate::host::LogHost;
use crate::list::SegmentList;
use crate::log::{Dirty, Shared, Start};
use crate::producers::ProducerStates;
use crate::read::LogReader;
use crate::segment::Segment;
use crate::sync::LogSync;
use crate::writer::{LogWriter, WriterStart};

/// An open log.
#[derive(Debug)]
pub struct Opened {
    /// Its one writer.
    pub writer: LogWriter,
    /// Its readers: clone at will.
    pub reader: LogReader,
    /// What makes it durable.
    pub sync: LogSync,
    /// What opening it took.
    pub recovery: Recovery,
}

/// What opening a log took. A clean start leaves it empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of batches that were read.
    pub scanned_bytes: u64,
    /// The torn tail that was cut.
    pub cut: Option<TornTail>,
    /// Side files that were rebuilt from the log.
    pub rebuilt: Vec<SideFile>,
    /// What is missing or broken below the durable end.
    pub damage: Vec<Damage>,
    /// Files of unfinished steps that were taken away or finished.
    pub leftovers: u32,
}

/// Bytes at the end of a log that were not a whole batch or did not continue it. Nobody was told
/// that they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The log end.
    pub at: Offset,
    /// Bytes of the file that went, allocated zeros not counted where that is known.
    pub bytes: u64,
}

/// A side file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SideFile {
    /// `checkpoint`
    Checkpoint,
    /// `epochs`
    Epochs,
    /// `<offset>.producers`
    Producers,
    /// `<base>.index` of the tail
    Index,
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory belongs to another partition.
    #[error("{} says partition {found:?}, expected {expected:?}", path.display())]
    WrongIdentity {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: Identity,
        /// Whose it should be.
        expected: Identity,
    },
    /// There is a log, but nothing that says whose.
    #[error("{} is missing although there are segments beside it", path.display())]
    NoIdentity {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file that cannot be rebuilt cannot be used, or is of a newer version.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unreadable,
    },
    /// The system could not read or write in the directory.
    #[error("cannot open the log in {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the log in `dir`, which need not exist: an empty log has no directory until its first
/// batch. The caller has the data directory locked.
///
/// What was appended but not synced before a crash is in the log and not durable: sync it before
/// promising anything. It was checked and written once more, as the system may have dropped it in a
/// sync that failed.
///
/// # Errors
/// See [`OpenError`]. Damage is none: what is around it can be read.
pub fn open(
    dir: &Path,
    identity: Identity,
    config: LogConfig,
    host: &LogHost,
) -> Result<Opened, OpenError> {
    let found = files::look(host.disk(), dir, &identity)?;
    let recovered = found.map_or_else(
        || Ok(Recovered::nothing(&config)),
        |found| recover(found, dir, &config, host).map_err(|source| io_error(dir, source)),
    );
    Ok(assemble(dir, identity, config, host, recovered?))
}

fn io_error(dir: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: dir.to_owned(),
        source,
    }
}

/// A log that was made whole.
struct Recovered {
    report: Recovery,
    start: Start,
    writer: WriterStart,
}

impl Recovered {
    fn nothing(config: &LogConfig) -> Self {
        Self {
            report: Recovery::default(),
            start: Start {
                segments: SegmentList::default(),
                epochs: EpochVector::default(),
                log_start: Offset::ZERO,
                durable_end: Offset::ZERO,
                log_end: Offset::ZERO,
                sealed_below: Offset::ZERO,
                generation: 0,
                has_dir: false,
                dirty: Dirty::default(),
                damage: Vec::new(),
            },
            writer: WriterStart {
                tail: None,
                producers: ProducerStates::new(config.producer_expiry),
                epochs_in_file: None,
                epochs_in_doubt: false,
                high_watermark: Offset::ZERO,
                cleaned_to: Offset::ZERO,
                shorten_before_append: false,
                changed: false,
            },
        }
    }
}

fn assemble(
    dir: &Path,
    identity: Identity,
    config: LogConfig,
    host: &LogHost,
    recovered: Recovered,
) -> Opened {
    let Recovered {
        report,
        start,
        writer,
    } = recovered;
    let log = Arc::new(Shared::new(
        host.clone(),
        dir.to_owned(),
        identity,
        config,
        start,
    ));
    Opened {
        writer: LogWriter::new(Arc::clone(&log), config, writer),
        reader: LogReader {
            log: Arc::clone(&log),
        },
        sync: LogSync { log },
        recovery: report,
    }
}

fn recover(
    found: files::Found,
    dir: &Path,
    config: &LogConfig,
    host: &LogHost,
) -> io::Result<Recovered> {
    let disk = host.disk();
    let mut report = Recovery::default();
    if found.checkpoint_lost {
        report.rebuilt.push(SideFile::Checkpoint);
    }
    let plan = files::plan(disk, dir, found, &mut report)?;
    let sealed: Vec<_> = plan
        .checkpoint
        .sealed
        .iter()
        .map(|e| Arc::new(Segment::sealed(*e)))
        .collect();
    files::check_sealed(disk, dir, &sealed, &mut report)?;

    let mut epochs = epochs_file::load(disk, dir)?;
    let first = tail::below_recovery_point(&plan);
    if !epochs.intact {
        let below: Vec<_> = sealed.iter().cloned().chain(first.clone()).collect();
        crate::rebuild::epochs(disk, dir, &below, &mut epochs.vector)?;
        if epochs.exists {
            report.rebuilt.push(SideFile::Epochs);
        }
    }
    let producers = load_producers(disk, dir, &plan, &sealed, first, config, &mut report)?;
    let scanned = tail::scan(host, dir, config, &plan, epochs, producers, &mut report)?;
    finish(disk, dir, &plan, sealed, scanned, report)
}

/// The producers at the recovery point.
fn load_producers(
    disk: &dyn crate::disk::Disk,
    dir: &Path,
    plan: &files::Plan,
    sealed: &[Arc<Segment>],
    first: Option<Arc<Segment>>,
    config: &LogConfig,
    report: &mut Recovery,
) -> io::Result<ProducerStates> {
    let at = plan.checkpoint.recovery_point;
    let mut states = ProducerStates::new(config.producer_expiry);
    states.log_time = plan.checkpoint.log_time;
    if !plan.checkpoint.has_producers {
        return Ok(states);
    }
    if let Some(states) = crate::producers_file::read(disk, dir, at, config.producer_expiry)? {
        return Ok(states);
    }
    report.rebuilt.push(SideFile::Producers);
    let below: Vec<_> = sealed.iter().cloned().chain(first).collect();
    let range = plan.checkpoint.log_start..at;
    let states = crate::rebuild::producers(disk, dir, &below, range, config.producer_expiry)?;
    crate::producers_file::write(disk, dir, &states, at)?;
    disk.sync_dir(dir)?;
    Ok(states)
}

/// Puts the parts together, and takes away what is left over.
fn finish(
    disk: &dyn crate::disk::Disk,
    dir: &Path,
    plan: &files::Plan,
    sealed: Vec<Arc<Segment>>,
    scanned: tail::Scanned,
    mut report: Recovery,
) -> io::Result<Recovered> {
    let checkpoint = &plan.checkpoint;
    let log_end = scanned.end;
    assert!(
        log_end >= plan.durable_end,
        "L8: no promised offset is given out again"
    );
    let mut segments = sealed;
    segments.extend(scanned.segments);
    let log_start = checkpoint.log_start.min(log_end);
    let mut epochs = scanned.epochs;
    let beyond = epochs.vector.drop_beyond(log_end);
    let entries = epochs.vector.entries().len();
    let rewritten = !epochs.intact && (entries > 0 || epochs.exists);
    if rewritten {
        epochs_file::rewrite(disk, dir, &epochs.vector)?;
    }
    let in_file = rewritten || epochs.intact && !beyond;
    epochs.vector.start_at(log_start);
    let in_file = in_file && epochs.vector.entries().len() == entries;
    files::remove_leftovers(disk, dir, plan, &segments, &mut report)?;
    report.scanned_bytes = scanned.scanned_bytes;
    let durable_end = plan.durable_end.min(log_end);
    Ok(Recovered {
        start: Start {
            segments: SegmentList::new(segments),
            epochs: epochs.vector,
            log_start,
            durable_end,
            log_end,
            sealed_below: plan.sealed_below,
            generation: checkpoint.generation,
            has_dir: true,
            dirty: scanned.dirty,
            damage: report.damage.clone(),
        },
        writer: WriterStart {
            tail: scanned.tail,
            producers: scanned.producers,
            epochs_in_file: in_file.then_some(entries),
            epochs_in_doubt: epochs.exists && !rewritten,
            high_watermark: checkpoint.high_watermark.min(log_end),
            cleaned_to: checkpoint.cleaned_to.min(log_end),
            shorten_before_append: scanned.shorten_before_append,
            changed: log_end != checkpoint.recovery_point || report != Recovery::default(),
        },
        report,
    })
}

/// A segment that should be there and is not, so that reads of it are told.
fn lost(segment: Offset, position: u64, from: Offset, until: Offset, kind: DamageKind) -> Damage {
    Damage {
        segment,
        position,
        from,
        until,
        kind,
    }
}
