//! Idempotent producers: sequences, duplicates, fencing, expiry, restarts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::time::Duration;

use common::*;
use plimsoll_segment_log::{LogConfig, Opened, Verdict};
use plimsoll_types::ProducerEpoch;

fn verdict(log: &Opened, epoch: i16, sequence: i32, count: usize) -> Verdict {
    log.writer
        .producers()
        .check(&produced(1, epoch, sequence, count, 100).header)
}

fn append(log: &mut Opened, epoch: i16, sequence: i32, count: usize) {
    log.writer
        .append(EPOCH, &[produced(1, epoch, sequence, count, 100)])
        .unwrap();
}

#[test]
fn sequences_are_checked_and_the_last_five_batches_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    assert_eq!(verdict(&log, 0, 0, 2), Verdict::Append);
    assert_eq!(verdict(&log, 0, 4, 2), Verdict::UnknownProducer);
    for n in 0..7 {
        append(&mut log, 0, n * 2, 2);
    }
    assert_eq!(verdict(&log, 0, 14, 1), Verdict::Append);
    let expected = 14;
    assert_eq!(
        verdict(&log, 0, 16, 1),
        Verdict::OutOfOrder { expected, got: 16 }
    );
    for n in 2..7u64 {
        let sequence = i32::try_from(n).unwrap() * 2;
        let known = Verdict::Duplicate {
            base: offset(n * 2),
            last: offset(n * 2 + 1),
            timestamp: time(100),
        };
        assert_eq!(verdict(&log, 0, sequence, 2), known);
    }
    assert_eq!(
        verdict(&log, 0, 2, 2),
        Verdict::OutOfOrder { expected, got: 2 }
    );
    // The same sequence with another count is another batch.
    assert_eq!(
        verdict(&log, 0, 12, 1),
        Verdict::OutOfOrder { expected, got: 12 }
    );
}

#[test]
fn a_higher_epoch_begins_at_zero_and_fences_the_lower() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    append(&mut log, 3, 0, 1);
    assert_eq!(
        verdict(&log, 4, 1, 1),
        Verdict::OutOfOrder {
            expected: 0,
            got: 1
        }
    );
    append(&mut log, 4, 0, 1);
    let current = ProducerEpoch(4);
    assert_eq!(verdict(&log, 3, 1, 1), Verdict::Fenced { current });
}

#[test]
fn sequences_wrap_to_zero() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    append(&mut log, 0, i32::MAX - 1, 2);
    assert_eq!(verdict(&log, 0, 0, 1), Verdict::Append);
    append(&mut log, 0, 0, 1);
    append(&mut log, 1, i32::MAX, 3);
    assert_eq!(verdict(&log, 1, 2, 1), Verdict::Append);
}

#[test]
fn batches_of_one_append_are_checked_against_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    append(&mut log, 0, 0, 3);
    let mut admission = log.writer.producers().admission(log.writer.log_end());
    let header = |sequence, count| produced(1, 0, sequence, count, 100).header;
    assert_eq!(admission.check(&header(3, 2)), Verdict::Append);
    assert_eq!(admission.check(&header(5, 1)), Verdict::Append);
    let again = admission.check(&header(3, 2));
    assert!(
        matches!(again, Verdict::Duplicate { base, .. } if base == offset(3)),
        "{again:?}"
    );
    assert_eq!(
        admission.check(&header(7, 1)),
        Verdict::OutOfOrder {
            expected: 6,
            got: 7
        }
    );
    assert!(matches!(
        admission.check(&header(0, 3)),
        Verdict::Duplicate { .. }
    ));
}

#[test]
fn producers_expire_by_the_logs_own_time_and_alike_after_a_restart() {
    let short = LogConfig {
        producer_expiry: Duration::from_secs(10),
        ..small()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), short);
    append(&mut log, 0, 0, 1);
    log.writer
        .append(EPOCH, &[batch_at(10_100, &[b"later"])])
        .unwrap();
    assert_eq!(verdict(&log, 0, 1, 1), Verdict::Append);
    log.writer
        .append(EPOCH, &[batch_at(10_101, &[b"too late"])])
        .unwrap();
    assert_eq!(verdict(&log, 0, 1, 1), Verdict::UnknownProducer);
    assert_eq!(log.writer.producers().iter().count(), 0);
    drop(log);
    let log = open_in(dir.path(), short);
    assert_eq!(verdict(&log, 0, 1, 1), Verdict::UnknownProducer);
}

#[test]
fn a_restart_knows_the_same_producers_with_and_without_their_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for n in 0..50 {
        append(&mut log, 0, n, 1);
        if n == 20 || n == 40 {
            log.writer.checkpoint(offset(0)).run().unwrap();
        }
    }
    let known = log.writer.producers().clone();
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(*log.writer.producers(), known);
    drop(log);
    let snapshots: Vec<_> = std::fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "producers"))
        .collect();
    assert_eq!(
        snapshots.len(),
        2,
        "this checkpoint's and the one before it"
    );
    for snapshot in snapshots {
        std::fs::remove_file(snapshot).unwrap();
    }
    let log = open_in(dir.path(), small());
    assert_eq!(*log.writer.producers(), known);
}

#[test]
fn producers_survive_the_records_that_made_them_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    append(&mut log, 0, 0, 1);
    log.writer.roll();
    log.writer.delete_before(offset(1)).unwrap().run().unwrap();
    drop(log);
    let log = open_in(dir.path(), small());
    assert!(matches!(verdict(&log, 0, 0, 1), Verdict::Duplicate { .. }));
}
