//! Every interleaving of a few threads on the code that ships, by loom.
//!
//! Each model states what holds after, or during, a race, and has weakened twins: the same model
//! with one place broken through [`weakened`](crate::sync::weakened), which must fail. A twin that
//! passes says that the place is not needed or the model does not see it. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p plimsoll-watermark --release --lib`.

mod advancing;
mod changing;
mod reading;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use plimsoll_types::{LeaderEpoch, NodeId, Offset};

use crate::sync::{Weakness, weaken};
use crate::{Counts, TenureStart, Watermarks};

/// How often a thread may be taken off the processor before it blocks or ends, unless
/// `LOOM_MAX_PREEMPTIONS` says otherwise. Every twin fails with two; with three the whole run
/// takes seconds, with four minutes.
const MAX_PREEMPTIONS: usize = 3;

/// Runs `model` in every order of its threads, with one place broken or none.
fn explore(broken: Option<Weakness>, model: impl Fn() + Sync + Send + 'static) {
    weaken(broken);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(MAX_PREEMPTIONS));
    builder.check(model);
    weaken(None);
}

const FIVE: Offset = Offset::new(5);
const TEN: Offset = Offset::new(10);
const FIRST: LeaderEpoch = LeaderEpoch::new(1);
const SECOND: LeaderEpoch = LeaderEpoch::new(2);

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

/// Replica 1 leads and has written and synced up to `log_end`; 2 and 3 follow and are tracked.
fn start(maximal_isr: &[u32], log_end: Offset, counts: Counts) -> TenureStart {
    TenureStart {
        leader_epoch: FIRST,
        log_start: Offset::ZERO,
        durable_end: log_end,
        log_end,
        high_watermark: Offset::ZERO,
        local: node(1),
        followers: vec![node(2), node(3)],
        fresh: Vec::new(),
        maximal_isr: maximal_isr.iter().copied().map(node).collect(),
        committed_isr: maximal_isr.len(),
        min_isr: 1,
        counts,
    }
}

/// The leader at 10, the others at 5.
fn leader_ahead(maximal_isr: &[u32]) -> Arc<Watermarks> {
    let marks = Watermarks::new(start(maximal_isr, TEN, Counts::Written));
    for follower in [2, 3] {
        follow(&marks, follower, FIVE);
    }
    Arc::new(marks)
}

/// A partition of one replica whose log is empty.
fn alone(counts: Counts) -> Arc<Watermarks> {
    Arc::new(Watermarks::new(start(&[1], Offset::ZERO, counts)))
}

fn follow(marks: &Watermarks, follower: u32, end: Offset) {
    marks
        .publish_follower(node(follower), end, end)
        .expect("it is tracked");
}

/// Remembers whether it was woken.
#[derive(Default)]
struct Alarm(AtomicBool);

impl Alarm {
    fn went_off(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A task that polls once now and, if it was woken for it, once more when asked.
struct Sleeper<F: Future> {
    future: Pin<Box<F>>,
    alarm: Arc<Alarm>,
    output: Option<F::Output>,
}

impl<F: Future> Sleeper<F> {
    fn start(future: F) -> Self {
        let mut sleeper = Self {
            future: Box::pin(future),
            alarm: Arc::default(),
            output: None,
        };
        sleeper.poll();
        sleeper
    }

    fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.alarm));
        if let Poll::Ready(output) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.output = Some(output);
        }
    }

    /// What came of it, once all others are done.
    fn finish(mut self) -> F::Output {
        if self.output.is_none() {
            assert!(self.alarm.went_off(), "lost wake-up");
            self.poll();
        }
        self.output.expect("woken for nothing")
    }
}
