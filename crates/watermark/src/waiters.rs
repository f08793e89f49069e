//! Who waits for which offset of a partition.
//!
//! One queue a mark, sorted by threshold, behind a lock that only waiters and those who wake them
//! take: a publisher first reads the least threshold, one atomic word, and goes home if it lies
//! above what it published. Only those reached are woken, outside the lock. The queue reads no
//! offsets; that a waiter looks again after registering is `Watermarks`' part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use plimsoll_types::Offset;

use crate::signal::Signal;
use crate::snapshot::Mark;
use crate::sync::{AtomicU8, AtomicU64, Mutex, Weakness, ordered, weakened};

/// The least threshold of an empty queue; above every offset.
const NOBODY: u64 = u64::MAX;
/// How many are taken off the queue at a time, so that waking needs no allocation.
const WOKEN_AT_ONCE: usize = 16;
/// An empty queue keeps no more room than this.
const MAX_IDLE_ENTRIES: usize = 32;

/// How it stands with a [`Watch`](crate::Watch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// Not reached yet.
    Pending,
    /// The mark stood at or above the threshold.
    Reached,
    /// The log was cut or the leader epoch changed first.
    Superseded,
}

impl WatchState {
    const fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Reached => 1,
            Self::Superseded => 2,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Pending,
            1 => Self::Reached,
            _ => Self::Superseded,
        }
    }
}

/// Whom a settled waiter rings for.
pub(crate) enum Bell {
    Own(Signal),
    Shared(Arc<Signal>),
}

/// One waiter. Leaves `Pending` once.
pub(crate) struct Parked {
    state: AtomicU8,
    pub(crate) course: u64,
    bell: Bell,
}

impl Parked {
    pub(crate) fn new(course: u64, bell: Bell) -> Self {
        Self {
            state: AtomicU8::new(WatchState::Pending.code()),
            course,
            bell,
        }
    }

    pub(crate) fn state(&self) -> WatchState {
        // Acquire: pairs with the Release in `settle`; who sees itself reached sees the offset.
        WatchState::of(self.state.load(ordered(Acquire, Weakness::StateUnacquired)))
    }

    pub(crate) fn signal(&self) -> &Signal {
        match &self.bell {
            Bell::Own(signal) => signal,
            Bell::Shared(signal) => signal,
        }
    }

    /// Decides the waiter's fate unless it is decided; says whether this call did.
    pub(crate) fn settle(&self, state: WatchState) -> bool {
        let pending = WatchState::Pending.code();
        // Release: pairs with the Acquire in `state`.
        let order = ordered(Release, Weakness::StateUnreleased);
        self.state
            .compare_exchange(pending, state.code(), order, Relaxed)
            .is_ok()
    }

    fn wake(&self, state: WatchState) {
        if self.settle(state) {
            self.signal().notify();
        }
    }
}

/// A partition's waiters.
pub(crate) struct Waiters {
    log_end: Queue,
    durable_end: Queue,
    high_watermark: Queue,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self {
            log_end: Queue::new(),
            durable_end: Queue::new(),
            high_watermark: Queue::new(),
        }
    }

    #[inline]
    pub(crate) fn queue(&self, mark: Mark) -> &Queue {
        match mark {
            Mark::LogEnd => &self.log_end,
            Mark::DurableEnd => &self.durable_end,
            Mark::HighWatermark => &self.high_watermark,
        }
    }

    /// Wakes those who wait for `mark` at or below `value`; says whether there were any.
    #[inline]
    pub(crate) fn reached(&self, mark: Mark, value: Offset) -> bool {
        self.queue(mark).reached(value)
    }

    /// Ends every wait that belongs to a course before `course`.
    pub(crate) fn supersede(&self, course: u64) {
        for queue in [&self.log_end, &self.durable_end, &self.high_watermark] {
            queue.supersede(course);
        }
    }
}

