//! Scanning from the recovery point to the end of the log.
//!
//! Segment by segment, batch by batch: each must check, begin where the one before ended, and
//! carry the leader epoch that the epoch vector has for its offset. Not here: sealed segments
//! below the recovery point, which nobody opens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plimsoll_record_batch::BatchHeader;
use plimsoll_types::{Offset, Timestamp};

use super::anew::Anew;
use super::files::Plan;
use super::resync::Search;
use super::{Recovery, SideFile, TornTail, lost};
use crate::config::LogConfig;
use crate::damage::DamageKind;
use crate::disk::{Disk, DiskFile, OpenFile};
use crate::epochs::EpochEntry;
use crate::epochs_file::Loaded;
use crate::host::LogHost;
use crate::index::Growing;
use crate::index_builder::IndexBuilder;
use crate::index_file;
use crate::layout::Name;
use crate::log::Dirty;
use crate::producers::ProducerStates;
use crate::scan::{Found, Look, Scan, Walked};
use crate::segment::{Extent, Handle, Segment};
use crate::writer::Tail;

/// The log from the recovery point's segment on.
pub(super) struct Scanned {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) tail: Option<Tail>,
    pub(super) end: Offset,
    pub(super) epochs: Loaded,
    pub(super) producers: ProducerStates,
    pub(super) dirty: Dirty,
    pub(super) shorten_before_append: bool,
    pub(super) scanned_bytes: u64,
}

/// What of the recovery point's segment lies below it, as a segment.
pub(super) fn below_recovery_point(plan: &Plan) -> Option<Arc<Segment>> {
    let checkpoint = &plan.checkpoint;
    let extent = Extent {
        base: checkpoint.tail_base,
        end: checkpoint.recovery_point,
        bytes: checkpoint.tail_bytes,
        max_timestamp: Timestamp::NONE,
    };
    (extent.bytes > 0).then(|| Arc::new(Segment::sealed(extent)))
}

/// Scans.
pub(super) fn scan(
    host: &LogHost,
    dir: &Path,
    config: &LogConfig,
    plan: &Plan,
    epochs: Loaded,
    producers: ProducerStates,
    report: &mut Recovery,
) -> io::Result<Scanned> {
    let mut scanner = Scanner {
        host,
        dir,
        config,
        plan,
        report,
        out: Scanned {
            segments: Vec::new(),
            tail: None,
            end: plan.checkpoint.recovery_point,
            epochs,
            producers,
            dirty: Dirty::default(),
            shorten_before_append: false,
            scanned_bytes: 0,
        },
    };
    scanner.run()?;
    // Nothing was ever synced, perhaps not even the directory's own name.
    scanner.out.dirty.parent |= plan.durable_end == Offset::ZERO;
    Ok(scanner.out)
}

struct Scanner<'a> {
    host: &'a LogHost,
    dir: &'a Path,
    config: &'a LogConfig,
    plan: &'a Plan,
    report: &'a mut Recovery,
    out: Scanned,
}

/// One file, scanned to where its part of the log ends.
struct Part {
    base: Offset,
    /// End of the last batch that is in the log.
    bytes: u64,
    file_bytes: u64,
    growing: Growing,
    builder: IndexBuilder,
    believed: usize,
    first_timestamp: Option<Timestamp>,
    /// Something behind `bytes` is neither a batch of this log nor zeros.
    torn: bool,
    /// The durable end can be noted in it.
    takes_notes: bool,
    /// What was written once more, if anything was: the first sync includes it.
    written: Option<Handle>,
}

