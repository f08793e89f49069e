//! Where atomics, locks and the tenure pointer come from: the real ones, or loom's.
//!
//! Not an abstraction of its own: under `--cfg loom` the same names mean loom's types, so that the
//! models in `models` run the code that ships. The one thing added for the models is [`weakened`]:
//! each place whose order matters asks it whether a model wants that place broken, to show that
//! the model would notice. Outside loom the answer is a constant and the question costs nothing.

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
    /// A publisher that met the seal goes home instead of trying the next tenure.
    SealNotRetried,
    /// A new tenure copies the positions of those who stay instead of sharing their cells.
    PositionsCopied,
    /// A snapshot reads the log end before the high watermark.
    LogEndFirst,
    /// The high watermark is read without acquiring what it was computed from.
    HighWatermarkRelaxed,
    /// A waiter looks, and only then registers.
    CheckBeforeRegister,
    /// Waiters are superseded before the new tenure is there to be seen.
    SupersedeFirst,
    /// A leaving waiter writes the least threshold after it gave the lock back.
    LeastOutsideLock,
    /// A parked task looks for a notice and only then leaves its waker.
    WakerAfterLook,
}

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, fence};

    use std::sync::Arc;

    /// Nothing is weakened outside a model.
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
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, fence};

    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::cell::Cell;
    use std::sync::Arc;

    thread_local! {
        // A model's threads are coroutines of the thread that runs it, so they share this.
        static WEAKENED: Cell<Option<super::Weakness>> = const { Cell::new(None) };
    }

    pub(crate) fn weakened(place: super::Weakness) -> bool {
        WEAKENED.get() == Some(place)
    }

    pub(crate) fn weaken(place: Option<super::Weakness>) {
        WEAKENED.set(place);
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
        newest: AtomicUsize,
        values: std::sync::Mutex<Vec<Arc<T>>>,
    }

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            Self {
                newest: AtomicUsize::new(0),
                values: std::sync::Mutex::new(vec![Arc::new(value)]),
            }
        }

        pub(crate) fn load(&self) -> Arc<T> {
            let newest = self.newest.load(Ordering::Acquire);
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
            self.newest.store(newest, Ordering::Release);
        }
    }
}

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;
