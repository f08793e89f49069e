//! Writing cleaned copies of segments.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchBuilder, BatchHeader, Record};
use plimsoll_types::{Offset, Timestamp};

use super::keys::Keys;
use super::output::{Output, io_error, is_filler, temporary};
use super::{Compacted, Compaction, CompactionError, CompactionReport, Group};
use crate::cursor::Cursor;
use crate::log::Shared;
use crate::read::{LogReader, Stop};
use crate::segment::Segment;

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
    /// See [`CompactionError`]. What was written is taken away again; damage is remembered, and not
    /// served from then on.
    pub fn run(self) -> Result<Compacted, CompactionError> {
        let log = Arc::clone(&self.log);
        let done = self.clean();
        if let Err(CompactionError::Damaged(damage)) = &done
            && damage.until > log.log_start()
        {
            log.note_damage(*damage);
        }
        done
    }

    fn clean(self) -> Result<Compacted, CompactionError> {
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
            if is_filler(&header) {
                self.changed |= output.leave_out(&header)?;
                cursor.pass(&header);
                continue;
            }
            match self.fate(&batch)? {
                Fate::Same => output.push(batch.bytes(), &header)?,
                Fate::Gone => {
                    self.changed = true;
                    output.leave_out(&header)?;
                }
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
