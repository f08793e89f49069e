//! Appending: reserve, write, commit.
//!
//! *Reserve* finds room for every batch, in the tail or in new segments, with blocks behind it: a
//! full disk is met here, and leaves the log as it was. *Write* puts each segment's batches in one
//! vectored write. *Commit* cannot fail: indexes, producers, and the log end last.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchError, BatchHeader, STAMP_BYTES, stamped_prefix};
use plimsoll_types::{LeaderEpoch, Offset};

use super::{LogWriter, Tail};
use crate::damage::{FailedStep, Poisoned};
use crate::disk::{DiskFile, OpenFile};
use crate::epochs::EpochEntry;
use crate::index_builder::IndexBuilder;
use crate::segment::{Handle, Segment};

/// A batch to append: parsed and checked by the caller.
#[derive(Clone, Debug)]
pub struct ToAppend {
    /// Its header. Base offset and leader epoch do not matter to [`LogWriter::append`].
    pub header: BatchHeader,
    /// Its bytes, exactly.
    pub bytes: Bytes,
}

/// Where batches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record of the first batch; each batch begins where the one before ends.
    pub first: Offset,
    /// The log end after the last.
    pub log_end: Offset,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A write or sync failed, now or before.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The disk is full. The log is as it was; appending may work again later.
    #[error("no space left to append to the log")]
    NoSpace {
        /// What the system said.
        source: io::Error,
    },
    /// The process is out of descriptors, maps or memory. The log is as it was.
    #[error("the process cannot open another file for the log")]
    Exhausted {
        /// What the system said.
        source: io::Error,
    },
    /// The epoch ended before; another leader writes.
    #[error("the log is in leader epoch {latest}, after {got}")]
    StaleEpoch {
        /// The log's epoch.
        latest: LeaderEpoch,
        /// The append's.
        got: LeaderEpoch,
    },
    /// A batch with an offset of its own does not continue the log.
    #[error("the log ends at offset {expected}, the batch begins at {got}")]
    NotContiguous {
        /// The log end where the batch would go.
        expected: Offset,
        /// The batch's base offset.
        got: Offset,
    },
    /// A batch with a leader epoch of its own has none.
    #[error("the batch at offset {base} has no leader epoch")]
    NoEpoch {
        /// Its base offset.
        base: Offset,
    },
    /// A batch is not whole, or not the one its header is of.
    #[error("batch {index} of the append is not whole")]
    Batch {
        /// Which of the append's batches.
        index: usize,
        /// What is wrong with it; `None` when header and bytes differ in length.
        source: Option<BatchError>,
    },
    /// The log would pass the greatest offset there can be.
    #[error("the log is full: there is no offset above {end}")]
    OffsetsExhausted {
        /// The log end.
        end: Offset,
    },
}

/// A batch with its place.
struct Placed<'a> {
    /// As it will be in the log.
    header: BatchHeader,
    stamp: [u8; STAMP_BYTES],
    /// What follows the stamp.
    rest: &'a [u8],
}

/// Batches that go into one segment.
struct Run {
    batches: Range<usize>,
    /// Where the first one goes.
    at: u64,
    bytes: u64,
    /// The base of the segment that begins with it; `None` for the tail.
    begins: Option<Offset>,
}

/// Where a run is written.
struct Reserved {
    file: Arc<Handle>,
    /// The segment, if it is a new one.
    fresh: Option<Arc<Segment>>,
    allocated: u64,
}

const STEP_BYTES: u64 = 16 << 10;
const MAX_STEP_BYTES: u64 = 32 << 20;
/// What Linux takes in one vectored write.
const IOV_MAX: usize = 1024;

