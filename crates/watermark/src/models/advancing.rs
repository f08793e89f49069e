//! Publishers against each other and against a tenure that ends.

use std::sync::Arc;

use loom::thread;
use plimsoll_types::Offset;

use super::{FIVE, TEN, alone, explore, follow, leader_ahead, node, start};
use crate::sync::Weakness;
use crate::{Counts, Mark, Signal, WatchState, Watermarks};

fn two_followers_racing(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2, 3]);
        let other = Arc::clone(&marks);
        let second = thread::spawn(move || follow(&other, 2, TEN));
        follow(&marks, 3, TEN);
        second.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
    });
}

#[test]
fn of_two_followers_that_race_one_moves_the_high_watermark() {
    two_followers_racing(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_a_fence_neither_of_two_followers_sees_the_other() {
    two_followers_racing(Some(Weakness::FenceAfterPosition));
}

fn writer_and_flusher_racing(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Durable);
        let bell = Arc::new(Signal::new());
        let synced = marks.watch(Mark::DurableEnd, TEN, &bell);
        let other = Arc::clone(&marks);
        // The flusher reads the log itself and may be first to publish what the writer wrote.
        let flusher = thread::spawn(move || other.publish_durable_end(TEN));
        marks.publish_log_end(TEN);
        flusher.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
        assert_eq!(synced.state(), WatchState::Reached, "an advance was lost");
    });
}

#[test]
fn a_flusher_ahead_of_the_writers_word_is_counted_once_the_writer_publishes() {
    writer_and_flusher_racing(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_a_fence_neither_writer_nor_flusher_sees_the_other() {
    writer_and_flusher_racing(Some(Weakness::FenceAfterPosition));
}

fn expansion_against_advance(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2]);
        let bell = Arc::new(Signal::new());
        let acknowledged = marks.watch(Mark::HighWatermark, TEN, &bell);
        let other = Arc::clone(&marks);
        let second = thread::spawn(move || follow(&other, 2, TEN));
        marks.begin(|_| start(&[1, 2, 3], TEN, Counts::Written));
        let third = marks.ends(node(3)).expect("it is tracked").log_end;
        let joined = third >= marks.high_watermark();
        second.join().expect("it ran");
        assert!(
            !joined
                || (acknowledged.state() == WatchState::Pending && marks.high_watermark() == FIVE),
            "the high watermark passed a member of the ISR"
        );
    });
}

#[test]
fn the_high_watermark_never_passes_a_replica_that_was_found_fit_to_join() {
    expansion_against_advance(None);
}

#[test]
#[should_panic(expected = "the high watermark passed a member of the ISR")]
fn an_advance_that_ignores_the_seal_passes_the_joining_replica() {
    expansion_against_advance(Some(Weakness::SealIgnored));
}

fn late_advance_against_seal(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2]);
        let other = Arc::clone(&marks);
        let second = thread::spawn(move || follow(&other, 2, TEN));
        marks.begin(|_| start(&[1, 2], TEN, Counts::Written));
        second.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
    });
}

#[test]
fn an_advance_that_meets_the_seal_is_made_good_by_the_next_tenure() {
    late_advance_against_seal(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_the_publishers_fence_an_advance_that_meets_the_seal_is_lost() {
    late_advance_against_seal(Some(Weakness::FenceAfterPosition));
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_the_new_tenures_fence_an_advance_that_meets_the_seal_is_lost() {
    late_advance_against_seal(Some(Weakness::FenceAfterTenure));
}

fn late_append_against_seal(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let other = Arc::clone(&marks);
        // The writer knows its tenure from before its store.
        let writer = thread::spawn(move || other.publish_log_end(TEN));
        marks.begin(|_| start(&[1], TEN, Counts::Written));
        writer.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
    });
}

#[test]
fn an_append_that_meets_the_seal_counts_in_the_next_tenure() {
    late_append_against_seal(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn an_append_that_meets_the_seal_and_does_not_look_for_the_next_tenure_is_lost() {
    late_append_against_seal(Some(Weakness::SealNotRetried));
}

fn shrink_against_advance(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2, 3]);
        let other = Arc::clone(&marks);
        // Held back by replica 3 in the old tenure, free to advance in the new one.
        let second = thread::spawn(move || follow(&other, 2, TEN));
        marks.begin(|_| start(&[1, 2], TEN, Counts::Written));
        second.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
    });
}

#[test]
fn a_position_published_while_the_isr_shrinks_counts_in_the_new_tenure() {
    shrink_against_advance(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_the_publishers_fence_neither_it_nor_the_new_tenure_advances() {
    shrink_against_advance(Some(Weakness::FenceAfterPosition));
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_the_new_tenures_fence_neither_it_nor_the_publisher_advances() {
    shrink_against_advance(Some(Weakness::FenceAfterTenure));
}

fn min_isr_met_against_advance(broken: Option<Weakness>) {
    explore(broken, || {
        let mut below = start(&[1, 2], TEN, Counts::Written);
        below.min_isr = 3;
        let marks = Arc::new(Watermarks::new(below));
        let other = Arc::clone(&marks);
        let second = thread::spawn(move || follow(&other, 2, TEN));
        assert_eq!(marks.high_watermark(), Offset::ZERO, "moved below min ISR");
        marks.begin(|_| start(&[1, 2], TEN, Counts::Written));
        second.join().expect("it ran");
        assert_eq!(marks.high_watermark(), TEN, "an advance was lost");
    });
}

#[test]
fn a_position_published_below_min_isr_counts_once_min_isr_is_met() {
    min_isr_met_against_advance(None);
}

#[test]
#[should_panic(expected = "an advance was lost")]
fn without_the_new_tenures_fence_what_was_published_below_min_isr_is_lost() {
    min_isr_met_against_advance(Some(Weakness::FenceAfterTenure));
}
