//! The file of a segment: a front, and the batches behind it.
//!
//! ```text
//!    0  ident: "PLIMSEGM"   8 version u32   12 CRC-32 of 0..12; again at 2048 and 3072
//!  512  a note of the durable end (see `noted`)
//! 1024  another: they are written in turns
//! 4096  batches
//! ```
//! The front is there for the notes. Written where the batches are, they become durable by the sync
//! that makes the next batches durable, for one more page and no more flushes; at a fixed place that
//! no batch is ever written over, and in a block of their own, so that a torn note harms no batch.
//! Two, so that one is always whole.
//!
//! Positions that anybody else speaks of are those behind the front. Files of builds that knew no
//! front have none: their batches begin at byte 0, and they get no notes. Not here: what is noted
//! when.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use plimsoll_record_batch::{BatchHeader, HEADER_BYTES};

use crate::disk::{Disk, DiskFile, OpenFile, read_full_at, write_all_at};
use crate::map::SegmentMap;
use crate::noted::{NOTE_BYTES, Noted};

/// Bytes of a segment's file before its first batch.
pub const FRONT_BYTES: u64 = 4096;

const FRONT: usize = 4096;
const VERSION: u32 = 1;
const IDENT_BYTES: usize = 16;
const IDENTS: [usize; 3] = [0, 2048, 3072];
const NOTES: [usize; 2] = [512, 1024];

/// An open segment file. As a [`DiskFile`] it begins with the first batch.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: Box<dyn DiskFile>,
    front_bytes: u64,
    marked: bool,
}

fn ident() -> [u8; IDENT_BYTES] {
    let mut bytes = [0; IDENT_BYTES];
    let (checked, crc) = bytes.split_at_mut(12);
    checked[..8].copy_from_slice(b"PLIMSEGM");
    checked[8..].copy_from_slice(&VERSION.to_be_bytes());
    crc.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
    bytes
}

fn put(front: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = front.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

impl SegmentFile {
    /// Makes the file; [`SegmentFile::begin`] comes before its first batch.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, how: OpenFile) -> io::Result<Self> {
        Ok(Self {
            file: disk.open(path, how)?,
            front_bytes: FRONT_BYTES,
            marked: true,
        })
    }

    /// Writes the front, with the notes that it has.
    pub(crate) fn begin(&self) -> io::Result<()> {
        let mut front = vec![0; FRONT];
        IDENTS.iter().for_each(|at| put(&mut front, *at, &ident()));
        for (at, noted) in NOTES.iter().zip(self.notes()) {
            if let Some(noted) = noted {
                put(&mut front, *at, &noted.encode());
            }
        }
        write_all_at(&*self.file, &front, 0)
    }

    /// Opens one that is there.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, how: OpenFile) -> io::Result<Self> {
        let file = disk.open(path, how)?;
        let mut front = vec![0; FRONT + HEADER_BYTES];
        let (front_bytes, marked) = match read_full_at(&*file, &mut front, 0) {
            Ok(read) => look(front.get(..read).unwrap_or_default()),
            // Whoever reads batches finds out.
            Err(_) => (FRONT_BYTES, false),
        };
        Ok(Self {
            file,
            front_bytes,
            marked,
        })
    }

    /// Whether it has a front that says so, and takes notes.
    pub(crate) fn takes_notes(&self) -> bool {
        self.marked
    }

    /// The notes in its front that can be believed.
    pub(crate) fn notes(&self) -> [Option<Noted>; 2] {
        if self.front_bytes == 0 {
            return [None; 2];
        }
        NOTES.map(|at| {
            let mut bytes = [0; NOTE_BYTES];
            let read = read_full_at(&*self.file, &mut bytes, at as u64);
            read.ok().and_then(|_| Noted::decode(&bytes))
        })
    }

    /// Which note may be written over: the one that says less.
    pub(crate) fn free_note(&self) -> usize {
        let rank = |noted: Option<Noted>| noted.map(|noted| noted.rank());
        let [first, second] = self.notes().map(rank);
        usize::from(second < first)
    }

    /// Writes note `number` over.
    pub(crate) fn note(&self, number: usize, noted: &Noted) -> io::Result<()> {
        let at = if number.is_multiple_of(2) {
            NOTES[0]
        } else {
            NOTES[1]
        };
        write_all_at(&*self.file, &noted.encode(), at as u64)
    }
}

