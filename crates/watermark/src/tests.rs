//! The rules of one partition's offsets, one thread at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use plimsoll_types::{LeaderEpoch, NodeId, Offset};

use crate::*;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

/// Replica 1 leads an empty log; 2 and 3 follow.
fn rule(maximal_isr: &[u32]) -> TenureStart {
    TenureStart {
        leader_epoch: LeaderEpoch::new(1),
        log_start: at(0),
        durable_end: at(0),
        log_end: at(0),
        high_watermark: at(0),
        local: node(1),
        followers: vec![node(2), node(3)],
        fresh: Vec::new(),
        maximal_isr: maximal_isr.iter().copied().map(node).collect(),
        committed_isr: maximal_isr.len(),
        min_isr: 1,
        counts: Counts::Durable,
    }
}

fn lead(maximal_isr: &[u32]) -> Watermarks {
    Watermarks::new(rule(maximal_isr))
}

fn append(marks: &Watermarks, end: u64) {
    marks.publish_log_end(at(end));
    marks.publish_durable_end(at(end));
}

fn follow(marks: &Watermarks, follower: u32, end: u64) {
    marks
        .publish_follower(node(follower), at(end), at(end))
        .expect("it is tracked");
}

/// Counts how often it woke its task.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Alarm {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, alarm: &Arc<Alarm>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(alarm));
    future.poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_lone_replica_commits_what_is_synced() {
    let marks = lead(&[1]);
    marks.publish_log_end(at(10));
    assert_eq!(marks.high_watermark(), at(0));
    marks.publish_durable_end(at(7));
    assert_eq!(marks.high_watermark(), at(7));
}

#[test]
fn a_lone_replica_that_counts_written_commits_what_is_written() {
    let marks = Watermarks::new(TenureStart {
        counts: Counts::Written,
        ..rule(&[1])
    });
    marks.publish_log_end(at(10));
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
fn the_high_watermark_is_the_least_position_of_the_maximal_isr() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    follow(&marks, 2, 6);
    assert_eq!(marks.high_watermark(), at(6));
}

#[test]
fn a_replica_outside_the_isr_holds_nothing_back() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    follow(&marks, 2, 10);
    assert_eq!(marks.ends(node(3)).expect("it is tracked").log_end, at(0));
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
fn a_followers_unsynced_records_do_not_count_where_durable_counts() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    marks
        .publish_follower(node(2), at(10), at(4))
        .expect("it is tracked");
    assert_eq!(marks.high_watermark(), at(4));
}

#[test]
fn the_high_watermark_stands_still_below_min_isr() {
    let marks = Watermarks::new(TenureStart {
        min_isr: 2,
        ..rule(&[1])
    });
    append(&marks, 10);
    assert!(!marks.min_isr_met());
    assert_eq!(marks.high_watermark(), at(0));
    marks.begin(|_| TenureStart {
        min_isr: 1,
        ..rule(&[1])
    });
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
fn a_proposed_member_holds_back_the_high_watermark_without_counting_as_committed() {
    let proposed = TenureStart {
        committed_isr: 1,
        min_isr: 2,
        ..rule(&[1, 2])
    };
    let marks = Watermarks::new(proposed);
    append(&marks, 10);
    follow(&marks, 2, 10);
    assert_eq!(marks.high_watermark(), at(0));
    assert_eq!(marks.maximal_isr(), [node(1), node(2)]);
}

#[test]
fn a_late_report_of_an_older_position_changes_nothing() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    follow(&marks, 2, 8);
    follow(&marks, 2, 5);
    assert_eq!(marks.high_watermark(), at(8));
    assert_eq!(marks.ends(node(2)).expect("it is tracked").log_end, at(8));
}