impl LogWriter {
    /// Appends `batches` in leader epoch `epoch`: gives them their offsets, writes them, makes
    /// them readable. They are durable after a sync. Nothing to append is fine.
    ///
    /// # Errors
    /// See [`AppendError`]. On every one of them the published log is as it was.
    pub fn append(
        &mut self,
        epoch: LeaderEpoch,
        batches: &[ToAppend],
    ) -> Result<Appended, AppendError> {
        let first = self.log_end();
        let mut end = first;
        let mut placed = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            let records = u64::from(batch.header.last_offset_delta) + 1;
            let next = end.checked_add(records);
            let next = next.ok_or(AppendError::OffsetsExhausted { end })?;
            placed.push(Placed {
                header: BatchHeader {
                    base: end,
                    leader_epoch: Some(epoch),
                    ..batch.header
                },
                stamp: stamped_prefix(&batch.header, end, epoch),
                rest: rest_of(batch, index)?,
            });
            end = next;
        }
        self.assign_epoch(epoch)?;
        self.write(&placed)?;
        Ok(Appended {
            first,
            log_end: self.log_end(),
        })
    }

    /// Appends `batches` as they are: for followers. Each must begin where the log then ends and
    /// its checksum must hold; an epoch above the log's is taken over, durably, before its first
    /// batch.
    ///
    /// # Errors
    /// See [`AppendError`]. What came before an epoch that could not be begun is appended then;
    /// else the published log is as it was.
    pub fn append_as_is(&mut self, batches: &[ToAppend]) -> Result<Appended, AppendError> {
        let first = self.log_end();
        let placed = self.check_as_is(batches)?;
        // An epoch in the middle of the append begins in the middle: up to there goes first.
        let mut from = 0;
        for (at, batch) in placed.iter().enumerate() {
            let epoch = batch.header.leader_epoch;
            let latest = self.log.epochs.load().latest();
            if let Some(epoch) = epoch
                && latest.is_none_or(|latest| latest < epoch)
            {
                self.write(placed.get(from..at).unwrap_or_default())?;
                from = at;
                let start = batch.header.base;
                self.begin_epoch(EpochEntry { epoch, start })?;
            }
        }
        self.write(placed.get(from..).unwrap_or_default())?;
        Ok(Appended {
            first,
            log_end: self.log_end(),
        })
    }

    fn check_as_is<'a>(&self, batches: &'a [ToAppend]) -> Result<Vec<Placed<'a>>, AppendError> {
        let mut expected = self.log_end();
        let mut latest = self.log.epochs.load().latest();
        let mut placed = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            let parsed = Batch::parse(&batch.bytes).map_err(|source| AppendError::Batch {
                index,
                source: Some(source),
            })?;
            let header = *parsed.header();
            let epoch = header
                .leader_epoch
                .ok_or(AppendError::NoEpoch { base: header.base })?;
            if header.base != expected {
                let got = header.base;
                return Err(AppendError::NotContiguous { expected, got });
            }
            match latest {
                Some(latest) if latest > epoch => {
                    return Err(AppendError::StaleEpoch { latest, got: epoch });
                }
                _ => latest = Some(epoch),
            }
            let (stamp, rest) = batch.bytes.split_first_chunk().ok_or(AppendError::Batch {
                index,
                source: None,
            })?;
            if parsed.bytes().len() != batch.bytes.len() {
                return Err(AppendError::Batch {
                    index,
                    source: None,
                });
            }
            expected = header.end();
            placed.push(Placed {
                header,
                stamp: *stamp,
                rest,
            });
        }
        Ok(placed)
    }

    /// Reserves, writes, commits.
    fn write(&mut self, placed: &[Placed<'_>]) -> Result<(), AppendError> {
        self.log.poison.check()?;
        if placed.is_empty() {
            return Ok(());
        }
        self.ensure_dir().map_err(|error| self.refused(error))?;
        self.settle_epochs()?;
        let runs = self.plan(placed);
        let reserved = self.reserve(&runs)?;
        for (run, place) in runs.iter().zip(&reserved) {
            let batches = placed.get(run.batches.clone()).unwrap_or_default();
            let front = place.fresh.as_ref().map_or(Ok(()), |_| place.file.begin());
            if let Err(error) = front.and_then(|()| write_batches(&*place.file, batches, run.at)) {
                return Err(self.log.fail(FailedStep::Write, &error).into());
            }
        }
        for (run, place) in runs.iter().zip(reserved) {
            self.commit(
                placed.get(run.batches.clone()).unwrap_or_default(),
                run,
                place,
            );
        }
        let end = placed
            .last()
            .map_or(self.log_end(), |batch| batch.header.end());
        // Release: pairs with every acquire of the log end; all below is readable and in `dirty`.
        self.log.log_end.store(end.get(), Ordering::Release);
        self.changed = true;
        Ok(())
    }

    /// Which batches go into which segment.
    fn plan(&self, placed: &[Placed<'_>]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::with_capacity(1);
        let mut room = self.tail.as_ref().map(|tail| Room {
            base: tail.segment.base,
            bytes: tail.bytes,
            first_timestamp: tail.first_timestamp,
        });
        for (at, batch) in placed.iter().enumerate() {
            let bytes = u64::from(batch.header.batch_bytes);
            let fits = room
                .as_ref()
                .is_some_and(|room| room.fits(&batch.header, &self.config));
            let position = room.as_ref().filter(|_| fits).map_or(0, |room| room.bytes);
            match runs.last_mut() {
                Some(run) if fits => {
                    run.batches.end = at + 1;
                    run.bytes += bytes;
                }
                _ => runs.push(Run {
                    batches: at..at + 1,
                    at: position,
                    bytes,
                    begins: (!fits).then_some(batch.header.base),
                }),
            }
            let timestamp = batch.header.max_timestamp;
            room = Some(match room.filter(|_| fits) {
                Some(room) => Room {
                    bytes: position + bytes,
                    first_timestamp: room.first_timestamp.or(Some(timestamp)),
                    ..room
                },
                None => Room {
                    base: batch.header.base,
                    bytes,
                    first_timestamp: Some(timestamp),
                },
            });
        }
        runs
    }

    fn reserve(&mut self, runs: &[Run]) -> Result<Vec<Reserved>, AppendError> {
        self.shorten()?;
        let mut reserved = Vec::with_capacity(runs.len());
        for run in runs {
            match self.reserve_one(run) {
                Ok(place) => reserved.push(place),
                Err(error) => {
                    let taken_back = self.take_back(&reserved);
                    return Err(self.refused(taken_back.err().unwrap_or(error)));
                }
            }
        }
        Ok(reserved)
    }

    /// Takes away, durably, what a crash left behind the tail's batches.
    fn shorten(&mut self) -> Result<(), AppendError> {
        if self.shorten_before_append
            && let Some(tail) = &self.tail
        {
            let file = tail.segment.writable(&self.log.host, &self.log.dir);
            let file = file.map_err(|error| self.refused(error))?;
            if let Err(error) = file.set_bytes(tail.bytes).and_then(|()| file.sync()) {
                return Err(self.log.fail(FailedStep::Sync, &error).into());
            }
        }
        self.shorten_before_append = false;
        Ok(())
    }

    fn reserve_one(&mut self, run: &Run) -> io::Result<Reserved> {
        let (host, dir) = (&self.log.host, self.log.dir.as_path());
        let needed = run.at + run.bytes;
        let limit = u64::from(self.config.segment_bytes);
        let (file, fresh, allocated) = match (run.begins, &self.tail) {
            (None, Some(tail)) => (tail.segment.writable(host, dir)?, None, tail.allocated),
            (begins, _) => {
                let segment = Arc::new(Segment::empty(begins.unwrap_or(self.log.log_end())));
                let path = segment.name().path(dir);
                let file = Handle::create(host.disk(), &path, OpenFile::CreateNew)?;
                (segment.hold(host, file), Some(segment), 0)
            }
        };
        let allocated = if needed > allocated {
            let ahead = allocated + allocated.clamp(STEP_BYTES, MAX_STEP_BYTES);
            let to = ahead.min(limit).max(needed);
            if let Err(error) = file.allocate(allocated, to) {
                if let Some(segment) = &fresh {
                    host.disk().remove(&segment.name().path(dir))?;
                }
                return Err(error);
            }
            if let Some(tail) = self.tail.as_mut().filter(|_| fresh.is_none()) {
                tail.allocated = to;
            }
            to
        } else {
            allocated
        };
        Ok(Reserved {
            file,
            fresh,
            allocated,
        })
    }

    /// Removes the files that an append made before it met a full disk.
    fn take_back(&self, reserved: &[Reserved]) -> io::Result<()> {
        for made in reserved.iter().filter_map(|place| place.fresh.as_ref()) {
            self.log.disk().remove(&made.name().path(&self.log.dir))?;
        }
        Ok(())
    }

    fn commit(&mut self, placed: &[Placed<'_>], run: &Run, place: Reserved) {
        let mut tail = match (self.tail.take(), place.fresh) {
            (Some(tail), None) => tail,
            (old, fresh) => self.begin_segment(old, fresh, run),
        };
        tail.allocated = tail.allocated.max(place.allocated);
        let index = tail.segment.pinned();
        let mut position = run.at;
        let mut end = tail.segment.end();
        for batch in placed {
            let header = &batch.header;
            let timestamp = header.max_timestamp;
            let entry = tail
                .builder
                .batch(header.base, position, &batch.stamp, timestamp);
            if let (Some(entry), Some(crate::index::Index::Growing(index))) =
                (entry, index.as_deref())
            {
                index.push(entry);
            }
            tail.first_timestamp.get_or_insert(timestamp);
            self.producers.apply(header);
            position += u64::from(header.batch_bytes);
            end = header.end();
        }
        assert_eq!(
            position,
            run.at + run.bytes,
            "L7: all that is published was written"
        );
        tail.bytes = position;
        tail.segment
            .publish(position, end, tail.builder.max_timestamp());
        // Before the log end is published: a sync that sees the end must find the file here (L4).
        let mut dirty = self.log.dirty.lock();
        dirty.add(&place.file);
        dirty.dir |= run.begins.is_some();
        drop(dirty);
        self.bytes_since_checkpoint += run.bytes;
        self.tail = Some(tail);
    }

    /// Seals `old` and puts `fresh` behind it.
    fn begin_segment(&self, old: Option<Tail>, fresh: Option<Arc<Segment>>, run: &Run) -> Tail {
        let base = run.begins.unwrap_or(self.log.log_end());
        if let Some(mut old) = old {
            old.segment.seal(base, &mut old.builder);
        }
        let segment = fresh.unwrap_or_else(|| Arc::new(Segment::empty(base)));
        let list = self.log.segments.load().with(Arc::clone(&segment));
        self.log.segments.store(Arc::new(list));
        Tail {
            builder: IndexBuilder::new(base, self.config.index_interval_bytes),
            segment,
            bytes: 0,
            allocated: 0,
            first_timestamp: None,
        }
    }
}

/// What decides whether a batch still goes into a segment.
struct Room {
    base: Offset,
    bytes: u64,
    first_timestamp: Option<plimsoll_types::Timestamp>,
}

impl Room {
    fn fits(&self, header: &BatchHeader, config: &crate::config::LogConfig) -> bool {
        let bytes = self.bytes + u64::from(header.batch_bytes);
        let too_old = match (config.segment_age, self.first_timestamp) {
            (Some(age), Some(first)) => header.max_timestamp.since(first) > age,
            _ => false,
        };
        let far = header.end().since(self.base) > u64::from(u32::MAX);
        self.bytes == 0 && !far || bytes <= u64::from(config.segment_bytes) && !too_old && !far
    }
}

/// A batch's bytes after the stamp.
fn rest_of(batch: &ToAppend, index: usize) -> Result<&[u8], AppendError> {
    let whole = batch.bytes.len() as u64 == u64::from(batch.header.batch_bytes);
    let rest = batch.bytes.get(STAMP_BYTES..).filter(|_| whole);
    rest.ok_or(AppendError::Batch {
        index,
        source: None,
    })
}

/// All batches in one vectored write, or as many as it takes.
fn write_batches(file: &dyn DiskFile, batches: &[Placed<'_>], at: u64) -> io::Result<()> {
    let mut slices = Vec::with_capacity(batches.len() * 2);
    for batch in batches {
        slices.push(IoSlice::new(&batch.stamp));
        slices.push(IoSlice::new(batch.rest));
    }
    let mut left = slices.as_mut_slice();
    let mut position = at;
    while !left.is_empty() {
        let some = left.get(..IOV_MAX).unwrap_or(left);
        let written = file.write_at(some, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}
