//! The memory that requests of all connections may hold together.
//!
//! Not an allocator: it counts bytes that have arrived and are not answered yet, and tells
//! connections to stop reading. Bytes that are already here are never refused, so the count may
//! pass the limit by what each connection had read when it was reached.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Counts request bytes under way; see the module.
#[derive(Debug)]
pub(crate) struct Budget {
    max_bytes: usize,
    used: AtomicUsize,
    /// Connections that wait for room. Release looks at it, so that it costs no lock while
    /// nobody waits.
    starved: AtomicUsize,
    room: Notify,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            used: AtomicUsize::new(0),
            starved: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// Whether a connection must not read on for now.
    pub(crate) fn is_exhausted(&self) -> bool {
        // SeqCst, with `starve` and `give`: of a waiter that counts itself and then looks here,
        // and a release that lowers the count and then looks for waiters, one sees the other.
        self.used.load(Ordering::SeqCst) >= self.max_bytes
    }

    /// Bytes under way now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts bytes that have arrived.
    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes bytes back out of the count, and wakes who waits for room.
    pub(crate) fn give(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        debug_assert!(before >= bytes, "a connection gives back what it took");
        if self.starved.load(Ordering::SeqCst) > 0 && !self.is_exhausted() {
            self.room.notify_waiters();
        }
    }

    /// Starts waiting for room. Its first poll registers, and then looks again.
    pub(crate) fn starve(&self) -> Starving<'_> {
        self.starved.fetch_add(1, Ordering::SeqCst);
        Starving {
            budget: self,
            room: Box::pin(self.room.notified()),
        }
    }
}

/// One connection that waits for room.
#[derive(Debug)]
pub(crate) struct Starving<'a> {
    budget: &'a Budget,
    room: std::pin::Pin<Box<Notified<'a>>>,
}

impl Starving<'_> {
    /// Whether there is room; otherwise the task is woken when there may be.
    pub(crate) fn poll_room(&mut self, cx: &mut std::task::Context<'_>) -> bool {
        while self.room.as_mut().poll(cx).is_ready() {
            self.room.set(self.budget.room.notified());
        }
        // Registered by the poll above: a release after this look wakes us.
        !self.budget.is_exhausted()
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.budget.starved.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one connection has counted; gives all of it back when the connection ends, however it
/// ends.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl<'a> Share<'a> {
    pub(crate) fn of(budget: &'a Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.take(bytes);
    }

    pub(crate) fn give(&mut self, bytes: usize) {
        debug_assert!(self.bytes >= bytes, "a share gives back what it took");
        self.bytes -= bytes;
        self.budget.give(bytes);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn what_a_connection_took_comes_back_when_it_ends() {
        let budget = Budget::new(10);
        let mut share = Share::of(&budget);
        share.take(12);
        assert!(budget.is_exhausted());
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_starving_connection_finds_room_after_a_release() {
        let budget = Budget::new(10);
        budget.take(10);
        let mut starving = budget.starve();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!starving.poll_room(&mut cx));
        budget.give(1);
        assert!(starving.poll_room(&mut cx));
    }

    #[test]
    fn a_release_wakes_only_while_somebody_starves() {
        let budget = Budget::new(10);
        budget.take(10);
        let mut unregistered = pin!(budget.room.notified());
        unregistered.as_mut().enable();
        budget.give(10);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(unregistered.poll(&mut cx).is_pending());
    }
}
