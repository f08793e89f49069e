//! A segment's index: which batch begins where, and how late it got until there.
//!
//! One index answers both questions, offset and time. Its entries cut the segment into *intervals*
//! of at least `index_interval_bytes`, each a whole number of batches; interval 0 begins at
//! position 0 without an entry. An interval is also the unit in which bytes are verified, and an
//! entry carries the checksum of the stamps (base offset, length, leader epoch) of the interval
//! before it, which the batches' own checksums leave out. Not here: files.
//!
//! Always holds: entries rise in position and offset; an entry is never changed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use plimsoll_types::Timestamp;

/// A batch that begins an interval; the end of a sealed segment has one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its base offset, less the segment's. For the end of a segment: the log's offset there.
    pub(crate) relative: u32,
    /// Where it begins.
    pub(crate) position: u32,
    /// The greatest timestamp of all batches before it in the segment.
    pub(crate) max_before: Timestamp,
    /// CRC-32 of the 16-byte stamps of the interval before it.
    pub(crate) stamps: u32,
}

/// The front of a segment, as if it had an entry.
const FRONT: Entry = Entry {
    relative: 0,
    position: 0,
    max_before: Timestamp::NONE,
    stamps: 0,
};

/// The entries of one segment.
#[derive(Debug)]
pub(crate) enum Index {
    /// Of a segment that was written in this uptime: grows, one writer, any number of readers.
    Growing(Growing),
    /// Of a sealed segment, as it was read from its file.
    Fixed(Box<[Entry]>),
}

impl Index {
    /// Entries there are.
    pub(crate) fn entries(&self) -> usize {
        match self {
            Self::Growing(growing) => growing.entries(),
            Self::Fixed(entries) => entries.len(),
        }
    }

    /// Entry `at`.
    pub(crate) fn entry(&self, at: usize) -> Option<Entry> {
        match self {
            Self::Growing(growing) => growing.entry(at),
            Self::Fixed(entries) => entries.get(at).copied(),
        }
    }

    /// What begins interval `number`.
    pub(crate) fn start(&self, number: usize) -> Option<Entry> {
        match number.checked_sub(1) {
            None => Some(FRONT),
            Some(entry) => self.entry(entry),
        }
    }

    /// The last interval whose start satisfies `low`, which holds up to some interval and not
    /// after it. Interval 0 is taken to satisfy it.
    pub(crate) fn last_where(&self, low: impl Fn(&Entry) -> bool) -> usize {
        let (mut yes, mut no) = (0, self.entries() + 1);
        while no - yes > 1 {
            let middle = yes + (no - yes) / 2;
            match self.start(middle) {
                Some(entry) if low(&entry) => yes = middle,
                _ => no = middle,
            }
        }
        yes
    }
}

/// Entries in the first piece; each later piece has twice as many.
const FIRST_PIECE: usize = 8;
const PIECES: usize = 26;

type Words = [AtomicU64; 3];

/// Entries that one writer appends while others read, without a lock.
#[derive(Debug)]
pub(crate) struct Growing {
    /// How many entries can be read. Stored with release after the entry, read with acquire.
    entries: AtomicUsize,
    pieces: Box<[OnceLock<Box<[Words]>>; PIECES]>,
}

impl Growing {
    /// No entry yet.
    pub(crate) fn new() -> Self {
        Self {
            entries: AtomicUsize::new(0),
            pieces: Box::new([const { OnceLock::new() }; PIECES]),
        }
    }

    /// These entries to begin with.
    pub(crate) fn from_entries(entries: &[Entry]) -> Self {
        let growing = Self::new();
        for entry in entries {
            growing.push(*entry);
        }
        growing
    }

    /// Appends an entry; the log's writer alone does.
    pub(crate) fn push(&self, entry: Entry) {
        let at = self.entries.load(Ordering::Relaxed);
        let (piece, slot) = place(at);
        let Some(cell) = self.pieces.get(piece) else {
            // Some 500 million entries on: lookups walk a little further from here.
            return;
        };
        let words = cell.get_or_init(|| {
            (0..FIRST_PIECE << piece)
                .map(|_| Words::default())
                .collect()
        });
        let Some([place, time, stamps]) = words.get(slot) else {
            return;
        };
        let packed = u64::from(entry.relative) << 32 | u64::from(entry.position);
        place.store(packed, Ordering::Relaxed);
        time.store(
            entry.max_before.as_millis().cast_unsigned(),
            Ordering::Relaxed,
        );
        stamps.store(u64::from(entry.stamps), Ordering::Relaxed);
        self.entries.store(at + 1, Ordering::Release);
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<Entry> {
        self.entry(self.entries().checked_sub(1)?)
    }

    fn entries(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    fn entry(&self, at: usize) -> Option<Entry> {
        if at >= self.entries() {
            return None;
        }
        let (piece, slot) = place(at);
        let [place, time, stamps] = self.pieces.get(piece)?.get()?.get(slot)?;
        let place = place.load(Ordering::Relaxed);
        Some(Entry {
            relative: high(place),
            position: low(place),
            max_before: Timestamp::from_millis(time.load(Ordering::Relaxed).cast_signed()),
            stamps: low(stamps.load(Ordering::Relaxed)),
        })
    }
}

/// Piece and slot of entry `at`.
fn place(at: usize) -> (usize, usize) {
    let group = at / FIRST_PIECE + 1;
    let piece = group.ilog2() as usize;
    (piece, at - FIRST_PIECE * ((1 << piece) - 1))
}

fn high(word: u64) -> u32 {
    u32::try_from(word >> 32).expect("32 bits are left")
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).expect("32 bits are left")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32) -> Entry {
        Entry {
            relative: n * 2,
            position: n * 100,
            max_before: Timestamp::from_millis(i64::from(n) - 3),
            stamps: !n,
        }
    }

    #[test]
    fn growing_entries_come_back_across_pieces() {
        let entries: Vec<_> = (1..1000).map(entry).collect();
        let index = Index::Growing(Growing::from_entries(&entries));
        assert_eq!(index.entries(), 999);
        for (at, expected) in entries.iter().enumerate() {
            assert_eq!(index.entry(at), Some(*expected));
        }
        assert_eq!(index.entry(999), None);
    }

    #[test]
    fn pieces_and_slots_are_dense() {
        let mut expected = (0, 0);
        for at in 0..10_000 {
            assert_eq!(place(at), expected, "entry {at}");
            expected.1 += 1;
            if expected.1 == FIRST_PIECE << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn lookups_find_the_last_interval_at_or_below() {
        let entries: Box<[_]> = (1..100).map(entry).collect();
        let index = Index::Fixed(entries);
        for relative in 0..250 {
            let found = index.last_where(|e| e.relative <= relative);
            assert_eq!(found, (relative as usize / 2).min(99), "offset {relative}");
        }
    }

    #[test]
    fn an_empty_index_has_interval_zero() {
        let index = Index::Fixed(Box::default());
        assert_eq!(index.last_where(|_| true), 0);
        assert_eq!(index.start(0), Some(FRONT));
        assert_eq!(index.start(1), None);
    }
}
