//! Reading: from any thread, without a lock, without asking the writer.
//!
//! A reader takes the list of segments as it is, finds the batch, and hands out slices: of the map
//! of the segment that is written on, which they keep alive, or of what was read from a file. It
//! never sees a byte above the published end, nor one that was not verified since the segment was
//! opened. Not here: who may read how far; that is the caller's `below`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use plimsoll_record_batch::{BatchHeader, HEADER_BYTES};
use plimsoll_types::{LeaderEpoch, Offset};

use crate::config::{Identity, LogConfig, Minimum};
use crate::cursor::Cursor;
use crate::damage::{Damage, Poisoned};
use crate::epochs::EpochVector;
use crate::list::SegmentList;
use crate::log::Shared;
use crate::segment::{Extent, Segment, Unavailable};

/// Reads one log. Clones read the same log.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) log: Arc<Shared>,
}

/// Whole batches, one slice for each segment they come from.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    /// The batches' bytes, in order. They stay valid whatever happens to the log.
    pub chunks: Vec<Bytes>,
    /// Their sum.
    pub bytes: usize,
    /// Where to read on.
    pub next: Offset,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log starts later: retention, compaction's deletes or DeleteRecords took it.
    #[error("the log starts at offset {log_start}")]
    BelowStart {
        /// The log start.
        log_start: Offset,
    },
    /// The log ends earlier.
    #[error("the log ends at offset {log_end}")]
    AboveEnd {
        /// The log end.
        log_end: Offset,
    },
    /// What is there cannot be believed, and is not handed out.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The system could not read it.
    #[error("segment {segment} cannot be read")]
    Io {
        /// Base offset of the segment.
        segment: Offset,
        /// What the system said.
        source: io::Error,
    },
}

/// A segment as outsiders see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Its first offset.
    pub base: Offset,
    /// Where the next one begins.
    pub end: Offset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// The greatest timestamp in it.
    pub max_timestamp: plimsoll_types::Timestamp,
    /// Whether it is complete.
    pub sealed: bool,
}

/// Why an attempt ended.
pub(crate) enum Stop {
    /// The list was old; with the current one it may work.
    Again,
    Error(ReadError),
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Error(damage.into())
    }
}

/// A list can be old once or twice in a row, not for ever.
const MAX_ATTEMPTS: usize = 64;

