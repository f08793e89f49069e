//! What a reader may see while positions move.

use std::sync::Arc;

use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::{FIVE, TEN, alone, explore, start};
use crate::Counts;
use crate::sync::Weakness;

fn snapshot_while_appending(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let other = Arc::clone(&marks);
        let writer = thread::spawn(move || {
            other.publish_log_end(FIVE);
            other.publish_log_end(TEN);
        });
        let seen = marks.snapshot();
        assert!(
            seen.high_watermark <= seen.log_end,
            "W2: high watermark above the log end"
        );
        writer.join().expect("it ran");
    });
}

#[test]
fn a_snapshot_never_shows_the_high_watermark_above_the_log_end() {
    snapshot_while_appending(None);
}

#[test]
#[should_panic(expected = "W2")]
fn a_snapshot_that_reads_the_log_end_first_does() {
    snapshot_while_appending(Some(Weakness::LogEndFirst));
}

#[test]
#[should_panic(expected = "W2")]
fn a_snapshot_that_does_not_acquire_the_high_watermark_does() {
    snapshot_while_appending(Some(Weakness::HighWatermarkUnacquired));
}

fn snapshot_while_the_flusher_commits(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Durable);
        let (writing, flushing) = (Arc::clone(&marks), Arc::clone(&marks));
        let writer = thread::spawn(move || writing.publish_log_end(TEN));
        // Moves a high watermark that rests on what another thread wrote.
        let flusher = thread::spawn(move || flushing.publish_durable_end(TEN));
        let seen = marks.snapshot();
        assert!(
            seen.high_watermark <= seen.log_end,
            "W2: high watermark above the log end"
        );
        writer.join().expect("it ran");
        flusher.join().expect("it ran");
    });
}

#[test]
fn a_snapshot_covers_a_high_watermark_that_the_flusher_moved() {
    snapshot_while_the_flusher_commits(None);
}

#[test]
#[should_panic(expected = "W2")]
fn a_high_watermark_that_the_flusher_moved_without_release_stands_above_the_log_end() {
    snapshot_while_the_flusher_commits(Some(Weakness::HighWatermarkUnreleased));
}

fn snapshot_while_the_tenure_changes(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        let (writing, changing) = (Arc::clone(&marks), Arc::clone(&marks));
        let writer = thread::spawn(move || writing.publish_log_end(TEN));
        let change =
            thread::spawn(move || changing.begin(|_| start(&[1, 2], TEN, Counts::Written)));
        let seen = marks.snapshot();
        assert!(
            seen.high_watermark <= seen.log_end,
            "W2: high watermark above the log end"
        );
        writer.join().expect("it ran");
        change.join().expect("it ran");
    });
}

#[test]
fn a_snapshot_of_the_next_tenure_covers_the_high_watermark_it_was_handed() {
    snapshot_while_the_tenure_changes(None);
}

#[test]
#[should_panic(expected = "W2")]
fn a_high_watermark_carried_over_unacquired_stands_above_the_log_end() {
    snapshot_while_the_tenure_changes(Some(Weakness::SealUnacquired));
}

fn read_below_the_end(broken: Option<Weakness>) {
    explore(broken, || {
        let marks = alone(Counts::Written);
        // Stands for the bytes of a batch.
        let bytes = Arc::new(loom::sync::atomic::AtomicU64::new(0));
        let (other, written) = (Arc::clone(&marks), Arc::clone(&bytes));
        let writer = thread::spawn(move || {
            written.store(1, Relaxed);
            other.publish_log_end(TEN);
        });
        if marks.log_end() == TEN {
            assert_eq!(bytes.load(Relaxed), 1, "an end without its bytes");
        }
        writer.join().expect("it ran");
    });
}

#[test]
fn who_sees_an_end_sees_the_bytes_below_it() {
    read_below_the_end(None);
}

#[test]
#[should_panic(expected = "an end without its bytes")]
fn an_end_read_without_acquire_shows_no_bytes() {
    read_below_the_end(Some(Weakness::PositionUnacquired));
}

#[test]
#[should_panic(expected = "an end without its bytes")]
fn an_end_moved_without_release_shows_no_bytes() {
    read_below_the_end(Some(Weakness::PositionUnreleased));
}

#[test]
fn a_snapshot_never_shows_the_log_start_above_the_high_watermark() {
    explore(None, || {
        let marks = alone(Counts::Written);
        let other = Arc::clone(&marks);
        let writer = thread::spawn(move || {
            other.publish_log_end(TEN);
            other.publish_log_start(FIVE);
        });
        let seen = marks.snapshot();
        assert!(
            seen.log_start <= seen.high_watermark,
            "W5: log start above the high watermark"
        );
        writer.join().expect("it ran");
    });
}
