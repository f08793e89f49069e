//! Writing cleaned copies of segments.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchBuilder, BatchHeader, Record, STAMP_BYTES};
use plimsoll_types::{Offset, Timestamp};

use super::keys::Keys;
use super::{Compacted, Compaction, CompactionError, CompactionReport, Group};
use crate::cursor::Cursor;
use crate::disk::{DiskFile, OpenFile, write_all_at};
use crate::index::Growing;
use crate::index_builder::IndexBuilder;
use crate::layout::{Name, TEMPORARY};
use crate::log::Shared;
use crate::read::{LogReader, Stop};
use crate::scan::{Found, Look, Scan};
use crate::segment::{Extent, Segment, Stage};

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

impl Compaction {
    /// Bytes of the segments that it will read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// Cleans. Blocks on the disk, for as long as reading and writing all of it takes; the log can
    /// be used meanwhile.
    ///
    /// # Errors
    /// See [`CompactionError`]. What was written is taken away again.
    pub fn run(self) -> Result<Compacted, CompactionError> {
        let (keys, cleaned_to) = self.map_keys()?;
        let mut work = Work {
            groups: Vec::new(),
            report: CompactionReport {
                cleaned_to,
                ..CompactionReport::default()
            },
        };
        if let Err(error) = self.clean_all(&keys, cleaned_to, &mut work) {
            discard(&self.log, &work.groups);
            return Err(error);
        }
        Ok(Compacted {
            _turn: self.turn,
            groups: work.groups,
            cleaned_to,
            report: work.report,
        })
    }

    fn reader(&self) -> LogReader {
        LogReader {
            log: Arc::clone(&self.log),
        }
    }

    fn cursor(&self, segment: &Arc<Segment>) -> Result<Cursor, CompactionError> {
        let mut cursor = self.reader().cursor(segment).map_err(stopped)?;
        cursor.rewind();
        Ok(cursor)
    }

    /// The latest offset of each key from where the log is dirty on, and how far the map reached.
    fn map_keys(&self) -> Result<(Keys, Offset), CompactionError> {
        let mut keys = Keys::new(self.config.map_bytes);
        let mut mapped_to = self.dirty_from;
        for segment in self.segments.iter().filter(|s| s.end() > self.dirty_from) {
            let mut cursor = self.cursor(segment)?;
            while let Some(batch) = cursor.whole()? {
                let header = *batch.header();
                if header.end() > self.dirty_from && !header.attributes.is_control() {
                    if !keys.fits(header.records as usize) {
                        return Ok((keys, header.base));
                    }
                    self.each_record(&batch, |record| {
                        if let Some(key) = record.key {
                            keys.note(key, record.offset);
                        }
                    })?;
                }
                cursor.pass(&header);
            }
            mapped_to = segment.end();
        }
        Ok((keys, mapped_to))
    }

