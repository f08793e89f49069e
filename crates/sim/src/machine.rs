//! What a node's process is given of its machine: the time, and threads that block.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use plimsoll_broker::{Clock, Workers};
use plimsoll_types::{Monotonic, Timestamp};

use crate::kernel::{Kernel, Owner};

/// The wall clock when the world begins.
const BEGINNING_MS: i64 = 1_700_000_000_000;

/// What is the machine's and stays from one process to the next.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// How far the wall clock is off, in milliseconds.
    wall_off_ms: AtomicI64,
    /// How long the disk takes for a thing beside what it always takes, in microseconds.
    disk_slow_us: AtomicU64,
}

impl Machine {
    pub(crate) fn set_wall_off(&self, ms: i64) {
        self.wall_off_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn set_disk_slow(&self, by: Duration) {
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.disk_slow_us.store(us, Ordering::Relaxed);
    }

    /// How long the disk takes for something now.
    pub(crate) fn disk_takes(&self, kernel: &Kernel) -> Duration {
        let slow = Duration::from_micros(self.disk_slow_us.load(Ordering::Relaxed));
        slow + kernel.between(Duration::from_micros(50), Duration::from_millis(2))
    }
}

/// A process's clocks.
pub(crate) struct SimClock {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) machine: Arc<Machine>,
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_start(self.kernel.now())
    }

    fn wall(&self) -> Timestamp {
        let passed = i64::try_from(self.kernel.now().as_millis()).unwrap_or(i64::MAX);
        let off = self.machine.wall_off_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(BEGINNING_MS + passed + off)
    }

    async fn sleep_until(&self, at: Monotonic) {
        self.kernel.sleep_until(at.since_start()).await;
    }

    fn fresh_id(&self) -> [u8; 16] {
        self.kernel.draw(|rng| rng.u128(..)).to_le_bytes()
    }
}

/// A process's threads that may block: each piece of work is done at one moment, a while after it
/// was asked for.
pub(crate) struct SimWorkers {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) owner: Owner,
}

#[derive(Default)]
struct Done {
    done: bool,
    waker: Option<Waker>,
}

#[async_trait]
impl Workers for SimWorkers {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let state: Arc<Mutex<Done>> = Arc::default();
        let told = Arc::clone(&state);
        let takes = self.machine.disk_takes(&self.kernel);
        // Done also if nobody waits for it any more, but not once the process is dead.
        self.kernel.after(self.owner, takes, move || {
            work();
            let waker = {
                let mut state = told.lock();
                state.done = true;
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        std::future::poll_fn(|cx| {
            let mut state = state.lock();
            if state.done {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
