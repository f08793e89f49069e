//! A combining lock: who finds the owner busy leaves its input, and the owner does the work.
//!
//! It is how a partition's log has one writer without a thread of its own. An uncontended input is
//! applied by its caller at once (no hop to another thread, which on an idle core costs more than
//! the append); contended inputs pile up behind the one that is being applied and go down together
//! in one call, so the batch grows with the contention.
//!
//! Always: inputs are applied in the order in which [`Combiner::submit`] took them; every input is
//! applied exactly once; nobody blocks in `submit`. Not here: what applying means.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};

use crossbeam_queue::SegQueue;
use parking_lot::Mutex;

/// What the one owner does with the inputs that gathered.
pub(crate) trait Combine {
    /// What a caller submits.
    type Input;
    /// What it gets back.
    type Output;

    /// Applies `inputs` in order and pushes exactly one output for each, in the same order.
    fn apply(&mut self, inputs: &mut VecDeque<Self::Input>, outputs: &mut Vec<Self::Output>);
}

/// The owner `T` behind its lock, and the inputs left for it.
///
/// The inbox grows only with callers that wait for their output, so its bound is theirs: the
/// in-flight limit of each connection.
pub(crate) struct Combiner<T: Combine> {
    inbox: SegQueue<Left<T>>,
    owner: Mutex<Owner<T>>,
}

struct Owner<T: Combine> {
    inner: T,
    inputs: VecDeque<T::Input>,
    outputs: Vec<T::Output>,
    slots: Vec<Option<Arc<Slot<T::Output>>>>,
}

struct Left<T: Combine> {
    input: T::Input,
    slot: Arc<Slot<T::Output>>,
}

/// Where the owner puts the output of an input that it found in the inbox.
struct Slot<O> {
    state: Mutex<SlotState<O>>,
}

enum SlotState<O> {
    Waiting(Option<Waker>),
    Done(O),
    Taken,
}

impl<O> Slot<O> {
    fn new() -> Self {
        Self {
            state: Mutex::new(SlotState::Waiting(None)),
        }
    }

    fn fill(&self, output: O) {
        let before = std::mem::replace(&mut *self.state.lock(), SlotState::Done(output));
        if let SlotState::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// The output of a submitted input, now or later. Dropping it abandons the output, not the input.
#[must_use = "the outcome of the input is in it"]
pub(crate) struct Submitted<O>(State<O>);

enum State<O> {
    Ready(Option<O>),
    Left(Arc<Slot<O>>),
}

impl<O: Unpin> Future for Submitted<O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O> {
        match &mut self.0 {
            State::Ready(output) => Poll::Ready(
                output
                    .take()
                    .expect("a future is not polled after it is done"),
            ),
            State::Left(slot) => {
                let mut state = slot.state.lock();
                match std::mem::replace(&mut *state, SlotState::Taken) {
                    SlotState::Done(output) => Poll::Ready(output),
                    SlotState::Waiting(_) => {
                        *state = SlotState::Waiting(Some(context.waker().clone()));
                        Poll::Pending
                    }
                    SlotState::Taken => unreachable!("a future is not polled after it is done"),
                }
            }
        }
    }
}

impl<T: Combine> Combiner<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inbox: SegQueue::new(),
            owner: Mutex::new(Owner {
                inner,
                inputs: VecDeque::new(),
                outputs: Vec::new(),
                slots: Vec::new(),
            }),
        }
    }

    /// Applies `input`, or leaves it for whoever is applying just now.
    pub(crate) fn submit(&self, input: T::Input) -> Submitted<T::Output> {
        let output = if let Some(mut owner) = self.owner.try_lock() {
            self.take_inbox(&mut owner);
            owner.inputs.push_back(input);
            owner.slots.push(None);
            let own = owner.apply();
            drop(owner);
            State::Ready(own)
        } else {
            let slot = Arc::new(Slot::new());
            self.inbox.push(Left {
                input,
                slot: Arc::clone(&slot),
            });
            State::Left(slot)
        };
        self.drain();
        Submitted(output)
    }

    /// Runs `work` as the owner, after all that was submitted before it, and blocks until then.
    /// For structural work (roll, retain, checkpoint) off the request path.
    pub(crate) fn with_owner<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut owner = self.owner.lock();
        self.take_inbox(&mut owner);
        owner.apply();
        let result = work(&mut owner.inner);
        drop(owner);
        self.drain();
        result
    }

    /// Applies what was left in the inbox, unless somebody else is owner now and will see it.
    ///
    /// No input is forgotten: one side pushes, fences, then tries the lock; the other unlocks,
    /// fences, then looks at the inbox. The fences are sequentially consistent, so at least one of
    /// the two sees what the other did.
    fn drain(&self) {
        loop {
            fence(Ordering::SeqCst);
            if self.inbox.is_empty() {
                return;
            }
            let Some(mut owner) = self.owner.try_lock() else {
                return;
            };
            self.take_inbox(&mut owner);
            owner.apply();
        }
    }

    fn take_inbox(&self, owner: &mut Owner<T>) {
        // What is pushed from here on is for the next turn: a turn is finite.
        for _ in 0..self.inbox.len() {
            let Some(Left { input, slot }) = self.inbox.pop() else {
                return;
            };
            owner.inputs.push_back(input);
            owner.slots.push(Some(slot));
        }
    }
}