    fn each_record(
        &self,
        batch: &Batch<'_>,
        mut each: impl FnMut(&Record<'_>),
    ) -> Result<(), CompactionError> {
        let base = batch.header().base;
        let unreadable = |source| CompactionError::Batch { base, source };
        let limits = self.log.config.load().decode;
        let records = batch.records(&limits).map_err(unreadable)?;
        for record in records.iter() {
            each(&record.map_err(unreadable)?);
        }
        Ok(())
    }

    /// Cleans segment by segment, several into one file as long as they surely fit.
    fn clean_all(
        &self,
        keys: &Keys,
        cleaned_to: Offset,
        work: &mut Work,
    ) -> Result<(), CompactionError> {
        let mut sources = self
            .segments
            .iter()
            .filter(|s| s.base < cleaned_to)
            .peekable();
        while let Some(first) = sources.next() {
            let mut output = Output::create(self, first.base).map_err(io_error(first.base))?;
            let mut cleaner = Cleaner::new(self, keys, cleaned_to);
            let mut replaced = vec![Arc::clone(first)];
            let mut copied = cleaner.copy(first, &mut output);
            while copied.is_ok()
                && let Some(next) = sources.next_if(|next| self.fits(&output, next))
            {
                cleaner.changed = true;
                replaced.push(Arc::clone(next));
                copied = cleaner.copy(next, &mut output);
            }
            let made = copied.and_then(|()| work.close(&cleaner, output, replaced));
            if made.is_err() {
                let _ignored = self.log.disk().remove(&temporary(&self.log, first.base));
                return made;
            }
        }
        Ok(())
    }

    fn fits(&self, output: &Output, next: &Segment) -> bool {
        let near = next.end().since(output.base) <= u64::from(u32::MAX);
        near && output.bytes() + next.bytes() <= self.segment_bytes
    }
}

/// What is done so far.
struct Work {
    groups: Vec<Group>,
    report: CompactionReport,
}

impl Work {
    /// Ends one output. It is dropped again if it changes nothing.
    fn close(
        &mut self,
        cleaner: &Cleaner<'_>,
        output: Output,
        replaced: Vec<Arc<Segment>>,
    ) -> Result<(), CompactionError> {
        let (log, base) = (&cleaner.compaction.log, output.base);
        let before: u64 = replaced.iter().map(|source| source.bytes()).sum();
        self.report.bytes_before += before;
        self.report.segments_before += replaced.len();
        self.report.segments_after += 1;
        self.report.superseded += cleaner.superseded;
        self.report.tombstones += cleaner.tombstones;
        if !cleaner.changed {
            self.report.bytes_after += before;
            return log
                .disk()
                .remove(&temporary(log, base))
                .map_err(io_error(base));
        }
        let end = replaced.last().map_or(base, |last| last.end());
        let output = output.finish(log, end)?;
        self.report.bytes_after += output.bytes();
        self.groups.push(Group { output, replaced });
        Ok(())
    }
}

/// The name of an output before its end is known.
fn temporary(log: &Shared, base: Offset) -> PathBuf {
    log.dir
        .join(format!("{:020}.cleaning{TEMPORARY}", base.get()))
}

/// Takes away cleaned segments that will not be installed. One that stays is removed when the log
/// is opened again.
pub(super) fn discard(log: &Shared, groups: &[Group]) {
    for group in groups {
        let _ignored = log.disk().remove(&group.output.name().path(&log.dir));
    }
}

fn stopped(stop: Stop) -> CompactionError {
    match stop {
        Stop::Again => CompactionError::Overtaken,
        Stop::Error(error) => error.into(),
    }
}

fn io_error(base: Offset) -> impl Fn(io::Error) -> CompactionError {
    move |source| CompactionError::Io { base, source }
}

/// Decides record by record.
struct Cleaner<'a> {
    compaction: &'a Compaction,
    keys: &'a Keys,
    cleaned_to: Offset,
    changed: bool,
    superseded: u64,
    tombstones: u64,
}

/// What a batch becomes.
enum Fate {
    Same,
    Gone,
    Rebuilt(Bytes),
}

impl<'a> Cleaner<'a> {
    fn new(compaction: &'a Compaction, keys: &'a Keys, cleaned_to: Offset) -> Self {
        Self {
            compaction,
            keys,
            cleaned_to,
            changed: false,
            superseded: 0,
            tombstones: 0,
        }
    }

    fn copy(&mut self, source: &Arc<Segment>, output: &mut Output) -> Result<(), CompactionError> {
        output
            .reserve(source.bytes())
            .map_err(io_error(output.base))?;
        let mut cursor = self.compaction.cursor(source)?;
        while let Some(batch) = cursor.whole()? {
            let header = *batch.header();
            match self.fate(&batch)? {
                Fate::Same => output.push(batch.bytes(), &header)?,
                Fate::Gone => self.changed = true,
                Fate::Rebuilt(bytes) => {
                    self.changed = true;
                    let rebuilt = BatchHeader::decode(&bytes);
                    let rebuilt = rebuilt.map_err(|source| CompactionError::Batch {
                        base: header.base,
                        source,
                    })?;
                    output.push(&bytes, &rebuilt)?;
                }
            }
            cursor.pass(&header);
        }
        Ok(())
    }

    fn fate(&mut self, batch: &Batch<'_>) -> Result<Fate, CompactionError> {
        let header = batch.header();
        // What the map does not reach may have later records; and markers are not ours to judge.
        if header.attributes.is_control() || header.end() > self.cleaned_to {
            return Ok(Fate::Same);
        }
        let horizon = header.delete_horizon();
        let drop_tombstones = horizon.is_some_and(|horizon| self.compaction.now >= horizon);
        let (mut kept, mut dropped, mut has_tombstone) = (0u32, 0u32, false);
        self.compaction.each_record(batch, |record| {
            if self.keeps(record, drop_tombstones) {
                kept += 1;
                has_tombstone |= record.value.is_none() && record.key.is_some();
            } else if self.is_superseded(record) {
                dropped += 1;
            }
        })?;
        self.superseded += u64::from(dropped);
        let all = kept == header.records;
        self.tombstones += u64::from(header.records.saturating_sub(kept).saturating_sub(dropped));
        let sets_horizon = has_tombstone && horizon.is_none();
        if kept == 0 && !self.is_last_of_producer(header) {
            return Ok(Fate::Gone);
        }
        if all && !sets_horizon {
            return Ok(Fate::Same);
        }
        let horizon = sets_horizon.then(|| self.horizon());
        self.rebuild(batch, horizon, drop_tombstones)
            .map(Fate::Rebuilt)
    }

    fn is_superseded(&self, record: &Record<'_>) -> bool {
        record
            .key
            .is_some_and(|key| self.keys.supersedes(key, record.offset))
    }

