//! Committed entries on their way to their reader.
//!
//! Always: every committed entry once and in order; what waits is bounded, and who applies waits
//! for room; a snapshot takes the place of everything that waits.

use crate::{Entry, Snapshot, Stopped};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// What is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next entry. Indexes grow; not every index is an entry of the application.
    Entry(Entry),
    /// This node was too far behind for entries: what is applied is replaced by this.
    Snapshot(Snapshot),
}

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.bytes.len(),
            Self::Snapshot(snapshot) => snapshot.bytes.len(),
        }
    }

    const fn index(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.index,
            Self::Snapshot(snapshot) => snapshot.index,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    state: Mutex<State>,
    /// For the reader.
    events: Condvar,
    /// For who applies.
    room: Notify,
    max_bytes: usize,
}

#[derive(Debug)]
struct State {
    unread: VecDeque<Event>,
    bytes: usize,
    /// The last event that was put in.
    last: u64,
    has_reader: bool,
    /// The reader's, if it awaits an event.
    reader: Option<Waker>,
    stopped: Option<Stopped>,
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Stream {
    pub(crate) fn new(last: u64, max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                unread: VecDeque::new(),
                bytes: 0,
                last,
                has_reader: true,
                reader: None,
                stopped: None,
            }),
            events: Condvar::new(),
            room: Notify::new(),
            max_bytes,
        }
    }

    /// Puts an event in once there is room for it.
    pub(crate) async fn push(&self, event: Event) {
        let mut event = Some(event);
        loop {
            let room = self.room.notified();
            if self.try_push(&mut event) {
                return;
            }
            room.await;
        }
    }

    fn try_push(&self, event: &mut Option<Event>) -> bool {
        let bytes = event.as_ref().map_or(0, Event::bytes);
        let mut state = self.state.lock();
        let replaces = matches!(event, Some(Event::Snapshot(_)));
        if replaces {
            state.unread.clear();
            state.bytes = 0;
        }
        let waits = state.has_reader && state.stopped.is_none() && state.bytes > 0;
        if waits && state.bytes + bytes > self.max_bytes {
            return false;
        }
        if let Some(event) = event.take() {
            let index = event.index();
            assert!(index > state.last || replaces, "the stream never goes back");
            state.last = index;
            if state.has_reader {
                state.bytes += bytes;
                state.unread.push_back(event);
                self.events.notify_all();
                state.wake();
            }
        }
        true
    }

    /// The index of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().last
    }

    pub(crate) fn stop(&self, reason: Arc<str>) {
        let mut state = self.state.lock();
        state.stopped.get_or_insert(Stopped { reason });
        self.events.notify_all();
        state.wake();
        self.room.notify_one();
    }

    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped.clone()
    }

    fn read(&self, state: &mut State) -> Option<Event> {
        let event = state.unread.pop_front()?;
        state.bytes -= event.bytes();
        self.room.notify_one();
        Some(event)
    }
}

/// What is committed after the snapshot that [`super::open`] returned, in order, once.
#[derive(Debug)]
pub struct Committed(pub(crate) Arc<Stream>);

impl Committed {
    /// The next event; waits, blocking, until there is one.
    ///
    /// # Errors
    /// The quorum stopped, and all that was committed before was read.
    pub fn next(&self) -> Result<Event, Stopped> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(event) = self.0.read(&mut state) {
                return Ok(event);
            }
            if let Some(stopped) = &state.stopped {
                return Err(stopped.clone());
            }
            self.0.events.wait(&mut state);
        }
    }

    /// As [`Committed::next`], for a task; one at a time.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Event, Stopped>> {
        let mut state = self.0.state.lock();
        if let Some(event) = self.0.read(&mut state) {
            return Poll::Ready(Ok(event));
        }
        if let Some(stopped) = &state.stopped {
            return Poll::Ready(Err(stopped.clone()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next event, if there is one.
    #[must_use]
    pub fn try_next(&self) -> Option<Event> {
        self.0.read(&mut self.0.state.lock())
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.has_reader = false;
        while self.0.read(&mut state).is_some() {}
        self.0.room.notify_one();
    }
}
