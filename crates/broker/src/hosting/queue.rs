//! Which partitions are yet to be made what the metadata says, and who waits for that.
//!
//! Level-triggered: a mark says that a partition is to be looked at, not what is to be done with
//! it. A partition is worked on by one thread at a time, and one that is slow keeps nobody else
//! from being looked at.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex, MutexGuard};
use plimsoll_types::TopicId;

/// A partition among nodes: its topic and index.
pub(crate) type Key = (TopicId, u32);

/// Marks, and the partitions being worked on.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// Marked, by the token of the last mark: ready, or running and to be looked at again.
    marked: HashMap<Key, u64>,
    running: HashMap<Key, u64>,
    /// Marks and runs of a token. A waiter waits for it to be gone.
    pending: HashMap<u64, usize>,
    stopping: bool,
    /// Tasks that wait for any of it to move.
    waiting: Vec<Waker>,
}

impl State {
    fn next(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        if let Some(token) = self.marked.remove(&key) {
            self.running.insert(key, token);
        }
        Some(key)
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waiting.iter().any(|known| known.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn count(&mut self, token: u64) {
        *self.pending.entry(token).or_default() += 1;
    }

    fn uncount(&mut self, token: u64) {
        if let Some(count) = self.pending.get_mut(&token) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&token);
            }
        }
    }
}

impl Queue {
    /// Has `keys` looked at, on behalf of `token`.
    pub(super) fn mark(&self, keys: impl IntoIterator<Item = Key>, token: u64) {
        let mut state = self.state.lock();
        for key in keys {
            match state.marked.insert(key, token) {
                Some(before) => state.uncount(before),
                None if state.running.contains_key(&key) => {}
                None => state.ready.push_back(key),
            }
            state.count(token);
        }
        self.tell(state);
    }

    /// Whoever waits looks again.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.moved.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The next partition to look at; waits for one. `None`: it is over.
    pub(super) fn take(&self) -> Option<Key> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(key) = state.next() {
                return Some(key);
            }
            self.moved.wait(&mut state);
        }
    }

    /// As [`Queue::take`], for a task.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Key>> {
        let mut state = self.state.lock();
        if state.stopping {
            return Poll::Ready(None);
        }
        match state.next() {
            Some(key) => Poll::Ready(Some(key)),
            None => state.wait(cx),
        }
    }

    /// The partition was looked at.
    pub(super) fn done(&self, key: Key) {
        let mut state = self.state.lock();
        if let Some(token) = state.running.remove(&key) {
            state.uncount(token);
        }
        if state.marked.contains_key(&key) {
            state.ready.push_back(key);
        }
        self.tell(state);
    }

    /// Waits until every partition that was marked on behalf of `token` was looked at, or it is
    /// over.
    pub(super) fn settle(&self, token: u64) {
        let mut state = self.state.lock();
        while state.pending.contains_key(&token) && !state.stopping {
            self.moved.wait(&mut state);
        }
    }

    /// As [`Queue::settle`], for a task.
    pub(super) fn poll_settled(&self, token: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.pending.contains_key(&token) && !state.stopping {
            return state.wait(cx);
        }
        Poll::Ready(())
    }

    /// Ends it, and waits for what is under way.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        self.tell(state);
        let mut state = self.state.lock();
        while !state.running.is_empty() {
            self.moved.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = (TopicId::from_bytes([1; 16]), 0);
    const B: Key = (TopicId::from_bytes([1; 16]), 1);

    #[test]
    fn partition_marked_twice_is_looked_at_once() {
        let queue = Queue::default();
        queue.mark([A, B], 1);
        queue.mark([A], 2);
        assert_eq!((queue.take(), queue.take()), (Some(A), Some(B)));
        queue.done(B);
        queue.settle(1);
        queue.done(A);
        queue.settle(2);
        queue.stop();
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn task_that_waits_is_woken_by_whatever_moves() {
        let queue = Queue::default();
        let cx = Context::from_waker(Waker::noop());
        assert!(queue.poll_take(&cx).is_pending());
        queue.mark([A], 1);
        assert!(queue.state.lock().waiting.is_empty(), "it was woken");
        assert!(queue.poll_settled(1, &cx).is_pending());
        assert_eq!(queue.poll_take(&cx), Poll::Ready(Some(A)));
        assert!(queue.poll_settled(1, &cx).is_pending(), "one at work");
        queue.done(A);
        assert!(queue.state.lock().waiting.is_empty(), "it was woken");
        assert!(queue.poll_settled(1, &cx).is_ready());
        queue.stop();
        assert_eq!(queue.poll_take(&cx), Poll::Ready(None));
    }

    #[test]
    fn partition_marked_while_it_is_worked_on_is_looked_at_again() {
        let queue = Queue::default();
        queue.mark([A], 1);
        assert_eq!(queue.take(), Some(A));
        queue.mark([A, B], 2);
        assert_eq!(queue.take(), Some(B), "A is not given to two threads");
        queue.done(A);
        assert_eq!(queue.take(), Some(A));
        queue.done(A);
        queue.done(B);
        queue.settle(2);
        assert!(queue.state.lock().pending.is_empty());
    }
}
