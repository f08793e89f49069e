//! What the broker asks of the machine around it: the time, and somewhere to do blocking work.
//!
//! The broker itself reads no clock and knows no runtime, so that the same code runs in a node and
//! in a simulator.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use plimsoll_segment_log::FlushPool;
use plimsoll_segment_log::disk::{Disk, RealDisk};
use plimsoll_types::{Monotonic, Timestamp};

/// The machine around a broker.
#[derive(Clone)]
pub struct Machine {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Threads for blocking work.
    pub workers: Arc<dyn Workers>,
    /// The file system under the logs.
    pub disk: Arc<dyn Disk>,
    /// What makes the logs durable.
    pub flushers: Arc<FlushPool>,
}

impl Machine {
    /// A machine with its own file system, and `flush_threads` threads that sync.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(
        clock: Arc<dyn Clock>,
        workers: Arc<dyn Workers>,
        flush_threads: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            clock,
            workers,
            disk: Arc::new(RealDisk),
            flushers: Arc::new(FlushPool::new(flush_threads)?),
        })
    }
}

/// The time, as the broker sees it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Time that never goes back; for deadlines and durations.
    fn now(&self) -> Monotonic;

    /// The wall clock; for record timestamps and retention.
    fn wall(&self) -> Timestamp;

    /// Returns when [`Clock::now`] is at `at` or later.
    async fn sleep_until(&self, at: Monotonic);

    /// What was never drawn before and never will be again, anywhere; here because it is the one
    /// other thing that differs from one moment to the next.
    fn fresh_id(&self) -> [u8; 16] {
        *uuid::Uuid::new_v4().as_bytes()
    }
}

/// Threads that may block on a disk.
#[async_trait]
pub trait Workers: Send + Sync {
    /// Runs `work` on a thread that may block, and returns when it is done. The number of such
    /// threads is bounded; more work waits its turn. When the returned future is dropped, the work
    /// is still done.
    async fn run(&self, work: Box<dyn FnOnce() + Send>);
}