impl Scanner<'_> {
    fn disk(&self) -> &dyn Disk {
        self.host.disk()
    }

    fn run(&mut self) -> io::Result<()> {
        let checkpoint = &self.plan.checkpoint;
        let tail_is_there = self.plan.scan.first() == Some(&checkpoint.tail_base);
        if checkpoint.tail_bytes > 0 && !tail_is_there {
            let next = self.plan.scan.first().copied();
            let until = next.unwrap_or(self.plan.durable_end);
            self.lose(checkpoint.tail_base, until, DamageKind::Missing);
        }
        let mut bases = self.plan.scan.iter().copied().peekable();
        while let Some(base) = bases.next() {
            let next = bases.peek().copied();
            if base > self.out.end {
                if self.out.end >= self.plan.durable_end {
                    // What came before it was never durable, so neither was this.
                    self.cut(0);
                    return Ok(());
                }
                self.lose(self.out.end, base, DamageKind::Missing);
            }
            let part = self.scan_file(base, next)?;
            let goes_on = next.is_some_and(|next| next <= self.out.end);
            let broken = self.out.end < self.plan.durable_end && !goes_on;
            if broken && part.bytes == 0 {
                // Nothing of it is left: what is reported lost has its place.
            } else if goes_on || broken {
                self.seal(part)?;
            } else {
                // Beyond the durable end: whatever comes after a break was torn off with it.
                if part.torn || next.is_some() {
                    self.cut(part.file_bytes.saturating_sub(part.bytes));
                }
                self.open_tail(part)?;
                return Ok(());
            }
            if broken {
                let until = next.unwrap_or(self.plan.durable_end);
                let until = until.max(self.out.end);
                self.lose(self.out.end, until, DamageKind::Batch);
            }
        }
        if self.out.end < self.plan.durable_end {
            self.lose(self.out.end, self.plan.durable_end, DamageKind::Missing);
        }
        Ok(())
    }

    /// Reports offsets that were promised and are gone, and keeps their place in the log.
    fn lose(&mut self, from: Offset, until: Offset, kind: DamageKind) {
        if until <= from {
            return;
        }
        self.report.damage.push(lost(from, 0, from, until, kind));
        // A segment without a file: reading it is met with damage, not with silence.
        let extent = Extent {
            base: from,
            end: until,
            bytes: 1,
            max_timestamp: Timestamp::NONE,
        };
        self.out.segments.push(Arc::new(Segment::sealed(extent)));
        self.out.end = until;
    }

    fn cut(&mut self, bytes: u64) {
        let at = self.out.end;
        self.report.cut = Some(TornTail { at, bytes });
    }

    /// Scans the file of segment `base`, whose part of the log ends at the latest where `next`
    /// begins.
    fn scan_file(&mut self, base: Offset, next: Option<Offset>) -> io::Result<Part> {
        let path = Name::Segment(base).path(self.dir);
        let file = Handle::open(self.disk(), &path, OpenFile::Read)?;
        let mut part = self.believed(base, file.bytes()?)?;
        part.takes_notes = file.takes_notes();
        self.walk_known(&mut part, &file)?;
        let position = part.bytes;
        let mut scan = Scan::new(&file, Look::Checksums, position, u64::MAX)?;
        let mut anew = Anew::new(path);
        loop {
            let found = scan.next()?;
            if let Found::Batch(batch) = &found
                && let Ok(()) = self.continues(batch, next)
            {
                if batch.header.end() > self.plan.durable_end {
                    anew.write(self.disk(), batch.position, scan.passed(batch)?)?;
                }
                self.take(&mut part, batch);
                continue;
            }
            if next.is_some_and(|next| next <= self.out.end) {
                break;
            }
            let Some(kind) = self.break_kind(&found) else {
                part.torn = !matches!(found, Found::End);
                break;
            };
            if !self.resume(&mut part, &mut scan, &file, next, kind)? {
                break;
            }
        }
        part.written = anew.finish(self.disk())?;
        self.out.scanned_bytes += scan.scanned_bytes;
        Ok(part)
    }

    /// What kind of damage `found` is; `None` if it is where a log may end.
    fn break_kind(&self, found: &Found) -> Option<DamageKind> {
        if self.out.end >= self.plan.durable_end {
            return None;
        }
        Some(match found {
            Found::Batch(_) => DamageKind::Stamp,
            Found::End => DamageKind::Short,
            Found::Bad(kind) => *kind,
        })
    }

    /// Goes on behind damage, if that is possible in this file.
    fn resume(
        &mut self,
        part: &mut Part,
        scan: &mut Scan<'_>,
        file: &Handle,
        next: Option<Offset>,
        kind: DamageKind,
    ) -> io::Result<bool> {
        let durable_end = self.plan.durable_end;
        let search = Search {
            file,
            position: part.bytes,
            expected: self.out.end,
            durable_end: next.map_or(durable_end, |next| next.min(durable_end)),
            epochs: self.out.epochs.intact.then_some(&self.out.epochs.vector),
        };
        let mut resumed = search.run()?.map(|found| (found.position, found.offset));
        if resumed.is_none()
            && let Some(place) = self.plan.durable_place
            && place.segment == part.base
            && place.position > part.bytes
            && place.position <= part.file_bytes
        {
            // Everything up to the durable end is broken; behind it there may be more.
            resumed = Some((place.position, durable_end));
        }
        let Some((position, offset)) = resumed else {
            return Ok(false);
        };
        let from = self.out.end;
        self.report
            .damage
            .push(lost(part.base, part.bytes, from, offset, kind));
        part.builder.spoil();
        part.bytes = position;
        self.out.end = offset;
        scan.seek(position);
        Ok(true)
    }

    /// Whether `batch` continues the log.
    fn continues(&self, batch: &Walked, next: Option<Offset>) -> Result<(), DamageKind> {
        let header = &batch.header;
        let epoch_fits = self.epoch_fits(header);
        let in_segment = next.is_none_or(|next| header.end() <= next);
        if header.base == self.out.end && epoch_fits && in_segment {
            Ok(())
        } else {
            Err(DamageKind::Stamp)
        }
    }

    fn epoch_fits(&self, header: &BatchHeader) -> bool {
        let epochs = &self.out.epochs;
        if epochs.vector.epoch_at(header.base) == header.leader_epoch {
            return header.leader_epoch.is_some();
        }
        // A file that lost its end does not know of later epochs.
        !epochs.intact && header.leader_epoch > epochs.vector.latest()
    }

    fn take(&mut self, part: &mut Part, batch: &Walked) {
        let header = &batch.header;
        if let Some(entry) = part.builder.walked(batch) {
            part.growing.push(entry);
        }
        part.first_timestamp.get_or_insert(header.max_timestamp);
        part.bytes = batch.after();
        self.out.end = header.end();
        self.out.producers.apply(header);
        if let Some(epoch) = header.leader_epoch {
            let start = header.base;
            self.out.epochs.vector.try_push(EpochEntry { epoch, start });
        }
    }

    /// The front of the file as far as its index can be believed.
    fn believed(&mut self, base: Offset, file_bytes: u64) -> io::Result<Part> {
        let known = self.known_bytes(base).min(file_bytes);
        let path = Name::Index(base).path(self.dir);
        let entries = match self.disk().read(&path) {
            Ok(bytes) => index_file::believed(base, known, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let growing = Growing::from_entries(&entries);
        Ok(Part {
            base,
            bytes: 0,
            file_bytes,
            builder: IndexBuilder::after(base, self.config.index_interval_bytes, growing.last()),
            believed: entries.len(),
            growing,
            first_timestamp: None,
            torn: false,
            takes_notes: false,
            written: None,
        })
    }

    /// Bytes of segment `base` below the recovery point.
    fn known_bytes(&self, base: Offset) -> u64 {
        let checkpoint = &self.plan.checkpoint;
        if base == checkpoint.tail_base {
            checkpoint.tail_bytes
        } else {
            0
        }
    }

    /// Indexes what lies between the last believed entry and the recovery point, by headers.
    fn walk_known(&mut self, part: &mut Part, file: &Handle) -> io::Result<()> {
        let known = self.known_bytes(part.base);
        if known == 0 {
            return Ok(());
        }
        let mut front = Scan::new(file, Look::Headers, 0, known)?;
        if let Found::Batch(first) = front.next()? {
            part.first_timestamp = Some(first.header.max_timestamp);
        }
        let mut scan = Scan::new(file, Look::Headers, part.builder.interval_at(), known)?;
        let last = part.growing.last();
        let mut expected = part.base + last.map_or(0, |last| u64::from(last.relative));
        while let Found::Batch(batch) = scan.next()? {
            let header = BatchHeader {
                base: expected,
                ..batch.header
            };
            let walked = Walked { header, ..batch };
            if let Some(entry) = part.builder.walked(&walked) {
                part.growing.push(entry);
            }
            // The index must not vouch for stamps that are not what they were.
            let told = batch.header.base == expected && self.epoch_fits(&batch.header);
            if !told {
                part.builder.spoil();
            }
            expected = header.end();
        }
        if scan.position() < known {
            // Whoever reads there finds out what it is; behind the recovery point it goes on.
            self.report.rebuilt.push(SideFile::Index);
            part.builder.spoil();
        }
        part.bytes = known;
        Ok(())
    }

    /// Makes `part` a segment that is complete.
    fn seal(&mut self, mut part: Part) -> io::Result<()> {
        let end = self.out.end;
        if part.bytes > part.file_bytes {
            part.builder.spoil();
        }
        self.mark_dirty(&mut part)?;
        let extent = part.extent(end);
        let segment = Segment::unsealed(extent, part.growing, part.believed);
        segment.seal(end, &mut part.builder);
        // What is behind the end is evidence, or of a log that was cut.
        segment.keep_length();
        self.out.segments.push(Arc::new(segment));
        Ok(())
    }

    /// Makes `part` the segment that is written on, without what is behind it in the file.
    fn open_tail(&mut self, mut part: Part) -> io::Result<()> {
        let end = self.out.end;
        if part.file_bytes > part.bytes {
            if part.torn {
                let path = Name::Segment(part.base).path(self.dir);
                Handle::open(self.disk(), &path, OpenFile::Write)?.set_bytes(part.bytes)?;
            }
            // Zeros stay until the log is written again: a start should not wait for the disk.
            self.out.shorten_before_append = part.takes_notes;
        }
        if !part.takes_notes {
            // Written by a build that knew no front, or never synced: the next append begins
            // another. One that holds nothing would keep its name from that.
            return if part.bytes > 0 {
                self.seal(part)
            } else {
                Ok(())
            };
        }
        self.mark_dirty(&mut part)?;
        // What is there now is verified once, apart from what comes.
        part.builder.force();
        let segment = Arc::new(Segment::unsealed(
            part.extent(end),
            part.growing,
            part.believed,
        ));
        self.out.segments.push(Arc::clone(&segment));
        self.out.tail = Some(Tail {
            segment,
            builder: part.builder,
            bytes: part.bytes,
            allocated: part.bytes,
            first_timestamp: part.first_timestamp,
        });
        Ok(())
    }

    /// Has the first sync include `part`, which the log reaches the end of, if that is above the
    /// durable end.
    fn mark_dirty(&mut self, part: &mut Part) -> io::Result<()> {
        if self.out.end > self.plan.durable_end {
            let file = match part.written.take() {
                Some(file) => file,
                None => {
                    let path = Name::Segment(part.base).path(self.dir);
                    Handle::open(self.disk(), &path, OpenFile::Write)?
                }
            };
            if file.takes_notes() {
                // As the batches were: a sync that failed may have dropped it.
                file.begin()?;
            }
            self.out.dirty.add(&Arc::new(file));
            self.out.dirty.dir = true;
            self.out.dirty.parent = true;
        }
        Ok(())
    }
}

impl Part {
    fn extent(&self, end: Offset) -> Extent {
        Extent {
            base: self.base,
            end,
            bytes: self.bytes,
            max_timestamp: self.builder.max_timestamp(),
        }
    }
}
