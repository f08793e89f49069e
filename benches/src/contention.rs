//! Threads that get in each other's way, for as long as a bench runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Background threads that repeat something until this is dropped.
pub struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// Starts `threads` of them; `work` makes what the n-th one repeats.
    pub fn start<F>(threads: usize, mut work: impl FnMut(usize) -> F) -> Self
    where
        F: FnMut() + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads).map(|nth| {
            let (stop, mut repeat) = (Arc::clone(&stop), work(nth));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    repeat();
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in there would have shown on standard error, and the bench goes on.
            let _ = thread.join();
        }
    }
}

/// Does as much as handling a small request does between two looks at the offsets, some hundreds
/// of nanoseconds. Without it a bench measures nothing but one cache line going to and fro.
pub fn small_work() {
    for _ in 0..SPINS {
        std::hint::spin_loop();
    }
}

const SPINS: u32 = 32;

/// Runs `work` on `threads` threads that start together, and tells how long the slowest took.
/// `work` is given the number of its thread.
pub fn together(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let gate = std::sync::Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|nth| {
                let (gate, work) = (&gate, &work);
                scope.spawn(move || {
                    gate.wait();
                    work(nth);
                })
            })
            .collect();
        gate.wait();
        let began = now();
        for thread in running {
            thread.join().expect("a bench's thread does not panic");
        }
        began.elapsed()
    })
}

/// The time, for benches that measure themselves.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring time is what a bench does"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