/// How long the front of a file is that begins with `bytes`, and whether it says so.
fn look(bytes: &[u8]) -> (u64, bool) {
    let ident = ident();
    // One would do; a flipped bit must not move every batch of the file.
    let has_ident = |at: &usize| bytes.get(*at..at + IDENT_BYTES) == Some(&ident);
    let has_note = |at: &usize| bytes.get(*at..).and_then(Noted::decode).is_some();
    if IDENTS.iter().any(has_ident) || NOTES.iter().any(has_note) {
        return (FRONT_BYTES, true);
    }
    // A crash or the disk took it: zeros, and a batch where the first one would be.
    let front = bytes.get(..FRONT).unwrap_or_default();
    let first = bytes.get(FRONT..).unwrap_or_default();
    let lost = !front.is_empty() && front.iter().all(|byte| *byte == 0);
    let lost = lost && BatchHeader::decode(first).is_ok();
    (if lost { FRONT_BYTES } else { 0 }, false)
}

impl DiskFile for SegmentFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.file.write_at(parts, self.front_bytes + at)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, self.front_bytes + at)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let from = match from {
            0 => 0,
            from => self.front_bytes + from,
        };
        self.file.allocate(from, self.front_bytes + to)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(self.front_bytes + bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.bytes()?.saturating_sub(self.front_bytes))
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        let map = self.file.map(self.front_bytes + bytes, frontier)?;
        Ok(map.behind(self.front_bytes))
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_types::Offset;

    use super::*;
    use crate::disk::RealDisk;

    fn noted(end: u64) -> Noted {
        Noted {
            generation: 0,
            durable_end: Offset::new(end),
            place: None,
        }
    }

    fn fresh(path: &Path) -> SegmentFile {
        let file = SegmentFile::create(&RealDisk, path, OpenFile::CreateNew).unwrap();
        file.allocate(0, 8192).unwrap();
        file.begin().unwrap();
        file.note(0, &noted(7)).unwrap();
        file
    }

    #[test]
    fn positions_begin_behind_the_front() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = fresh(&path);
        write_all_at(&file, b"batch", 0).unwrap();
        assert_eq!(file.bytes().unwrap(), 8192);
        file.set_bytes(5).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[FRONT..], *b"batch");
        let again = SegmentFile::open(&RealDisk, &path, OpenFile::Read).unwrap();
        let mut bytes = [0; 9];
        assert_eq!(read_full_at(&again, &mut bytes, 0).unwrap(), 5);
        assert_eq!(&bytes[..5], b"batch");
        let map = again.map(5, Arc::new(AtomicU64::new(4))).unwrap();
        assert_eq!(map.mapped_bytes(), 5);
        assert_eq!(map.get(1..4), Some(&b"atc"[..]));
        assert_eq!(map.get(1..5), None);
    }

    #[test]
    fn a_note_is_never_written_over_the_one_that_says_most() {
        let dir = tempfile::tempdir().unwrap();
        let file = fresh(&dir.path().join("segment"));
        file.begin().unwrap();
        assert_eq!(file.notes(), [Some(noted(7)), None]);
        for end in [8, 9, 10] {
            let free = file.free_note();
            file.note(free, &noted(end)).unwrap();
            let ends = file.notes().map(|noted| noted.unwrap().durable_end.get());
            assert!(ends.contains(&end) && ends.contains(&(end - 1)), "{ends:?}");
        }
    }

    #[test]
    fn no_flipped_bit_takes_the_front_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        drop(fresh(&path));
        let whole = std::fs::read(&path).unwrap();
        for at in IDENTS.iter().flat_map(|at| *at..at + IDENT_BYTES) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(look(&flipped), (FRONT_BYTES, true), "byte {at}");
        }
    }

    #[test]
    fn files_of_before_have_no_front() {
        assert_eq!(look(&[]), (0, false));
        assert_eq!(look(&[0; FRONT + HEADER_BYTES]), (0, false));
        let mut batch = vec![0; FRONT + HEADER_BYTES];
        batch[16] = 2;
        assert_eq!(look(&batch), (0, false));
    }
}
