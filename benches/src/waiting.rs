//! Awaiting an offset: the watermarks, and rivals that wake by other means.
//!
//! The tasks are polled by hand, and only when woken, so that what is measured is the waiting and
//! the waking and no runtime.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use plimsoll_types::Offset;
use plimsoll_watermark::{Mark, Watermarks};

use crate::marks::start;

/// Something on which tasks await an offset.
pub trait Awaited: Send + Sync + 'static {
    /// What distinguishes it in a bench's name; empty for ours.
    const RIVAL: &'static str;

    /// A partition of one replica with an empty log.
    fn alone() -> Self;
    /// Moves the offset that is awaited, and wakes.
    fn publish(&self, end: u64);
    /// Completes when `end` is published.
    fn reached(self: &Arc<Self>, end: u64) -> impl Future<Output = ()> + Send + 'static;
}

impl Awaited for Watermarks {
    const RIVAL: &'static str = "";

    fn alone() -> Self {
        Self::new(start(0))
    }

    fn publish(&self, end: u64) {
        self.publish_log_end(Offset::new(end));
    }

    fn reached(self: &Arc<Self>, end: u64) -> impl Future<Output = ()> + Send + 'static {
        let marks = Arc::clone(self);
        async move {
            marks
                .wait(Mark::HighWatermark, Offset::new(end))
                .await
                .expect("nothing is cut");
        }
    }
}

/// A sorted queue of wakers under one lock with the offset, which every publisher takes.
pub struct Locked(Mutex<(u64, BTreeMap<u64, Waker>)>);

impl Awaited for Locked {
    const RIVAL: &'static str = "mutex";

    fn alone() -> Self {
        Self(Mutex::new((0, BTreeMap::new())))
    }

    fn publish(&self, end: u64) {
        let reached = {
            let mut inner = self.0.lock();
            inner.0 = end;
            let later = inner.1.split_off(&(end + 1));
            std::mem::replace(&mut inner.1, later)
        };
        for waker in reached.into_values() {
            waker.wake();
        }
    }

    fn reached(self: &Arc<Self>, end: u64) -> impl Future<Output = ()> + Send + 'static {
        let this = Arc::clone(self);
        poll_fn(move |cx| {
            let mut inner = this.0.lock();
            if inner.0 >= end {
                return Poll::Ready(());
            }
            // One waiter an offset, which is what the bench has.
            inner.1.insert(end, cx.waker().clone());
            Poll::Pending
        })
    }
}

/// A channel of one value, which wakes all who wait whenever the value changes.
pub struct Channel(tokio::sync::watch::Sender<u64>);

impl Awaited for Channel {
    const RIVAL: &'static str = "watch_channel";

    fn alone() -> Self {
        Self(tokio::sync::watch::Sender::new(0))
    }

    fn publish(&self, end: u64) {
        self.0.send_replace(end);
    }

    fn reached(self: &Arc<Self>, end: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.0.subscribe();
        async move {
            receiver
                .wait_for(|&value| value >= end)
                .await
                .expect("the sender lives");
        }
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A task that waits, and the flag that says it wants to be polled.
pub struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    flag: Arc<Flag>,
}

impl Task {
    /// Starts waiting.
    pub fn start(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let mut task = Self {
            future: Box::pin(future),
            flag,
        };
        task.run();
        task
    }

    /// Polls if woken since the last poll; `true` when it has completed.
    pub fn run(&mut self) -> bool {
        if !self.flag.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    }
}
