//! Real threads on the real pointers, which loom does not model: everyone at once, to the end.

#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Mark, TenureStart, Watermarks};

const RECORDS: u64 = 20_000;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

fn rule(isr: &[u32]) -> TenureStart {
    TenureStart {
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        durable_end: Offset::ZERO,
        log_end: Offset::ZERO,
        high_watermark: Offset::ZERO,
        local: node(1),
        followers: vec![node(2), node(3)],
        fresh: Vec::new(),
        maximal_isr: isr.iter().copied().map(node).collect(),
        committed_isr: isr.len(),
        min_isr: 2,
        counts: Counts::Durable,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Sleeps until the future completes; a lost wake-up hangs the test.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Publishes whatever the leader's log end has come to, until it has come to the end.
fn keep_up(marks: &Watermarks, publish: impl Fn(Offset)) {
    let mut reached = Offset::ZERO;
    while reached.get() < RECORDS {
        let wait = marks.wait(Mark::LogEnd, reached + 1);
        reached = block_on(wait).expect("nothing is cut").log_end;
        publish(reached);
    }
}

/// Looks until told to stop, and finds the offsets in order and never going back.
fn watch_the_order(marks: &Watermarks, done: &AtomicBool) {
    let mut before = marks.snapshot();
    while !done.load(Ordering::Relaxed) {
        let now = marks.snapshot();
        assert!(now.log_start <= now.high_watermark, "W5");
        assert!(now.high_watermark <= now.durable_end, "W2");
        assert!(now.durable_end <= now.log_end, "W3");
        assert!(before.high_watermark <= now.high_watermark, "W4");
        assert!(before.log_end <= now.log_end, "W4");
        before = now;
    }
}

#[test]
fn all_that_was_published_while_the_isr_changed_is_committed_in_the_end() {
    let marks = &Watermarks::new(rule(&[1, 2, 3]));
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for end in 1..=RECORDS {
                marks.publish_log_end(Offset::new(end));
                // Lets the others have their part on a machine with few cores.
                if end % 32 == 0 {
                    thread::yield_now();
                }
            }
        });
        scope.spawn(|| keep_up(marks, |end| marks.publish_durable_end(end)));
        for follower in [node(2), node(3)] {
            scope.spawn(move || {
                keep_up(marks, |end| {
                    marks
                        .publish_follower(follower, end, end)
                        .expect("it is tracked");
                });
            });
        }
        scope.spawn(|| watch_the_order(marks, done));
        let changes = scope.spawn(|| {
            for isr in [&[1, 2, 3][..], &[1, 2], &[1], &[1, 3]].iter().cycle() {
                marks.begin(|_| rule(isr));
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            marks.begin(|_| rule(&[1, 2, 3]));
        });
        for end in (1..=RECORDS).step_by(97) {
            let seen = block_on(marks.wait(Mark::HighWatermark, Offset::new(end)));
            assert!(seen.expect("nothing is cut").high_watermark.get() >= end);
        }
        block_on(marks.wait(Mark::HighWatermark, Offset::new(RECORDS))).expect("nothing is cut");
        done.store(true, Ordering::Relaxed);
        changes.join().expect("it ran");
    });
    assert_eq!(marks.high_watermark().get(), RECORDS);
    assert!(!marks.recompute(), "something was left to do");
}