    fn keeps(&self, record: &Record<'_>, drop_tombstones: bool) -> bool {
        let is_tombstone = record.key.is_some() && record.value.is_none();
        !(self.is_superseded(record) || is_tombstone && drop_tombstones)
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = |producer| self.compaction.producers.get(&producer).copied();
        header.producer.and_then(|producer| last(producer.id)) == Some(header.last_offset())
    }

    /// From when on the tombstones of a batch that is cleaned now may go.
    fn horizon(&self) -> Timestamp {
        let retention = self.compaction.config.delete_retention.as_millis();
        let retention = i64::try_from(retention).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.compaction.now.as_millis().saturating_add(retention))
    }

    fn rebuild(
        &self,
        batch: &Batch<'_>,
        horizon: Option<Timestamp>,
        drop_tombstones: bool,
    ) -> Result<Bytes, CompactionError> {
        let base = batch.header().base;
        let mut builder = BatchBuilder::survivors_of(batch.header());
        if let Some(horizon) = horizon {
            builder = builder.delete_horizon(horizon);
        }
        let mut failed = None;
        self.compaction.each_record(batch, |record| {
            if self.keeps(record, drop_tombstones) && failed.is_none() {
                failed = builder.keep(record).err();
            }
        })?;
        let built = match failed {
            Some(error) => Err(error),
            None => builder.build(base),
        };
        built.map_err(|source| CompactionError::Build { base, source })
    }
}

/// A cleaned segment being written.
struct Output {
    base: Offset,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    written: u64,
    allocated: u64,
    builder: IndexBuilder,
    growing: Growing,
    batches: u64,
}

impl Output {
    fn create(compaction: &Compaction, base: Offset) -> io::Result<Self> {
        let log = &compaction.log;
        let file = log.disk().open(&temporary(log, base), OpenFile::Replace)?;
        let interval = log.config.load().index_interval_bytes;
        Ok(Self {
            base,
            file,
            buffer: Vec::new(),
            written: 0,
            allocated: 0,
            builder: IndexBuilder::new(base, interval),
            growing: Growing::new(),
            batches: 0,
        })
    }

    /// Bytes so far.
    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Makes sure of room for `more` bytes.
    fn reserve(&mut self, more: u64) -> io::Result<()> {
        let to = self.bytes() + more;
        if to > self.allocated {
            self.file.allocate(self.allocated, to)?;
            self.allocated = to;
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], header: &BatchHeader) -> Result<(), CompactionError> {
        let position = self.bytes();
        if let Some(stamp) = bytes.first_chunk::<STAMP_BYTES>() {
            let timestamp = header.max_timestamp;
            let entry = self.builder.batch(header.base, position, stamp, timestamp);
            entry.into_iter().for_each(|entry| self.growing.push(entry));
        }
        self.buffer.extend_from_slice(bytes);
        self.batches += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush().map_err(io_error(self.base))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(&*self.file, &self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable, reads it back, and makes it a segment that ends at `end`.
    fn finish(mut self, log: &Shared, end: Offset) -> Result<Arc<Segment>, CompactionError> {
        let made = self
            .flush()
            .and_then(|()| self.file.set_bytes(self.written));
        made.and_then(|()| self.file.sync())
            .map_err(io_error(self.base))?;
        self.read_back(end)?;
        let name = Name::Cleaned {
            base: self.base,
            end,
        };
        // No file can have that name: a plan waits until the last compaction's has its own.
        (log.disk()
            .rename(&temporary(log, self.base), &name.path(&log.dir)))
        .map_err(io_error(self.base))?;
        let extent = Extent {
            base: self.base,
            end,
            bytes: self.written,
            max_timestamp: self.builder.max_timestamp(),
        };
        let segment = Segment::unsealed(extent, self.growing, 0);
        segment.set_stage(Stage::Cleaned);
        segment.seal(end, &mut self.builder);
        segment.keep_length();
        Ok(Arc::new(segment))
    }

    fn read_back(&self, end: Offset) -> Result<(), CompactionError> {
        let unverified = CompactionError::Unverified { base: self.base };
        let scan = Scan::new(&*self.file, Look::Checksums, 0, self.written);
        let mut scan = scan.map_err(io_error(self.base))?;
        let (mut batches, mut expected) = (0, self.base);
        loop {
            match scan.next().map_err(io_error(self.base))? {
                Found::Batch(batch) if batch.header.base >= expected => {
                    batches += 1;
                    expected = batch.header.end();
                }
                Found::End if scan.position() == self.written => break,
                Found::Batch(_) | Found::End | Found::Bad(_) => return Err(unverified),
            }
        }
        if batches != self.batches || expected > end {
            return Err(unverified);
        }
        Ok(())
    }
}
