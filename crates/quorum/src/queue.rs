//! Proposals on their way to the disk, and committed entries on their way to their reader.
//!
//! Always: what waits in both directions is bounded; an entry is committed before its proposer is
//! told, and told before or after it is read, never instead.

use crate::Entry;
use crate::format::MAX_ENTRY_BYTES;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Nothing is written to the metadata log any more; the process should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log takes no entries: {reason}")]
pub struct Stopped {
    /// Why.
    pub reason: Arc<str>,
}

/// Why an entry is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The log has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It is larger than an entry may be.
    #[error("an entry of {bytes} bytes is above the limit of {MAX_ENTRY_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// As many bytes wait as may.
    #[error("{queued_bytes} bytes of entries wait already")]
    Busy {
        /// How many wait.
        queued_bytes: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// For the writer: there are proposals, or the queue closes.
    proposed: Condvar,
    /// For proposers and the stream: something was committed, or the log stopped.
    committed: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct State {
    proposed: Vec<Entry>,
    unread: VecDeque<Entry>,
    /// Bytes proposed and not yet read off the stream.
    bytes: usize,
    last_proposed: u64,
    last_committed: u64,
    wakers: BTreeMap<u64, Waker>,
    stopped: Option<Stopped>,
    closing: bool,
    /// Whether anyone reads the stream.
    has_reader: bool,
}

impl Queue {
    pub(crate) fn new(last_index: u64, max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                proposed: Vec::new(),
                unread: VecDeque::new(),
                bytes: 0,
                last_proposed: last_index,
                last_committed: last_index,
                wakers: BTreeMap::new(),
                stopped: None,
                closing: false,
                has_reader: true,
            }),
            proposed: Condvar::new(),
            committed: Condvar::new(),
            max_bytes,
        }
    }

    pub(crate) fn propose(queue: &Arc<Self>, bytes: Bytes) -> Result<Proposal, ProposeError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            let bytes = bytes.len();
            return Err(ProposeError::TooLarge { bytes });
        }
        let mut state = queue.state.lock();
        if let Some(stopped) = &state.stopped {
            return Err(stopped.clone().into());
        }
        let queued_bytes = state.bytes;
        if queued_bytes > 0 && queued_bytes + bytes.len() > queue.max_bytes {
            return Err(ProposeError::Busy { queued_bytes });
        }
        state.bytes += bytes.len();
        state.last_proposed += 1;
        let index = state.last_proposed;
        state.proposed.push(Entry { index, bytes });
        queue.proposed.notify_one();
        let queue = Arc::clone(queue);
        Ok(Proposal { queue, index })
    }

    /// Waits for proposals and takes them all, with the last committed index; `None` when the
    /// queue is closed and empty.
    pub(crate) fn take(&self) -> Option<(Vec<Entry>, u64)> {
        let mut state = self.state.lock();
        while state.proposed.is_empty() {
            if state.closing || state.stopped.is_some() {
                return None;
            }
            self.proposed.wait(&mut state);
        }
        Some((std::mem::take(&mut state.proposed), state.last_committed))
    }

    /// `entries` are on disk.
    pub(crate) fn commit(&self, entries: Vec<Entry>) {
        let mut state = self.state.lock();
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return;
        };
        assert!(last > state.last_committed, "commits go forward");
        state.last_committed = last;
        if state.has_reader {
            state.unread.extend(entries);
        } else {
            state.bytes -= entries.iter().map(|entry| entry.bytes.len()).sum::<usize>();
        }
        let later = state.wakers.split_off(&(last + 1));
        let woken = std::mem::replace(&mut state.wakers, later);
        self.tell(state, woken);
    }

    /// Nothing is written from now on.
    pub(crate) fn stop(&self, reason: &str) {
        let mut state = self.state.lock();
        let reason = reason.into();
        state.stopped.get_or_insert(Stopped { reason });
        state.proposed.clear();
        let woken = std::mem::take(&mut state.wakers);
        self.tell(state, woken);
    }

    fn tell(&self, state: MutexGuard<'_, State>, woken: BTreeMap<u64, Waker>) {
        drop(state);
        self.committed.notify_all();
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.proposed.notify_all();
    }

    pub(crate) fn committed_index(&self) -> u64 {
        self.state.lock().last_committed
    }

    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped.clone()
    }
}

impl State {
    fn outcome(&self, index: u64) -> Option<Result<u64, Stopped>> {
        if self.last_committed >= index {
            return Some(Ok(index));
        }
        self.stopped.clone().map(Err)
    }
}

/// An entry on its way. Its index is known when it is committed; dropping this does not take the
/// entry back.
#[must_use = "an entry is not committed before its proposal says so"]
#[derive(Debug)]
pub struct Proposal {
    queue: Arc<Queue>,
    index: u64,
}

impl Proposal {
    /// Waits, blocking, until the entry is committed.
    ///
    /// # Errors
    /// The log stopped before; the entry may or may not be there after the next open.
    pub fn wait(self) -> Result<u64, Stopped> {
        let mut state = self.queue.state.lock();
        loop {
            match state.outcome(self.index) {
                Some(outcome) => return outcome,
                None => self.queue.committed.wait(&mut state),
            }
        }
    }
}

impl Future for Proposal {
    type Output = Result<u64, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.queue.state.lock();
        match state.outcome(self.index) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.wakers.insert(self.index, context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Proposal {
    fn drop(&mut self) {
        self.queue.state.lock().wakers.remove(&self.index);
    }
}

/// Every entry that is committed after the open, in order, once.
#[derive(Debug)]
pub struct Committed {
    queue: Arc<Queue>,
}

impl Committed {
    pub(crate) const fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next entry; waits, blocking, until there is one.
    ///
    /// # Errors
    /// The log stopped, and every entry committed before was read.
    pub fn next(&self) -> Result<Entry, Stopped> {
        let mut state = self.queue.state.lock();
        loop {
            if let Some(entry) = read(&mut state) {
                return Ok(entry);
            }
            if let Some(stopped) = &state.stopped {
                return Err(stopped.clone());
            }
            self.queue.committed.wait(&mut state);
        }
    }

    /// The next entry, if it is committed.
    #[must_use]
    pub fn try_next(&self) -> Option<Entry> {
        read(&mut self.queue.state.lock())
    }
}

fn read(state: &mut State) -> Option<Entry> {
    let entry = state.unread.pop_front()?;
    state.bytes -= entry.bytes.len();
    Some(entry)
}

impl Drop for Committed {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.has_reader = false;
        while read(&mut state).is_some() {}
    }
}
