//! How far one replica has come.
//!
//! A cell outlives tenures: as long as a replica goes on without a cut, every tenure that tracks it
//! shares the one cell, so a position published late is never lost between two tenures. What ends a
//! replica's course (a truncation, a new leader epoch, leaving the replica set) gives it a new
//! cell; whoever still writes to the old one writes where nobody counts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use plimsoll_types::Offset;

use crate::sync::{AtomicU64, Line, Weakness, ordered};
use crate::tenure::Counts;

/// Where one replica's log ends, written and synced, as far as is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// End of what is written.
    pub log_end: Offset,
    /// End of what is synced; never above `log_end`.
    pub durable_end: Offset,
}

/// One replica's course without a cut: a handle to publish on, bound to what it was taken from.
///
/// A flusher takes it before it reads the log's end, a follower's session takes it when it
/// attaches. If the replica's course is cut meanwhile, what is published on the handle changes
/// nothing (W6), where the same offset published by the replica's name could count
/// bytes that are gone.
#[derive(Clone)]
pub struct Position {
    pub(crate) cell: Arc<Cell>,
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Position").field(&self.cell.ends()).finish()
    }
}

/// The words of one replica. Each has one writer and only grows.
pub(crate) struct Cell {
    // Padded, for two replicas' acks arrive on two threads at once and each then reads both.
    words: Line<Words>,
}

struct Words {
    /// Written by the log's writer, or by the follower's acks.
    log_start: AtomicU64,
    /// Written by the log's writer, or by the follower's acks.
    log_end: AtomicU64,
    /// Written by the flusher, or by the follower's acks.
    durable_end: AtomicU64,
}

impl Cell {
    pub(crate) fn new(log_start: Offset, ends: Ends) -> Self {
        Self {
            words: Line(Words {
                log_start: AtomicU64::new(log_start.get()),
                log_end: AtomicU64::new(ends.log_end.get()),
                durable_end: AtomicU64::new(ends.durable_end.get()),
            }),
        }
    }

    /// A new cell with the offsets that `self` has now; only a model that breaks things wants one.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.log_start(), self.ends())
    }

    #[inline]
    pub(crate) fn log_start(&self) -> Offset {
        // Acquire: pairs with the Release in `raise`; who sees a log start sees the high
        // watermark that allowed it.
        Offset::new(self.words.0.log_start.load(Acquire))
    }

    #[inline]
    pub(crate) fn log_end(&self) -> Offset {
        // Acquire: pairs with the Release in `raise`; who sees an end can read what lies below.
        Offset::new(
            self.words
                .0
                .log_end
                .load(ordered(Acquire, Weakness::PositionUnacquired)),
        )
    }

    /// Both ends. The flusher may be ahead of the writer's word, never of its bytes, so the
    /// smaller one is what is known to be durable.
    #[inline]
    pub(crate) fn ends(&self) -> Ends {
        // Acquire: pairs with the Release in `raise`. Durable first: of a cell with one writer
        // for both, the log end read later covers the durable end read before.
        let durable_end = Offset::new(self.words.0.durable_end.load(Acquire));
        let log_end = self.log_end();
        Ends {
            log_end,
            durable_end: durable_end.min(log_end),
        }
    }

    /// The offset by which this replica counts.
    #[inline]
    pub(crate) fn counted(&self, counts: Counts) -> Offset {
        match counts {
            Counts::Durable => self.ends().durable_end,
            Counts::Written => self.log_end(),
        }
    }

    /// Moves both ends; `false` when both are there already. For a cell with one writer for both.
    pub(crate) fn raise(&self, log_end: Offset, durable_end: Offset) -> bool {
        debug_assert!(durable_end <= log_end, "W3: what is synced was written");
        // Log end first: a reader that sees the new durable end sees an end that covers it.
        let written = self.raise_log_end(log_end);
        let synced = self.raise_durable_end(durable_end);
        written || synced
    }

    pub(crate) fn raise_log_start(&self, to: Offset) -> bool {
        raise(&self.words.0.log_start, to)
    }

    #[inline]
    pub(crate) fn raise_log_end(&self, to: Offset) -> bool {
        raise(&self.words.0.log_end, to)
    }

    #[inline]
    pub(crate) fn raise_durable_end(&self, to: Offset) -> bool {
        raise(&self.words.0.durable_end, to)
    }
}

/// Moves a word up to `to`; `false` when it is there already. The word has one writer, so what it
/// reads is what it wrote last, and a late or repeated report is not an error.
#[inline]
fn raise(word: &AtomicU64, to: Offset) -> bool {
    // Relaxed: the writer reads its own word.
    if word.load(Relaxed) >= to.get() {
        return false;
    }
    // Release: pairs with the Acquire loads above.
    word.store(to.get(), ordered(Release, Weakness::PositionUnreleased));
    true
}
