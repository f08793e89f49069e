//! Where atomics, locks and the tenure pointer come from: the real ones, or loom's.
//!
//! Not an abstraction of its own: under `--cfg loom` the same names mean loom's types, so that the
//! models in `models` run the code that ships. The one thing added for the models is [`weakened`]:
//! each place whose order matters asks it whether a model wants that place broken, to show that
//! the model would notice. Outside loom the answer is a constant and the question costs nothing.

use std::sync::atomic::Ordering;

/// A place whose order of memory a model can break on purpose, named by what goes missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// A publisher does not fence between its own store and its look at the others.
    FenceAfterPosition,
    /// A publisher does not fence between moving a mark and its look at the least threshold.
    FenceAfterAdvance,
    /// A new tenure does not fence between its publication and its look at the positions.
    FenceAfterTenure,
    /// A waiter does not fence between registering and its second look.
    FenceAfterRegister,
    /// An advance does not heed the seal.
    SealIgnored,
    /// A publisher that met the seal does not look whether the next tenure is there.
    SealNotRetried,
    /// A new tenure copies the positions of those who stay instead of sharing their cells.
    PositionsCopied,
    /// A follower that begins again keeps its cell.
    FreshKept,
    /// A snapshot reads the log end before the high watermark.
    LogEndFirst,
    /// The high watermark is read without acquiring what it was computed from.
    HighWatermarkUnacquired,
    /// The high watermark is moved without releasing what it was computed from.
    HighWatermarkUnreleased,
    /// The high watermark is carried over without acquiring what it was computed from.
    SealUnacquired,
    /// A position is read without acquiring what lies below it.
    PositionUnacquired,
    /// A position is moved without releasing what lies below it.
    PositionUnreleased,
    /// A waiter learns that it was reached without acquiring the offset.
    StateUnacquired,
    /// A waiter is told that it was reached without releasing the offset.
    StateUnreleased,
    /// A bell is rung, or heard, without order.
    BellRelaxed,
    /// A waiter looks, and only then registers.
    CheckBeforeRegister,
    /// Waiters are superseded before the new tenure is there to be seen.
    SupersedeFirst,
    /// A leaving waiter writes the least threshold after it gave the lock back.
    LeastOutsideLock,
    /// A parked task looks for a notice and only then leaves its waker.
    WakerAfterLook,
}

/// A value with a cache line to itself, so that who writes it does not take from others what they
/// only read.
///
/// One line and not the two that `crossbeam_utils::CachePadded` keeps for a prefetcher that
/// fetches pairs: there are tens of thousands of partitions, and the second line bought nothing in
/// `watermark_ack` and `watermark_read`.
#[repr(align(64))]
pub(crate) struct Line<T>(pub(crate) T);

/// `order`, or none at all where a model wants `place` broken.
#[inline(always)]
pub(crate) fn ordered(order: Ordering, place: Weakness) -> Ordering {
    if weakened(place) {
        Ordering::Relaxed
    } else {
        order
    }
}

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, fence};

    use std::sync::Arc;

    /// Nothing is weakened outside a model.
    #[inline(always)]
    pub(crate) const fn weakened(_: super::Weakness) -> bool {
        false
    }

    /// A pointer to the current value, read without a lock.
    pub(crate) struct Swap<T>(arc_swap::ArcSwap<T>);

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(arc_swap::ArcSwap::from_pointee(value))
        }

        pub(crate) fn load(&self) -> arc_swap::Guard<Arc<T>> {
            self.0.load()
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            self.0.load_full()
        }

        pub(crate) fn store(&self, value: T) {
            self.0.store(Arc::new(value));
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, fence};

    use loom::sync::Condvar;
    use loom::sync::atomic::Ordering;
    use std::cell::Cell;
    use std::sync::Arc;

    thread_local! {
        // A model's threads are coroutines of the thread that runs it, so they share this.
        static WEAKENED: Cell<Option<super::Weakness>> = const { Cell::new(None) };
    }

    pub(crate) fn weakened(place: super::Weakness) -> bool {
        WEAKENED.get() == Some(place)
    }

    /// Breaks `place`, or nothing, until told otherwise.
    #[cfg(test)]
    pub(crate) fn weaken(place: Option<super::Weakness>) {
        WEAKENED.set(place);
    }

    /// loom's atomic word, each access of which loom takes to depend on every other.
    ///
    /// Of a word, loom remembers the last access alone. A thread that reads a word and then writes
    /// it covers up another's read that came before, and the order "write, then that read" is
    /// never tried. Ringing a condition variable that nobody awaits makes each access one that
    /// conflicts with all others, and carries no order of memory by itself.
    pub(crate) struct AtomicU64 {
        word: loom::sync::atomic::AtomicU64,
        touched: Condvar,
    }

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self {
                word: loom::sync::atomic::AtomicU64::new(value),
                touched: Condvar::new(),
            }
        }

        fn touch(&self) -> &loom::sync::atomic::AtomicU64 {
            self.touched.notify_one();
            &self.word
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            self.touch().load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.touch().store(value, order);
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.touch()
                .compare_exchange(current, new, success, failure)
        }

        pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
            self.touch().fetch_or(bits, order)
        }

        pub(crate) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
            self.touch().fetch_and(bits, order)
        }
    }

    /// loom's mutex with parking_lot's face.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("no model panics under a lock and goes on")
        }
    }

    /// arc-swap in loom's terms: an index with release and acquire, which is all that is asked of
    /// the real one. The values stand aside in a plain mutex that loom does not see, so that it
    /// adds no order that arc-swap would not give.
    pub(crate) struct Swap<T> {
        newest: AtomicU64,
        values: std::sync::Mutex<Vec<Arc<T>>>,
    }

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            let values = std::sync::Mutex::new(vec![Arc::new(value)]);
            Self {
                newest: AtomicU64::new(0),
                values,
            }
        }

        pub(crate) fn load(&self) -> Arc<T> {
            let newest = self.newest.load(Ordering::Acquire);
            let newest = usize::try_from(newest).expect("a handful of tenures");
            Arc::clone(&self.values.lock().expect("never held across a panic")[newest])
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            self.load()
        }

        pub(crate) fn store(&self, value: T) {
            let newest = {
                let mut values = self.values.lock().expect("never held across a panic");
                values.push(Arc::new(value));
                values.len() - 1
            };
            self.newest.store(newest as u64, Ordering::Release);
        }
    }
}

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;
