//! Waiting for an offset: registered from many partitions on one signal, or as a future alone.
//!
//! Both leave the queue when dropped. Neither has a deadline; who wants one races it with a clock
//! of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use plimsoll_types::Offset;

use crate::snapshot::{Mark, Snapshot, Superseded};
use crate::waiters::{Parked, Waiters, WatchState};
use crate::watermarks::Watermarks;

/// A wait in progress, made by [`Watermarks::watch`]. Its signal rings once, when the state leaves
/// [`WatchState::Pending`]; a watch that was decided when it was made does not ring.
#[must_use = "dropping a watch ends the wait"]
pub struct Watch {
    parked: Arc<Parked>,
    queued: Option<Queued>,
}

struct Queued {
    waiters: Arc<Waiters>,
    mark: Mark,
    at_least: Offset,
    ticket: u64,
}

impl Watch {
    pub(crate) fn decided(parked: Arc<Parked>, state: WatchState) -> Self {
        parked.settle(state);
        Self {
            parked,
            queued: None,
        }
    }

    pub(crate) fn queue(
        waiters: &Arc<Waiters>,
        mark: Mark,
        at_least: Offset,
        parked: Arc<Parked>,
    ) -> Self {
        let ticket = waiters.queue(mark).register(at_least, Arc::clone(&parked));
        let waiters = Arc::clone(waiters);
        Self {
            parked,
            queued: Some(Queued {
                waiters,
                mark,
                at_least,
                ticket,
            }),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> WatchState {
        self.parked.state()
    }

    /// Decides the wait from the waiter's own side, and leaves the queue.
    pub(crate) fn settle(&mut self, state: WatchState) {
        self.parked.settle(state);
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(queued) = self.queued.take() {
            queued
                .waiters
                .queue(queued.mark)
                .leave(queued.at_least, queued.ticket);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Whoever decided it from outside took it off the queue before.
        if self.state() == WatchState::Pending {
            self.leave();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A future that completes when a mark reaches an offset, made by [`Watermarks::wait`].
///
/// Costs one allocation if it has to sleep and none if it has not.
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<'a> {
    watermarks: &'a Watermarks,
    mark: Mark,
    at_least: Offset,
    course: u64,
    watch: Option<Watch>,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(
        watermarks: &'a Watermarks,
        mark: Mark,
        at_least: Offset,
        course: u64,
    ) -> Self {
        Self {
            watermarks,
            mark,
            at_least,
            course,
            watch: None,
        }
    }
}

impl Future for Wait<'_> {
    type Output = Result<Snapshot, Superseded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let watermarks = this.watermarks;
        let watch = match &mut this.watch {
            Some(watch) => watch,
            none => none.insert(watermarks.park(this.course, this.mark, this.at_least)),
        };
        // Leaves the waker before the state is looked at, so that a change after the look rings.
        let _ = watch.parked.signal().poll_notified(cx);
        match watch.state() {
            WatchState::Pending => Poll::Pending,
            // The course may have ended since, and then nobody can say any more what was reached.
            WatchState::Reached => Poll::Ready(watermarks.snapshot_in(this.course)),
            WatchState::Superseded => Poll::Ready(Err(Superseded {
                leader_epoch: watermarks.leader_epoch(),
            })),
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("mark", &self.mark)
            .field("at_least", &self.at_least)
            .finish_non_exhaustive()
    }
}