impl LogReader {
    /// Whole batches from the one that holds `from` on, none reaching above `below`, together at
    /// most `max_bytes`; the first one whatever its size if `minimum` says so. Nothing at `from`
    /// yet: no chunks. The first batch may begin before `from`, as a consumer expects.
    ///
    /// # Errors
    /// See [`ReadError`]. Damage is an error only when it is the first thing met.
    pub fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
        minimum: Minimum,
    ) -> Result<Slices, ReadError> {
        let wanted = Wanted {
            below,
            max_bytes: max_bytes as u64,
            minimum,
        };
        self.attempt(from, |list| self.collect(list, from, &wanted))
    }

    /// Runs `read` on the current list, as long as `from` is in the log.
    pub(crate) fn attempt<T>(
        &self,
        from: Offset,
        mut read: impl FnMut(&SegmentList) -> Result<T, Stop>,
    ) -> Result<T, ReadError> {
        for _ in 0..MAX_ATTEMPTS {
            self.check_range(from)?;
            match read(&self.log.segments.load()) {
                Ok(done) => return Ok(done),
                Err(Stop::Again) => {}
                Err(Stop::Error(error)) => {
                    // What went while it was read is not damaged.
                    self.check_range(from)?;
                    if let ReadError::Damaged(damage) = &error {
                        self.log.note_damage(*damage);
                    }
                    return Err(error);
                }
            }
        }
        Err(ReadError::Io {
            segment: from,
            source: io::ErrorKind::ResourceBusy.into(),
        })
    }

    fn check_range(&self, from: Offset) -> Result<(), ReadError> {
        let log_start = self.log_start();
        if from < log_start {
            return Err(ReadError::BelowStart { log_start });
        }
        let log_end = self.log_end();
        if from > log_end {
            return Err(ReadError::AboveEnd { log_end });
        }
        Ok(())
    }

    fn collect(&self, list: &SegmentList, from: Offset, wanted: &Wanted) -> Result<Slices, Stop> {
        let mut slices = Slices {
            next: from,
            ..Slices::default()
        };
        let mut below = wanted.below.min(self.log_end());
        if from >= below {
            return Ok(slices);
        }
        if let Some(damage) = self.log.damage_in(from, below) {
            if damage.from <= from {
                return Err(damage.into());
            }
            below = damage.from;
        }
        let first = list.find(from).ok_or(Stop::Again)?;
        for (at, segment) in list.all().iter().enumerate().skip(first) {
            let left = wanted.max_bytes.saturating_sub(slices.bytes as u64);
            let must = wanted.minimum == Minimum::OneBatch && slices.chunks.is_empty();
            if segment.base > slices.next {
                // Between two segments nothing may be missing.
                return finish(slices, || gap(list, at, segment).into());
            }
            if slices.next >= below || left == 0 && !must {
                break;
            }
            let limits = Limits {
                below,
                max_bytes: left,
                must,
            };
            let taken = match self.take(segment, slices.next, &limits) {
                Ok(taken) => taken,
                Err(stop) => return finish(slices, || stop),
            };
            let full = taken.full;
            if let Some(chunk) = taken.chunk {
                slices.bytes += chunk.len();
                slices.chunks.push(chunk);
            }
            slices.next = slices.next.max(taken.next);
            if full {
                break;
            }
        }
        // Compaction may have left nothing at all up to the limit: then reading goes on there.
        Ok(slices)
    }

    /// Takes batches from one segment.
    fn take(&self, segment: &Arc<Segment>, from: Offset, limits: &Limits) -> Result<Taken, Stop> {
        let mut cursor = self.cursor(segment)?;
        cursor.expect(limits.max_bytes);
        if !cursor.seek(from)? {
            return Ok(Taken {
                chunk: None,
                next: if segment.is_sealed() {
                    segment.end()
                } else {
                    from
                },
                full: !segment.is_sealed(),
            });
        }
        let start = cursor.position();
        let mut taken = Taken {
            chunk: None,
            next: from,
            full: false,
        };
        let mut end = start;
        loop {
            cursor.skip_whole(start, limits, &mut end, &mut taken.next);
            let batch = match cursor.batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    if segment.is_sealed() {
                        taken.next = taken.next.max(segment.end());
                    }
                    break;
                }
                Err(_) if end > start => {
                    taken.full = true;
                    break;
                }
                Err(fault) => return Err(fault.into()),
            };
            let after = cursor.position() + u64::from(batch.batch_bytes);
            let fits = after - start <= limits.max_bytes || limits.must && end == start;
            if batch.end() > limits.below || !fits {
                taken.full = true;
                break;
            }
            cursor.pass(&batch);
            end = after;
            taken.next = batch.end();
        }
        let (chunk, cut) = cursor.share(start, end)?;
        taken.chunk = chunk;
        if let Some(cut) = cut {
            (taken.next, taken.full) = (cut, true);
        }
        Ok(taken)
    }

    pub(crate) fn cursor(&self, segment: &Arc<Segment>) -> Result<Cursor, Stop> {
        let interval = self.config().index_interval_bytes;
        match segment.resident(&self.log.host, &self.log.dir, interval) {
            Ok(resident) => Ok(Cursor::new(
                Arc::clone(segment),
                resident,
                self.log.epochs.load_full(),
            )),
            Err(Unavailable::Retired) => Err(Stop::Again),
            Err(Unavailable::Missing) => Err(missing(segment).into()),
            Err(Unavailable::Io(source)) => Err(Stop::Error(ReadError::Io {
                segment: segment.base,
                source,
            })),
        }
    }

    pub(crate) fn config(&self) -> Arc<LogConfig> {
        self.log.config.load_full()
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.log.identity
    }

    /// The oldest offset that can be read.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log.log_start()
    }

    /// The next offset to be written.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log.log_end()
    }

    /// End of what is durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }

    /// Bytes of batches in the log.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.segments.load().bytes()
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentView> {
        let list = self.log.segments.load();
        let view = |segment: &Arc<Segment>| {
            let Extent {
                base,
                end,
                bytes,
                max_timestamp,
            } = segment.extent();
            SegmentView {
                base,
                end,
                bytes,
                max_timestamp,
                sealed: segment.is_sealed(),
            }
        };
        list.all().iter().map(view).collect()
    }

    /// The epoch vector.
    #[must_use]
    pub fn epochs(&self) -> Arc<EpochVector> {
        self.log.epochs.load_full()
    }

    /// The leader epoch of the batch at `offset`; `None` outside the log.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let inside = self.log_start() <= offset && offset < self.log_end();
        inside
            .then(|| self.log.epochs.load().epoch_at(offset))
            .flatten()
    }

    /// Damaged ranges met so far, by recovery, reads and compaction.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.log.damage()
    }

    /// Somebody else found damage: it is not served from now on.
    pub fn report(&self, damage: Damage) {
        self.log.note_damage(damage);
    }

    /// What poisoned the log, if anything has.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.log.poison.get()
    }

    /// Whether a compaction is under way, or done and not installed.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.log.compacting.load(Ordering::Acquire)
    }

    /// Whether the log has a directory yet: it gets one with its first batch.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.log.has_dir.load(Ordering::Acquire)
    }
}

struct Wanted {
    below: Offset,
    max_bytes: u64,
    minimum: Minimum,
}

/// How much of a segment to take.
pub(crate) struct Limits {
    pub(crate) below: Offset,
    pub(crate) max_bytes: u64,
    /// The first batch counts whatever its size.
    pub(crate) must: bool,
}

struct Taken {
    chunk: Option<Bytes>,
    next: Offset,
    /// A limit was met: the next segment is not to be looked at.
    full: bool,
}

/// What was read before a problem is worth more than the problem.
fn finish(slices: Slices, problem: impl FnOnce() -> Stop) -> Result<Slices, Stop> {
    if slices.chunks.is_empty() {
        Err(problem())
    } else {
        Ok(slices)
    }
}

fn missing(segment: &Segment) -> Damage {
    Damage {
        segment: segment.base,
        position: 0,
        from: segment.base,
        until: segment.end(),
        kind: crate::damage::DamageKind::Missing,
    }
}

fn gap(list: &SegmentList, at: usize, after: &Segment) -> Damage {
    let before = at.checked_sub(1).and_then(|at| list.all().get(at));
    let end = before.map_or(Offset::ZERO, |segment| segment.end());
    Damage {
        segment: end,
        position: 0,
        from: end,
        until: after.base,
        kind: crate::damage::DamageKind::Missing,
    }
}

/// The header at the front of `bytes`, which were verified.
pub(crate) fn header(bytes: &[u8]) -> Option<BatchHeader> {
    BatchHeader::decode(bytes.get(..HEADER_BYTES)?).ok()
}
