//! Waiters against publishers, against each other, and against a tenure that ends.

use std::sync::Arc;
use std::task::{Context, Waker};

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::{Alarm, FIRST, FIVE, SECOND, Sleeper, TEN, alone, explore, start};
use crate::sync::Weakness;
use crate::{Counts, Mark, Signal, TenureStart, WatchState};

fn wait_against_publish(mark: Mark, broken: Option<Weakness>) {
    explore(broken, move || {
        let marks = alone(Counts::Written);
        let other = Arc::clone(&marks);
        let writer = thread::spawn(move || other.publish_log_end(TEN));
        let sleeper = Sleeper::start(marks.wait(mark, TEN));
        writer.join().expect("it ran");
        let seen = sleeper.finish().expect("nothing was cut");
        assert_eq!(seen.value(mark), TEN);
    });
}

#[test]
fn who_waits_for_the_high_watermark_while_it_moves_is_woken() {
    wait_against_publish(Mark::HighWatermark, None);
}

#[test]
fn who_waits_for_the_log_end_while_it_moves_is_woken() {
    wait_against_publish(Mark::LogEnd, None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn who_looks_and_then_registers_sleeps_for_ever() {
    wait_against_publish(Mark::HighWatermark, Some(Weakness::CheckBeforeRegister));
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn who_registers_without_a_fence_sleeps_for_ever() {
    wait_against_publish(Mark::HighWatermark, Some(Weakness::FenceAfterRegister));
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_high_watermark_moved_without_a_fence_wakes_nobody() {
    wait_against_publish(Mark::HighWatermark, Some(Weakness::FenceAfterAdvance));
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_log_end_moved_without_a_fence_wakes_nobody() {
    wait_against_publish(Mark::LogEnd, Some(Weakness::FenceAfterPosition));
}

fn look_when_reached(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let bell = Arc::new(Signal::new());
        let watch = marks.watch(Mark::HighWatermark, TEN, &bell);
        let other = Arc::clone(&marks);
        let writer = thread::spawn(move || other.publish_log_end(TEN));
        if watch.state() == WatchState::Reached {
            assert_eq!(marks.high_watermark(), TEN, "reached, yet not there");
        }
        writer.join().expect("it ran");
    });
}

#[test]
fn who_was_reached_finds_the_offset_there() {
    look_when_reached(None);
}

#[test]
#[should_panic(expected = "reached, yet not there")]
fn who_asks_without_acquire_does_not() {
    look_when_reached(Some(Weakness::StateUnacquired));
}

fn look_when_superseded(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let bell = Arc::new(Signal::new());
        let watch = marks.watch(Mark::HighWatermark, TEN, &bell);
        let other = Arc::clone(&marks);
        let change = thread::spawn(move || other.begin(|_| second_epoch()));
        if watch.state() == WatchState::Superseded {
            assert_eq!(marks.leader_epoch(), SECOND, "superseded by nothing");
        }
        change.join().expect("it ran");
    });
}

fn second_epoch() -> TenureStart {
    TenureStart {
        leader_epoch: SECOND,
        ..start(&[1], FIVE, Counts::Written)
    }
}

#[test]
fn who_was_superseded_finds_the_new_epoch_there() {
    look_when_superseded(None);
}

#[test]
#[should_panic(expected = "superseded by nothing")]
fn who_is_told_without_release_finds_the_old_one() {
    look_when_superseded(Some(Weakness::StateUnreleased));
}

fn leave_against_register(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let bell = Arc::new(Signal::new());
        let leaving = marks.watch(Mark::HighWatermark, FIVE, &bell);
        let left = thread::spawn(move || drop(leaving));
        let staying = marks.watch(Mark::HighWatermark, TEN, &bell);
        left.join().expect("it ran");
        marks.publish_log_end(TEN);
        assert_eq!(staying.state(), WatchState::Reached, "lost wake-up");
    });
}

#[test]
fn a_waiter_that_leaves_takes_no_other_with_it() {
    leave_against_register(None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_waiter_that_clears_the_threshold_outside_the_lock_takes_another_with_it() {
    leave_against_register(Some(Weakness::LeastOutsideLock));
}

fn leave_against_wake(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let bell = Arc::new(Signal::new());
        let leaving = marks.watch(Mark::HighWatermark, FIVE, &bell);
        let left = thread::spawn(move || drop(leaving));
        let other = Arc::clone(&marks);
        let writer = thread::spawn(move || other.publish_log_end(TEN));
        let staying = marks.watch(Mark::HighWatermark, TEN, &bell);
        left.join().expect("it ran");
        writer.join().expect("it ran");
        assert_eq!(staying.state(), WatchState::Reached, "lost wake-up");
    });
}

#[test]
fn a_waiter_may_leave_while_it_is_being_woken() {
    leave_against_wake(None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_waiter_that_leaves_while_it_is_being_woken_still_minds_the_lock() {
    leave_against_wake(Some(Weakness::LeastOutsideLock));
}

fn supersede_against_wait(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let other = Arc::clone(&marks);
        let change = thread::spawn(move || other.begin(|_| second_epoch()));
        // Made in either epoch; if in the first, it must hear of the second.
        let wait = marks.wait_in(FIRST, Mark::HighWatermark, TEN);
        let sleeper = wait.ok().map(Sleeper::start);
        change.join().expect("it ran");
        if let Some(sleeper) = sleeper {
            assert!(sleeper.finish().is_err(), "the offset was never reached");
        }
    });
}

#[test]
fn a_future_whose_epoch_ends_is_woken_to_hear_of_it() {
    supersede_against_wait(None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_future_superseded_before_the_new_epoch_is_seen_sleeps_for_ever() {
    supersede_against_wait(Some(Weakness::SupersedeFirst));
}

fn ring_against_look(broken: Option<Weakness>) {
    explore(broken, || {
        let bell = Arc::new(Signal::new());
        let other = Arc::clone(&bell);
        let ringer = thread::spawn(move || {
            other.notify();
            other.notify();
        });
        let sleeper = Sleeper::start(bell.notified());
        ringer.join().expect("it ran");
        sleeper.finish();
    });
}

#[test]
fn a_bell_that_rings_while_its_task_lies_down_wakes_it() {
    ring_against_look(None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn a_task_that_leaves_its_waker_after_the_look_sleeps_for_ever() {
    ring_against_look(Some(Weakness::WakerAfterLook));
}

fn two_rings_against_look(broken: Option<Weakness>) {
    explore(broken, || {
        let bell = Arc::new(Signal::new());
        // What each ring is about.
        let news = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let ringers = [0, 1].map(|at| {
            let (bell, news) = (Arc::clone(&bell), Arc::clone(&news));
            thread::spawn(move || {
                news[at].store(1, Relaxed);
                bell.notify();
            })
        });
        let alarm = Arc::new(Alarm::default());
        let waker = Waker::from(Arc::clone(&alarm));
        let all_heard = || {
            while bell
                .poll_notified(&mut Context::from_waker(&waker))
                .is_ready()
            {
                if news.iter().all(|item| item.load(Relaxed) == 1) {
                    return true;
                }
            }
            false
        };
        let heard = all_heard();
        for ringer in ringers {
            ringer.join().expect("it ran");
        }
        assert!(heard || alarm.went_off(), "lost wake-up");
    });
}

#[test]
fn of_two_rings_that_fall_together_neither_is_lost() {
    two_rings_against_look(None);
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn of_two_rings_without_order_one_is_lost() {
    two_rings_against_look(Some(Weakness::BellRelaxed));
}
