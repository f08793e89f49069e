//! Proposals on their way to the disk.
//!
//! Always: what waits is bounded; an entry is committed before its proposer is
//! told.

use crate::journal::format::MAX_ENTRY_BYTES;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Nothing is written to the metadata log any more; the process should end. What was proposed and
/// not committed may or may not be there after the next open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log takes no entries: {reason}")]
pub struct Stopped {
    /// Why.
    pub reason: Arc<str>,
}

/// Why an entry is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProposeError {
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

/// Why a proposal is not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommitError {
    /// The log stopped before.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The disk has no room for it. It is not in the log and never will be; the log takes others,
    /// and this one again once there is room.
    #[error("the disk has no room for the entry, which was not written: {reason}")]
    Full {
        /// What the disk said.
        reason: Arc<str>,
    },
}

/// Which entries may use the room that is kept for a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Only what is free beside the reserve: for entries that can wait for space.
    Free,
    /// The reserve as well: for entries that lead to more space, or that a start needs.
    Reserved,
}

/// An entry that waits for the writer.
#[derive(Debug)]
pub(crate) struct Proposed {
    /// Its place among all that was ever proposed; what is refused leaves gaps in no log.
    ticket: u64,
    pub(crate) bytes: Bytes,
    pub(crate) room: Room,
    /// Nothing is written: room for so many bytes is asked for.
    pub(crate) asks: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// For the writer: there are proposals, or the queue closes.
    proposed: Condvar,
    /// For proposers: something was committed, or the log stopped.
    committed: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct State {
    proposed: Vec<Proposed>,
    /// Bytes proposed and not yet decided on.
    bytes: usize,
    last_ticket: u64,
    last_committed: u64,
    /// By ticket, those whose proposals are still held.
    waiting: BTreeMap<u64, Waiting>,
    stopped: Option<Stopped>,
    closing: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Result<u64, CommitError>>,
    waker: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(last_index: u64, max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                proposed: Vec::new(),
                bytes: 0,
                last_ticket: 0,
                last_committed: last_index,
                waiting: BTreeMap::new(),
                stopped: None,
                closing: false,
            }),
            proposed: Condvar::new(),
            committed: Condvar::new(),
            max_bytes,
        }
    }

    pub(crate) fn propose(
        queue: &Arc<Self>,
        bytes: Bytes,
        room: Room,
        asks: Option<u64>,
    ) -> Result<Proposal, ProposeError> {
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
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.waiting.insert(ticket, Waiting::default());
        state.proposed.push(Proposed {
            ticket,
            bytes,
            room,
            asks,
        });
        queue.proposed.notify_one();
        let queue = Arc::clone(queue);
        Ok(Proposal { queue, ticket })
    }

    /// Resolves when nothing is written any more, with the reason.
    pub(crate) fn ended(queue: &Arc<Self>) -> Proposal {
        let mut state = queue.state.lock();
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.waiting.insert(ticket, Waiting::default());
        let queue = Arc::clone(queue);
        Proposal { queue, ticket }
    }

    /// Waits for proposals and takes them all, with the last committed index; `None` when the
    /// queue is closed and empty.
    pub(crate) fn take(&self) -> Option<(Vec<Proposed>, u64)> {
        let mut state = self.state.lock();
        while state.proposed.is_empty() {
            if state.closing || state.stopped.is_some() {
                return None;
            }
            self.proposed.wait(&mut state);
        }
        Some((std::mem::take(&mut state.proposed), state.last_committed))
    }

    /// `group` is on disk, right behind the last committed entry.
    pub(crate) fn commit(&self, group: Vec<Proposed>) {
        let mut state = self.state.lock();
        let mut woken = Vec::new();
        for Proposed { ticket, bytes, .. } in group {
            state.last_committed += 1;
            let index = state.last_committed;
            woken.extend(state.decide(ticket, Ok(index)));
            state.bytes -= bytes.len();
        }
        self.tell(state, woken);
    }

    /// There is the room that was asked for.
    pub(crate) fn grant(&self, asked: &Proposed) {
        let mut state = self.state.lock();
        let index = state.last_committed;
        let woken = state.decide(asked.ticket, Ok(index)).into_iter().collect();
        self.tell(state, woken);
    }

    /// Nothing of `group` is on disk, for want of room.
    pub(crate) fn refuse(&self, group: Vec<Proposed>, error: &std::io::Error) {
        let reason: Arc<str> = error.to_string().into();
        let mut state = self.state.lock();
        let mut woken = Vec::new();
        for Proposed { ticket, bytes, .. } in group {
            state.bytes -= bytes.len();
            let reason = Arc::clone(&reason);
            woken.extend(state.decide(ticket, Err(CommitError::Full { reason })));
        }
        self.tell(state, woken);
    }

    /// Nothing is written from now on.
    pub(crate) fn stop(&self, reason: &str) {
        let mut state = self.state.lock();
        let reason = reason.into();
        state.stopped.get_or_insert(Stopped { reason });
        state.proposed.clear();
        let wakers = state.waiting.values_mut();
        let woken = wakers.filter_map(|waiting| waiting.waker.take()).collect();
        self.tell(state, woken);
    }

    fn tell(&self, state: MutexGuard<'_, State>, woken: Vec<Waker>) {
        drop(state);
        self.committed.notify_all();
        for waker in woken {
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
    /// Notes what became of a proposal; who is to be woken for it.
    fn decide(&mut self, ticket: u64, outcome: Result<u64, CommitError>) -> Option<Waker> {
        let waiting = self.waiting.get_mut(&ticket)?;
        waiting.outcome = Some(outcome);
        waiting.waker.take()
    }

    fn outcome(&self, ticket: u64) -> Option<Result<u64, CommitError>> {
        let decided = self.waiting.get(&ticket).and_then(|w| w.outcome.clone());
        decided.or_else(|| Some(Err(self.stopped.clone()?.into())))
    }
}

/// An entry on its way. Its index is known when it is committed; dropping this does not take the
/// entry back.
#[must_use = "an entry is not committed before its proposal says so"]
#[derive(Debug)]
pub(crate) struct Proposal {
    queue: Arc<Queue>,
    ticket: u64,
}

impl Proposal {
    /// Waits, blocking, until the entry is committed.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub(crate) fn wait(self) -> Result<u64, CommitError> {
        let mut state = self.queue.state.lock();
        loop {
            match state.outcome(self.ticket) {
                Some(outcome) => return outcome,
                None => self.queue.committed.wait(&mut state),
            }
        }
    }
}

impl Future for Proposal {
    type Output = Result<u64, CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.queue.state.lock();
        match state.outcome(self.ticket) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                let waiting = state.waiting.entry(self.ticket).or_default();
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Proposal {
    fn drop(&mut self) {
        self.queue.state.lock().waiting.remove(&self.ticket);
    }
}
