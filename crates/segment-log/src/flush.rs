//! A few threads that sync many logs: group commit.
//!
//! Whoever appended asks for a flush of its target and goes on. A target waits in the queue at most
//! once, however often it is asked for, so one sync answers all appends before it; asked for while
//! it runs, it runs once more after. Not here: what a flush does, and who hears of it.
//!
//! Always holds: after a request some flush of the target *begins*; no target runs on two threads
//! at once; the queue is never longer than the number of targets.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

/// Something that can be flushed.
pub trait FlushTarget: Send + Sync {
    /// Makes durable what is there when this is called, and tells whom it concerns. Errors are the
    /// target's to keep. A panic ends the process's promise of durability, so it ends the process.
    fn flush(&self);
}

/// Threads that flush. Dropped, it drains what was asked for and ends.
#[derive(Debug)]
pub struct FlushPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// What is known of a target that is not idle. An idle one costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ticket {
    /// In the queue.
    Waiting,
    /// On a thread.
    Running,
    /// On a thread, and asked for again meanwhile.
    RunningAgain,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<dyn FlushTarget>>,
    /// By the target's address, which is its own while the queue or a thread holds it.
    tickets: HashMap<usize, Ticket>,
    idle_threads: usize,
    closing: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Queue")
            .field("waiting", &state.waiting.len())
            .field("closing", &state.closing)
            .finish_non_exhaustive()
    }
}

impl FlushPool {
    /// A pool of `threads` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let threads = (0..threads.max(1))
            .map(|number| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("flush-{number}"))
                    .spawn(move || queue.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queue, threads })
    }

    /// A pool without threads: nothing is flushed but by [`FlushPool::flush_next`]. For a
    /// simulator, which decides when a disk is done. Dropped, it flushes nothing.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            queue: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Flushes the target that has waited longest on the caller's thread; false if none waits.
    pub fn flush_next(&self) -> bool {
        let Some(target) = self.queue.state.lock().take() else {
            return false;
        };
        target.flush();
        self.queue.state.lock().done(target);
        true
    }

    /// Asks for a flush of `target` that begins after this call. Cheap if one is waiting already.
    pub fn request(&self, target: &Arc<dyn FlushTarget>) {
        self.queue.request(target);
    }

    /// Targets that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.state.lock().waiting.len()
    }

    /// Flushes what was asked for and ends the threads. Requests from now on are refused silently:
    /// whoever shuts down has stopped the writers first.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.queue.state.lock().closing = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for FlushPool {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

fn address(target: &Arc<dyn FlushTarget>) -> usize {
    Arc::as_ptr(target).cast::<()>().addr()
}

impl Queue {
    fn request(&self, target: &Arc<dyn FlushTarget>) {
        let mut state = self.state.lock();
        if state.closing {
            return;
        }
        match state.tickets.get_mut(&address(target)) {
            Some(Ticket::Waiting | Ticket::RunningAgain) => {}
            Some(ticket) => *ticket = Ticket::RunningAgain,
            None => {
                state.tickets.insert(address(target), Ticket::Waiting);
                state.waiting.push_back(Arc::clone(target));
                let sleeps = state.idle_threads > 0;
                drop(state);
                if sleeps {
                    self.wake.notify_one();
                }
            }
        }
    }

    fn work(&self) {
        let _abort = AbortOnPanic;
        let mut state = self.state.lock();
        loop {
            let Some(target) = state.take() else {
                if state.closing {
                    return;
                }
                state.idle_threads += 1;
                self.wake.wait(&mut state);
                state.idle_threads -= 1;
                continue;
            };
            drop(state);
            target.flush();
            state = self.state.lock();
            state.done(target);
        }
    }
}

impl State {
    /// The next target, which is the caller's until it is [`done`](State::done).
    fn take(&mut self) -> Option<Arc<dyn FlushTarget>> {
        let target = self.waiting.pop_front()?;
        self.tickets.insert(address(&target), Ticket::Running);
        Some(target)
    }

