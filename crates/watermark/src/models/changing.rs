//! What a change of tenure carries over, and what it must not.

use std::sync::Arc;

use loom::thread;
use plimsoll_types::Offset;

use super::{FIVE, SECOND, TEN, alone, explore, follow, leader_ahead, node, start};
use crate::sync::Weakness;
use crate::{Counts, Mark, Signal, TenureStart, WatchState};

fn position_carried(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2]);
        let other = Arc::clone(&marks);
        let second = thread::spawn(move || follow(&other, 2, TEN));
        marks.begin(|_| start(&[1, 2, 3], TEN, Counts::Written));
        second.join().expect("it ran");
        let ends = marks.ends(node(2)).expect("it is tracked");
        assert_eq!(ends.log_end, TEN, "a position was lost");
    });
}

#[test]
fn a_position_published_into_the_old_tenure_is_the_new_ones_too() {
    position_carried(None);
}

#[test]
#[should_panic(expected = "a position was lost")]
fn a_tenure_that_copies_positions_loses_a_late_one() {
    position_carried(Some(Weakness::PositionsCopied));
}

/// Another leader's epoch, in which only the first five offsets are left.
fn truncated() -> TenureStart {
    TenureStart {
        leader_epoch: SECOND,
        ..start(&[1], FIVE, Counts::Durable)
    }
}

fn late_sync_against_cut(by_handle: bool) {
    explore(None, move || {
        let marks = alone(Counts::Durable);
        marks.publish_log_end(TEN);
        let other = Arc::clone(&marks);
        let position = marks.local_position();
        let flusher = thread::spawn(move || {
            if by_handle {
                other.publish_durable_end_on(&position, TEN);
            } else {
                other.publish_durable_end(TEN);
            }
        });
        marks.cut(|_| truncated());
        // What is appended from here on took the place of what was synced, and is not synced.
        marks.publish_log_end(TEN);
        flusher.join().expect("it ran");
        assert_eq!(marks.durable_end(), FIVE, "a cut course counts");
        assert_eq!(marks.high_watermark(), FIVE, "a cut course counts");
    });
}

#[test]
fn a_sync_that_began_before_a_cut_says_nothing_about_what_came_after() {
    late_sync_against_cut(true);
}

#[test]
#[should_panic(expected = "a cut course counts")]
fn a_sync_published_without_its_handle_counts_what_was_never_synced() {
    late_sync_against_cut(false);
}

fn late_ack_against_fresh_start(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2]);
        let before = marks.high_watermark();
        let other = Arc::clone(&marks);
        let session = marks.position(node(2)).expect("it is tracked");
        let ack = thread::spawn(move || other.publish_follower_on(&session, TEN, TEN));
        marks.begin(|_| TenureStart {
            fresh: vec![node(2)],
            ..start(&[1, 2], TEN, Counts::Written)
        });
        ack.join().expect("it ran");
        let ends = marks.ends(node(2)).expect("it is tracked");
        assert_eq!(ends.log_end, Offset::ZERO, "a session that is over counts");
        assert!(
            marks.high_watermark() >= before,
            "the high watermark went back"
        );
        follow(&marks, 2, TEN);
        assert_eq!(marks.high_watermark(), TEN);
    });
}

#[test]
fn an_ack_of_the_session_before_says_nothing_about_a_fresh_follower() {
    late_ack_against_fresh_start(None);
}

#[test]
#[should_panic(expected = "a session that is over counts")]
fn a_fresh_follower_that_keeps_its_cell_counts_what_it_may_have_lost() {
    late_ack_against_fresh_start(Some(Weakness::FreshKept));
}

fn wait_against_new_epoch(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Durable);
        let epoch = marks.leader_epoch();
        let other = Arc::clone(&marks);
        let change = thread::spawn(move || other.begin(|_| truncated()));
        let bell = Arc::new(Signal::new());
        let watch = marks.watch_in(epoch, Mark::HighWatermark, TEN, &bell);
        change.join().expect("it ran");
        assert_eq!(
            watch.state(),
            WatchState::Superseded,
            "a waiter was forgotten"
        );
    });
}

#[test]
fn who_waits_in_an_epoch_that_ends_is_told() {
    wait_against_new_epoch(None);
}

#[test]
#[should_panic(expected = "a waiter was forgotten")]
fn superseding_before_the_new_epoch_is_seen_forgets_a_waiter() {
    wait_against_new_epoch(Some(Weakness::SupersedeFirst));
}

fn reader_across_tenures(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = leader_ahead(&[1, 2]);
        let (publishing, changing) = (Arc::clone(&marks), Arc::clone(&marks));
        let second = thread::spawn(move || follow(&publishing, 2, TEN));
        let change =
            thread::spawn(move || changing.begin(|_| start(&[1, 2, 3], TEN, Counts::Written)));
        let earlier = marks.high_watermark();
        let later = marks.high_watermark();
        assert!(earlier <= later, "the high watermark went back");
        second.join().expect("it ran");
        change.join().expect("it ran");
        let last = marks.high_watermark();
        assert!(later <= last, "the high watermark went back");
        assert!(last > Offset::ZERO);
    });
}

#[test]
fn no_reader_sees_the_high_watermark_go_back_across_tenures() {
    reader_across_tenures(None);
}

#[test]
#[should_panic(expected = "the high watermark went back")]
fn an_advance_that_ignores_the_seal_is_taken_back_by_the_next_tenure() {
    reader_across_tenures(Some(Weakness::SealIgnored));
}