/// The waiters for one mark.
pub(crate) struct Queue {
    /// The least threshold in `inner`, written under its lock. Relaxed throughout: a publisher
    /// fences between moving the mark and reading this, a waiter between registering (which
    /// writes this) and its second look at the mark, so that one of the two sees the other.
    least: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Sorted by threshold, then by ticket.
    entries: VecDeque<Entry>,
    next_ticket: u64,
}

struct Entry {
    at_least: u64,
    ticket: u64,
    parked: Arc<Parked>,
}

impl Queue {
    fn new() -> Self {
        let inner = Inner {
            entries: VecDeque::new(),
            next_ticket: 0,
        };
        Self {
            least: AtomicU64::new(NOBODY),
            inner: Mutex::new(inner),
        }
    }

    /// Adds a waiter and returns the ticket to leave with.
    pub(crate) fn register(&self, at_least: Offset, parked: Arc<Parked>) -> u64 {
        let at_least = at_least.get();
        let mut inner = self.inner.lock();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        let at = inner
            .entries
            .partition_point(|entry| entry.at_least <= at_least);
        inner.entries.insert(
            at,
            Entry {
                at_least,
                ticket,
                parked,
            },
        );
        self.least.store(inner.least(), Relaxed);
        ticket
    }

    /// Takes a waiter off the queue, if it is still there.
    pub(crate) fn leave(&self, at_least: Offset, ticket: u64) {
        let key = (at_least.get(), ticket);
        let mut inner = self.inner.lock();
        let found = inner
            .entries
            .binary_search_by_key(&key, |entry| (entry.at_least, entry.ticket));
        let Ok(at) = found else { return };
        let entry = inner.entries.remove(at);
        inner.shrink();
        let least = inner.least();
        if weakened(Weakness::LeastOutsideLock) {
            drop(inner);
            self.least.store(least, Relaxed);
        } else {
            self.least.store(least, Relaxed);
            drop(inner);
        }
        // The last reference to a waiter may drop its waker, which is foreign code.
        drop(entry);
    }

    /// Wakes those whose threshold is at or below `value`; says whether there were any.
    #[inline]
    fn reached(&self, value: Offset) -> bool {
        // Relaxed: see `least`.
        self.least.load(Relaxed) <= value.get() && self.wake(value)
    }

    #[cold]
    fn wake(&self, value: Offset) -> bool {
        let mut any = false;
        loop {
            let mut batch: [Option<Arc<Parked>>; WOKEN_AT_ONCE] = Default::default();
            let more = {
                let mut inner = self.inner.lock();
                let more = inner.take_reached(value.get(), &mut batch);
                inner.shrink();
                self.least.store(inner.least(), Relaxed);
                more
            };
            for parked in batch.iter().flatten() {
                any = true;
                parked.wake(WatchState::Reached);
            }
            if !more {
                return any;
            }
        }
    }

    fn supersede(&self, course: u64) {
        let ended = {
            let mut inner = self.inner.lock();
            let entries = std::mem::take(&mut inner.entries);
            let (ended, kept): (VecDeque<_>, VecDeque<_>) = entries
                .into_iter()
                .partition(|entry| entry.parked.course < course);
            inner.entries = kept;
            self.least.store(inner.least(), Relaxed);
            ended
        };
        for entry in ended {
            entry.parked.wake(WatchState::Superseded);
        }
    }
}

impl Inner {
    fn least(&self) -> u64 {
        self.entries.front().map_or(NOBODY, |entry| entry.at_least)
    }

    /// Moves reached waiters into `batch`; `true` when it was too small for all.
    fn take_reached(&mut self, value: u64, batch: &mut [Option<Arc<Parked>>]) -> bool {
        for slot in batch {
            if self.least() > value {
                return false;
            }
            let entry = self.entries.pop_front();
            debug_assert!(
                entry.as_ref().is_some_and(|entry| entry.at_least <= value),
                "W9"
            );
            *slot = entry.map(|entry| entry.parked);
        }
        self.least() <= value
    }

    fn shrink(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > MAX_IDLE_ENTRIES {
            self.entries = VecDeque::new();
        }
    }
}