    /// A target was flushed; it waits again if it was asked for meanwhile.
    fn done(&mut self, target: Arc<dyn FlushTarget>) {
        if self.tickets.remove(&address(&target)) == Some(Ticket::RunningAgain) {
            self.tickets.insert(address(&target), Ticket::Waiting);
            self.waiting.push_back(target);
        }
    }
}

/// Ends the process when a flush panics: a log that silently is never synced again would keep
/// every producer waiting, or worse.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting {
        flushes: AtomicUsize,
        running: AtomicBool,
    }

    impl FlushTarget for Counting {
        fn flush(&self) {
            assert!(
                !self.running.swap(true, Ordering::SeqCst),
                "one thread at a time"
            );
            self.flushes.fetch_add(1, Ordering::SeqCst);
            self.running.store(false, Ordering::SeqCst);
        }
    }

    /// Holds its thread at two points, so that a test can act in between.
    struct Held {
        begun: Barrier,
        go_on: Barrier,
        flushes: AtomicUsize,
    }

    impl FlushTarget for Held {
        fn flush(&self) {
            if self.flushes.fetch_add(1, Ordering::SeqCst) == 0 {
                self.begun.wait();
                self.go_on.wait();
            }
        }
    }

    #[test]
    fn requests_while_it_runs_make_it_run_once_more() {
        let pool = FlushPool::new(2).unwrap();
        let held = Arc::new(Held {
            begun: Barrier::new(2),
            go_on: Barrier::new(2),
            flushes: AtomicUsize::new(0),
        });
        let target: Arc<dyn FlushTarget> = Arc::clone(&held) as _;
        pool.request(&target);
        held.begun.wait();
        for _ in 0..10 {
            pool.request(&target);
        }
        held.go_on.wait();
        pool.shutdown();
        assert_eq!(held.flushes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_pool_without_threads_flushes_only_when_told() {
        let pool = FlushPool::manual();
        let counters: Vec<_> = (0..2).map(|_| Arc::new(Counting::default())).collect();
        for counter in counters.iter().chain(&counters) {
            pool.request(&(Arc::clone(counter) as Arc<dyn FlushTarget>));
        }
        let flushes = || {
            let flushes = counters.iter().map(|c| c.flushes.load(Ordering::SeqCst));
            flushes.collect::<Vec<_>>()
        };
        assert_eq!((pool.waiting(), flushes()), (2, vec![0, 0]));
        assert!(pool.flush_next());
        assert_eq!(flushes(), [1, 0]);
        assert!(pool.flush_next());
        assert!(!pool.flush_next(), "asked for twice, waiting once");
        assert_eq!(flushes(), [1, 1]);
    }

    #[test]
    fn every_target_asked_for_is_flushed_before_shutdown_ends() {
        let pool = FlushPool::new(3).unwrap();
        let counters: Vec<_> = (0..200).map(|_| Arc::new(Counting::default())).collect();
        std::thread::scope(|scope| {
            for part in counters.chunks(50) {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..20 {
                        for counter in part {
                            pool.request(&(Arc::clone(counter) as Arc<dyn FlushTarget>));
                        }
                    }
                });
            }
        });
        pool.shutdown();
        for counter in &counters {
            let flushes = counter.flushes.load(Ordering::SeqCst);
            assert!((1..=20).contains(&flushes), "{flushes}");
        }
    }

    #[test]
    fn a_flush_after_a_request_sees_what_was_there_before_it() {
        struct Copy {
            written: AtomicUsize,
            flushed: AtomicUsize,
        }
        impl FlushTarget for Copy {
            fn flush(&self) {
                let seen = self.written.load(Ordering::SeqCst);
                self.flushed.fetch_max(seen, Ordering::SeqCst);
            }
        }
        let pool = FlushPool::new(2).unwrap();
        let copy = Arc::new(Copy {
            written: AtomicUsize::new(0),
            flushed: AtomicUsize::new(0),
        });
        let target: Arc<dyn FlushTarget> = Arc::clone(&copy) as _;
        for n in 1..=10_000 {
            copy.written.store(n, Ordering::SeqCst);
            pool.request(&target);
        }
        pool.shutdown();
        assert_eq!(copy.flushed.load(Ordering::SeqCst), 10_000);
    }
}