/// A panic half-way through applying leaves a state that nobody knows: going on could lose what was
/// acknowledged, while ending the process is a case that recovery covers.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl<T: Combine> Owner<T> {
    /// Applies the gathered inputs; the output of the one without a slot (the caller's own, always
    /// last) is returned.
    fn apply(&mut self) -> Option<T::Output> {
        if self.inputs.is_empty() {
            return None;
        }
        let taken = self.inputs.len();
        let guard = AbortOnPanic;
        self.inner.apply(&mut self.inputs, &mut self.outputs);
        std::mem::forget(guard);
        assert_eq!(self.outputs.len(), taken, "one output for each input");
        assert!(self.inputs.is_empty(), "every input is applied");
        let mut own = None;
        for (slot, output) in self.slots.drain(..).zip(self.outputs.drain(..)) {
            match slot {
                Some(slot) => slot.fill(output),
                None => own = Some(output),
            }
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Appends what it is given and answers with the place it got.
    #[derive(Default)]
    struct Ledger {
        entries: Vec<(usize, usize)>,
        turns: usize,
    }

    impl Combine for Ledger {
        type Input = (usize, usize);
        type Output = usize;

        fn apply(&mut self, inputs: &mut VecDeque<(usize, usize)>, outputs: &mut Vec<usize>) {
            self.turns += 1;
            for input in inputs.drain(..) {
                outputs.push(self.entries.len());
                self.entries.push(input);
            }
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn an_uncontended_input_is_applied_at_once() {
        let combiner = Combiner::new(Ledger::default());
        assert_eq!(block_on(combiner.submit((0, 0))), 0);
        assert_eq!(combiner.with_owner(|ledger| ledger.turns), 1);
    }

    #[test]
    fn inputs_left_while_the_owner_is_busy_go_down_together_and_in_order() {
        let combiner = Combiner::new(Ledger::default());
        let left = combiner.with_owner(|_| [combiner.submit((0, 0)), combiner.submit((0, 1))]);
        let places: Vec<usize> = left.into_iter().map(block_on).collect();
        assert_eq!(places, [0, 1]);
        combiner.with_owner(|ledger| {
            assert_eq!(ledger.entries, [(0, 0), (0, 1)]);
            assert_eq!(ledger.turns, 1);
        });
    }

    #[test]
    fn every_input_of_every_thread_is_applied_once_and_in_its_order() {
        const THREADS: usize = 4;
        const INPUTS: usize = 5_000;
        let combiner = Combiner::new(Ledger::default());
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (combiner, barrier) = (&combiner, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    // Several in flight, as a pipelining connection has.
                    for chunk in 0..INPUTS / 5 {
                        let sent: Vec<_> = (0..5)
                            .map(|i| combiner.submit((thread, chunk * 5 + i)))
                            .collect();
                        sent.into_iter().for_each(|submitted| {
                            block_on(submitted);
                        });
                    }
                });
            }
        });
        combiner.with_owner(|ledger| {
            for thread in 0..THREADS {
                let own: Vec<usize> = ledger
                    .entries
                    .iter()
                    .filter(|e| e.0 == thread)
                    .map(|e| e.1)
                    .collect();
                assert_eq!(own, (0..INPUTS).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn an_abandoned_output_does_not_lose_the_input() {
        let combiner = Combiner::new(Ledger::default());
        combiner.with_owner(|_| drop(combiner.submit((7, 7))));
        combiner.with_owner(|ledger| assert_eq!(ledger.entries, [(7, 7)]));
    }
}