#[test]
fn a_sync_ahead_of_the_writers_word_counts_once_the_writer_publishes() {
    let marks = lead(&[1]);
    marks.publish_durable_end(at(10));
    assert_eq!(marks.snapshot().durable_end, at(0));
    marks.publish_log_end(at(10));
    assert_eq!(marks.snapshot().durable_end, at(10));
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
fn a_stranger_is_told_that_it_is_not_tracked() {
    let marks = lead(&[1]);
    let refused = marks
        .publish_follower(node(9), at(1), at(1))
        .expect_err("unknown");
    assert_eq!(refused.replica, node(9));
}

#[test]
fn positions_go_on_in_the_next_tenure() {
    let marks = lead(&[1]);
    append(&marks, 10);
    follow(&marks, 2, 6);
    marks.begin(|sealed| {
        assert_eq!(sealed.high_watermark, at(10));
        rule(&[1, 2])
    });
    assert_eq!(marks.high_watermark(), at(10));
    assert_eq!(marks.ends(node(2)).expect("it is tracked").log_end, at(6));
    append(&marks, 12);
    assert_eq!(marks.high_watermark(), at(10), "the joiner counts now");
    follow(&marks, 2, 12);
    assert_eq!(marks.high_watermark(), at(12));
}

#[test]
fn a_follower_that_left_and_came_back_starts_from_nothing() {
    let marks = lead(&[1]);
    follow(&marks, 2, 6);
    let old = marks.position(node(2)).expect("it is tracked");
    marks.begin(|_| TenureStart {
        followers: vec![node(3)],
        fresh: Vec::new(),
        ..rule(&[1])
    });
    marks.begin(|_| rule(&[1]));
    marks.publish_follower_on(&old, at(9), at(9));
    assert_eq!(marks.ends(node(2)).expect("it is tracked").log_end, at(0));
}

#[test]
fn a_new_epoch_begins_a_new_course() {
    let marks = lead(&[1]);
    append(&marks, 10);
    let before_the_sync = marks.local_position();
    marks.begin(|_| TenureStart {
        leader_epoch: LeaderEpoch::new(2),
        log_end: at(5),
        durable_end: at(3),
        high_watermark: at(3),
        ..rule(&[1])
    });
    marks.publish_durable_end_on(&before_the_sync, at(10));
    let now = marks.snapshot();
    assert_eq!(
        (now.high_watermark, now.durable_end, now.log_end),
        (at(3), at(3), at(5))
    );
    assert_eq!(now.leader_epoch, LeaderEpoch::new(2));
}

#[test]
fn a_high_watermark_below_the_log_start_is_taken_for_the_log_start() {
    let opened = TenureStart {
        log_start: at(4),
        durable_end: at(4),
        log_end: at(9),
        committed_isr: 0,
        ..rule(&[1])
    };
    assert_eq!(Watermarks::new(opened).high_watermark(), at(4));
}

#[test]
fn a_start_that_panics_leaves_the_tenure_as_it_was() {
    let marks = lead(&[1]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        marks.begin(|_| panic!("the caller's own trouble"));
    }));
    assert!(panicked.is_err());
    append(&marks, 10);
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
fn what_was_published_while_a_start_panicked_still_counts() {
    let marks = lead(&[1]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        marks.begin(|_| {
            append(&marks, 10);
            assert_eq!(marks.high_watermark(), at(0), "the word is sealed");
            panic!("the caller's own trouble")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(marks.high_watermark(), at(10));
}

#[test]
#[should_panic(expected = "W7")]
fn an_earlier_epoch_is_refused() {
    lead(&[1]).begin(|_| TenureStart {
        leader_epoch: LeaderEpoch::ZERO,
        ..rule(&[1])
    });
}

#[test]
#[should_panic(expected = "W1")]
fn an_isr_without_the_local_replica_is_refused() {
    lead(&[2]);
}

#[test]
fn only_those_reached_are_woken() {
    let marks = lead(&[1]);
    let alarms: [Arc<Alarm>; 3] = Default::default();
    let mut waits = [3, 5, 8].map(|end| Box::pin(marks.wait(Mark::HighWatermark, at(end))));
    for (wait, alarm) in waits.iter_mut().zip(&alarms) {
        assert!(poll(wait.as_mut(), alarm).is_pending());
    }
    append(&marks, 6);
    assert_eq!(alarms.each_ref().map(|alarm| alarm.rings()), [1, 1, 0]);
    let seen = match poll(waits[1].as_mut(), &alarms[1]) {
        Poll::Ready(seen) => seen.expect("nothing was cut"),
        Poll::Pending => panic!("it was reached"),
    };
    assert_eq!(seen.high_watermark, at(6));
    assert!(poll(waits[2].as_mut(), &alarms[2]).is_pending());
}

#[test]
fn more_waiters_than_fit_one_handful_are_all_woken() {
    let marks = lead(&[1]);
    let bell = Arc::new(Signal::new());
    let watches: Vec<Watch> = (1..=50)
        .map(|end| marks.watch(Mark::HighWatermark, at(end), &bell))
        .collect();
    append(&marks, 45);
    let reached = watches
        .iter()
        .filter(|watch| watch.state() == WatchState::Reached);
    assert_eq!(reached.count(), 45);
}

#[test]
fn a_wait_for_what_is_there_completes_at_once() {
    let marks = lead(&[1]);
    append(&marks, 6);
    let wait = std::pin::pin!(marks.wait(Mark::DurableEnd, at(6)));
    assert!(poll(wait, &Arc::default()).is_ready());
}

#[test]
fn a_wait_dropped_is_not_woken() {
    let marks = lead(&[1]);
    let alarm = Arc::new(Alarm::default());
    let mut wait = Box::pin(marks.wait(Mark::HighWatermark, at(6)));
    assert!(poll(wait.as_mut(), &alarm).is_pending());
    drop(wait);
    append(&marks, 6);
    assert_eq!(alarm.rings(), 0);
    assert!(!marks.recompute(), "nobody is left to be woken");
}

#[test]
fn waiters_outlast_a_tenure_of_the_same_epoch() {
    let marks = lead(&[1, 2]);
    let alarm = Arc::new(Alarm::default());
    let mut wait = Box::pin(marks.wait(Mark::HighWatermark, at(6)));
    assert!(poll(wait.as_mut(), &alarm).is_pending());
    append(&marks, 6);
    marks.begin(|_| rule(&[1]));
    assert_eq!(alarm.rings(), 1);
    assert!(matches!(poll(wait.as_mut(), &alarm), Poll::Ready(Ok(_))));
}

#[test]
fn waiters_are_superseded_by_a_new_epoch() {
    let marks = lead(&[1]);
    let alarm = Arc::new(Alarm::default());
    let mut wait = Box::pin(marks.wait(Mark::HighWatermark, at(6)));
    assert!(poll(wait.as_mut(), &alarm).is_pending());
    marks.begin(|_| TenureStart {
        leader_epoch: LeaderEpoch::new(2),
        ..rule(&[1])
    });
    assert_eq!(alarm.rings(), 1);
    let Poll::Ready(Err(superseded)) = poll(wait.as_mut(), &alarm) else {
        panic!("the epoch it waited in is over")
    };
    assert_eq!(superseded.leader_epoch, LeaderEpoch::new(2));
}

#[test]
fn waiters_are_superseded_by_a_cut_in_the_same_epoch() {
    let marks = lead(&[1]);
    let bell = Arc::new(Signal::new());
    let watch = marks.watch(Mark::LogEnd, at(6), &bell);
    marks.cut(|_| rule(&[1]));
    assert_eq!(watch.state(), WatchState::Superseded);
}

#[test]
fn an_offset_of_an_earlier_epoch_cannot_be_awaited() {
    let marks = lead(&[1]);
    let bell = Arc::new(Signal::new());
    let earlier = LeaderEpoch::ZERO;
    let watch = marks.watch_in(earlier, Mark::HighWatermark, at(0), &bell);
    assert_eq!(watch.state(), WatchState::Superseded);
    assert!(marks.wait_in(earlier, Mark::HighWatermark, at(0)).is_err());
}

#[test]
fn one_signal_serves_many_partitions_and_rings_once() {
    let partitions = [lead(&[1]), lead(&[1]), lead(&[1])];
    let bell = Arc::new(Signal::new());
    let watches = partitions
        .each_ref()
        .map(|marks| marks.watch(Mark::HighWatermark, at(1), &bell));
    let alarm = Arc::new(Alarm::default());
    let mut heard = Box::pin(bell.notified());
    assert!(poll(heard.as_mut(), &alarm).is_pending());
    append(&partitions[0], 1);
    append(&partitions[2], 1);
    assert_eq!(alarm.rings(), 1);
    assert!(poll(heard.as_mut(), &alarm).is_ready());
    let states = watches.each_ref().map(Watch::state);
    assert_eq!(
        states,
        [
            WatchState::Reached,
            WatchState::Pending,
            WatchState::Reached
        ]
    );
}

#[test]
fn a_ring_before_the_task_listens_is_heard() {
    let bell = Signal::new();
    bell.notify();
    assert!(poll(std::pin::pin!(bell.notified()), &Arc::default()).is_ready());
    assert!(poll(std::pin::pin!(bell.notified()), &Arc::default()).is_pending());
}

#[test]
fn recomputing_finds_nothing_that_publishing_has_not_done() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    follow(&marks, 2, 10);
    assert!(!marks.recompute());
}

#[test]
fn an_idle_partition_costs_a_few_cache_lines() {
    use crate::position::Cell;
    use crate::tenure::Tenure;
    use crate::waiters::Waiters;
    // Of each, and of what their `Arc`s add, there is one a partition; a follower adds a cell.
    let together =
        size_of::<Watermarks>() + size_of::<Waiters>() + size_of::<Tenure>() + size_of::<Cell>();
    assert!(together <= 512, "{together} bytes");
}

#[test]
fn a_fresh_follower_counts_from_zero_and_its_old_handle_not_at_all() {
    let marks = lead(&[1, 2]);
    append(&marks, 10);
    follow(&marks, 2, 6);
    let before = marks.position(node(2)).expect("it is tracked");
    marks.begin(|_| TenureStart {
        fresh: vec![node(2)],
        ..rule(&[1, 2])
    });
    marks.publish_follower_on(&before, at(10), at(10));
    assert_eq!(marks.ends(node(2)).expect("it is tracked").log_end, at(0));
    assert_eq!(marks.high_watermark(), at(6));
    follow(&marks, 2, 8);
    assert_eq!(marks.high_watermark(), at(8));
}
