//! Telling the links to other replicas that something moved.
//!
//! A tap is a flag and a bell of somebody else's. It is rung after the move can be seen, from
//! whichever thread moved it, so it must not block. Not here: what moved, or what to do about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::shared::Shared;

/// Whoever wants to know that an offset of a partition moved.
pub trait Tap: Send + Sync {
    /// The log end, the durable end, the high watermark or the role moved, or the replica went
    /// offline. Must not block, and may be called when nothing moved.
    fn moved(&self);
}

type Known = Vec<(u64, Arc<dyn Tap>)>;

/// The taps of one partition. Rung without a lock.
#[derive(Default)]
pub(crate) struct Taps {
    known: ArcSwap<Known>,
    next: AtomicU64,
}

impl Taps {
    pub(crate) fn ring(&self) {
        for (_, tap) in self.known.load().iter() {
            tap.moved();
        }
    }

    fn add(&self, tap: &Arc<dyn Tap>) -> u64 {
        // Relaxed: numbers need only differ.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.known.rcu(|known| {
            let mut more = Known::clone(known);
            more.push((number, Arc::clone(tap)));
            more
        });
        number
    }

    fn remove(&self, number: u64) {
        self.known.rcu(|known| {
            let mut fewer = Known::clone(known);
            fewer.retain(|(known, _)| *known != number);
            fewer
        });
    }
}

/// Takes the tap away when dropped.
#[must_use = "the tap is taken away with it"]
pub struct TapGuard {
    shared: Weak<Shared>,
    number: u64,
}

impl TapGuard {
    pub(crate) fn new(shared: &Arc<Shared>, tap: &Arc<dyn Tap>) -> Self {
        Self {
            number: shared.taps.add(tap),
            shared: Arc::downgrade(shared),
        }
    }
}

impl Drop for TapGuard {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.taps.remove(self.number);
        }
    }
}
