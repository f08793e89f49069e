//! The bell of one parked request.
//!
//! A request that waits on many partitions has one, rung by whichever comes first. Rings between
//! two looks are one ring. It knows nothing of offsets.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::AcqRel;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicBool, Mutex, Weakness, ordered, weakened};

/// One parked request's bell: rung from many threads, awaited by one task at a time.
pub struct Signal {
    rung: AtomicBool,
    sleeper: Mutex<Option<Waker>>,
}

impl Signal {
    /// A bell that has not rung.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rung: AtomicBool::new(false),
            sleeper: Mutex::new(None),
        }
    }

    /// Rings. The task that awaits [`Signal::notified`] wakes, or the next one to await it does
    /// not sleep.
    pub fn notify(&self) {
        // AcqRel: Release pairs with the swap in `poll_notified`, which so sees whatever was
        // rung for; Acquire with the same swap, so that the waker left before it is seen here.
        if self.rung.swap(true, ordered(AcqRel, Weakness::BellRelaxed)) {
            return;
        }
        let sleeper = self.sleeper.lock().take();
        if let Some(waker) = sleeper {
            waker.wake();
        }
    }

    /// Completes when the bell has rung since the last completion.
    pub fn notified(&self) -> Notified<'_> {
        Notified { signal: self }
    }

    /// The same, for a future written by hand. Only the last task to poll is woken.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A weakened model leaves its waker only after the look.
        let late = weakened(Weakness::WakerAfterLook);
        if !late {
            self.leave_waker(cx);
        }
        // AcqRel: pairs with the swap in `notify`, both ways. Whichever of the two swaps is
        // second sees what the other side did before its own.
        if self
            .rung
            .swap(false, ordered(AcqRel, Weakness::BellRelaxed))
        {
            return Poll::Ready(());
        }
        if late {
            self.leave_waker(cx);
        }
        Poll::Pending
    }

    /// Leaves the task's waker. Wakers are foreign code, cloned and dropped outside the lock.
    fn leave_waker(&self, cx: &Context<'_>) {
        let is_known = |known: &Waker| known.will_wake(cx.waker());
        if self.sleeper.lock().as_ref().is_some_and(is_known) {
            return;
        }
        let waker = cx.waker().clone();
        let previous = self.sleeper.lock().replace(waker);
        drop(previous);
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").finish_non_exhaustive()
    }
}

/// Completes when its [`Signal`] rings. Dropping it loses no ring.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    signal: &'a Signal,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.signal.poll_notified(cx)
    }
}
