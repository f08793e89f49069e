//! The requests of one connection that are under way: started in the order in which they came,
//! finished in any order, answered in the order in which they came.
//!
//! Knows no sockets. Holds as many requests as it is given; its owner keeps the limit. A request
//! costs no allocation once the connection is warm: the pinned places of finished futures are
//! used again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use plimsoll_broker::Answer;

/// Pinned places kept for later requests; a place is as large as the service's future.
const MAX_SPARE: usize = 8;

type Place<F> = Pin<Box<Option<F>>>;

/// Requests under way, oldest first.
pub(crate) struct Pipeline<F> {
    requests: VecDeque<InFlight<F>>,
    spare: Vec<Place<F>>,
}

struct InFlight<F> {
    /// Bytes of the request's frame, for whoever counts them.
    frame_bytes: usize,
    state: State<F>,
}

enum State<F> {
    Running(Place<F>),
    /// Finished before an older one.
    Answered(Answer),
}

/// A request whose turn to be answered has come.
pub(crate) struct Finished {
    pub(crate) frame_bytes: usize,
    pub(crate) answer: Answer,
}

impl<F: Future<Output = Answer>> Pipeline<F> {
    pub(crate) fn new() -> Self {
        Self {
            requests: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes a request in and polls it for the first time, before any later one.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, frame_bytes: usize, request: F) {
        let mut place = self.spare.pop().unwrap_or_else(|| Box::pin(None));
        place.set(Some(request));
        let state = match poll_place(&mut place, cx) {
            Poll::Ready(answer) => {
                self.keep(place);
                State::Answered(answer)
            }
            Poll::Pending => State::Running(place),
        };
        self.requests.push_back(InFlight { frame_bytes, state });
    }

    /// Polls every request that still runs.
    pub(crate) fn poll_running(&mut self, cx: &mut Context<'_>) {
        for at in 0..self.requests.len() {
            let request = &mut self.requests[at];
            let State::Running(place) = &mut request.state else {
                continue;
            };
            if let Poll::Ready(answer) = poll_place(place, cx) {
                let done = std::mem::replace(&mut request.state, State::Answered(answer));
                if let State::Running(place) = done {
                    self.keep(place);
                }
            }
        }
    }

    /// Takes out the oldest request if it has been answered.
    pub(crate) fn pop_finished(&mut self) -> Option<Finished> {
        let oldest = self.requests.pop_front()?;
        match oldest.state {
            State::Answered(answer) => Some(Finished {
                frame_bytes: oldest.frame_bytes,
                answer,
            }),
            State::Running(_) => {
                self.requests.push_front(oldest);
                None
            }
        }
    }

    fn keep(&mut self, mut place: Place<F>) {
        if self.spare.len() < MAX_SPARE {
            place.set(None);
            self.spare.push(place);
        }
    }
}

fn poll_place<F: Future>(place: &mut Place<F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    place
        .as_mut()
        .as_pin_mut()
        .expect("a place in use holds a future")
        .poll(cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Waker;

    /// A request that is answered (with nothing) once its flag is up.
    fn request(done: &Arc<AtomicBool>) -> impl Future<Output = Answer> + use<> {
        let done = Arc::clone(done);
        poll_fn(move |_| {
            if done.load(Ordering::Relaxed) {
                Poll::Ready(Answer::Nothing)
            } else {
                Poll::Pending
            }
        })
    }

    #[test]
    fn a_request_that_finishes_early_waits_for_the_older_one() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut pipeline = Pipeline::new();
        let [old, young] = [
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(true)),
        ];
        pipeline.start(&mut cx, 1, request(&old));
        pipeline.start(&mut cx, 2, request(&young));
        assert!(pipeline.pop_finished().is_none());

        old.store(true, Ordering::Relaxed);
        pipeline.poll_running(&mut cx);
        let order: Vec<_> = std::iter::from_fn(|| pipeline.pop_finished())
            .map(|f| f.frame_bytes)
            .collect();
        assert_eq!(order, [1, 2]);
    }

    #[test]
    fn places_are_used_again() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut pipeline = Pipeline::new();
        let done = Arc::new(AtomicBool::new(true));
        for _ in 0..10 {
            pipeline.start(&mut cx, 0, request(&done));
            assert!(pipeline.pop_finished().is_some());
        }
        assert_eq!(pipeline.spare.len(), 1);
    }
}
