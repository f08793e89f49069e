//! Retention, DeleteRecords, truncation, and slices that outlive all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::time::Duration;

use common::*;
use plimsoll_segment_log::{
    Minimum, Opened, ReadError, Retention, TrimError, TruncateError, Verdict,
};
use plimsoll_types::{LeaderEpoch, Offset};

fn filled(dir: &std::path::Path, batches: u8) -> Opened {
    let mut log = open_in(dir, small());
    for n in 0..batches {
        log.writer
            .append(
                EPOCH,
                &[batch_at(i64::from(n) * 100, &[&[n; 40], &[n; 40]])],
            )
            .unwrap();
    }
    log.sync.sync().unwrap();
    log
}

fn files(dir: &std::path::Path, extension: &str) -> usize {
    let entries = std::fs::read_dir(dir.join("log")).unwrap();
    entries
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|x| x == extension)
        })
        .count()
}

const NOTHING: Retention = Retention {
    bytes: None,
    age: None,
};

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 60);
    let bounded = Retention {
        bytes: Some(3000),
        ..NOTHING
    };
    assert!(
        log.writer
            .retain(&NOTHING, time(1 << 40), Offset::MAX)
            .unwrap()
            .is_none()
    );
    let upkeep = log
        .writer
        .retain(&bounded, time(0), Offset::MAX)
        .unwrap()
        .unwrap();
    let left = log.reader.size_bytes();
    assert!((3000..5000).contains(&left), "{left}");
    let start = log.reader.log_start();
    let below = log
        .reader
        .read(offset(0), Offset::MAX, 100, Minimum::OneBatch);
    assert!(matches!(below, Err(ReadError::BelowStart { log_start }) if log_start == start));
    upkeep.run().unwrap();
    assert_eq!(files(dir.path(), "log"), log.reader.segments().len());
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(log.reader.log_start(), start);
    assert!(log.recovery.damage.is_empty());
    assert_eq!(read_all(&log.reader).unwrap()[0].0.base, start);
}

#[test]
fn retention_by_age_takes_the_tail_too_but_nothing_uncommitted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 30);
    let hour = Retention {
        age: Some(Duration::from_secs(3600)),
        ..NOTHING
    };
    assert!(
        log.writer
            .retain(&hour, time(3_000_000), Offset::MAX)
            .unwrap()
            .is_none()
    );
    log.writer
        .retain(&hour, time(1 << 40), offset(40))
        .unwrap()
        .unwrap()
        .run()
        .unwrap();
    assert!(log.reader.log_start() <= offset(40));
    log.writer
        .retain(&hour, time(1 << 40), Offset::MAX)
        .unwrap()
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(log.reader.log_start(), offset(60));
    assert_eq!((log.reader.size_bytes(), files(dir.path(), "log")), (0, 0));
    log.writer.append(EPOCH, &[batch(&[b"next"])]).unwrap();
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(
        (log.reader.log_start(), log.reader.log_end()),
        (offset(60), offset(61))
    );
}

#[test]
fn a_clock_that_jumps_back_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 30);
    let short = Retention {
        age: Some(Duration::from_millis(1)),
        ..NOTHING
    };
    assert!(
        log.writer
            .retain(&short, time(-1 << 40), Offset::MAX)
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_log_starts_inside_a_batch_and_durably_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 30);
    let upkeep = log.writer.delete_before(offset(33)).unwrap();
    upkeep.run().unwrap();
    let first = log
        .reader
        .read(offset(33), Offset::MAX, 1, Minimum::OneBatch)
        .unwrap();
    assert_eq!(first.next, offset(34));
    let beyond = log.writer.delete_before(offset(61)).unwrap_err();
    assert!(matches!(beyond, TrimError::AboveEnd { .. }));
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(log.reader.log_start(), offset(33));
}

#[test]
fn slices_outlive_retention_truncation_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 60);
    let all = read_all(&log.reader).unwrap();
    let copies: Vec<_> = all.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    log.writer.delete_before(offset(50)).unwrap().run().unwrap();
    log.writer.truncate_to(offset(70)).unwrap();
    for n in 0..60 {
        log.writer.append(EPOCH, &[batch(&[&[!n; 40]])]).unwrap();
    }
    log.writer.checkpoint(offset(0)).run().unwrap();
    log.writer.close(offset(0)).unwrap();
    drop((log.reader, log.sync, dir));
    assert!(all.iter().map(|(_, bytes)| bytes.to_vec()).eq(copies));
}

#[test]
fn a_cut_at_every_offset_leaves_whole_batches_and_takes_appends() {
    for to in 0..=60 {
        let dir = tempfile::tempdir().unwrap();
        let mut log = filled(dir.path(), 30);
        let before = read_all(&log.reader).unwrap();
        let end = log.writer.truncate_to(offset(to)).unwrap();
        assert_eq!(end, offset(to - to % 2), "cut at {to}");
        let kept = usize::try_from(to / 2).unwrap();
        assert_eq!(
            read_all(&log.reader).unwrap(),
            before[..kept],
            "cut at {to}"
        );
        let after = LeaderEpoch::new(2);
        log.writer.append(after, &[batch(&[b"new"])]).unwrap();
        let read = read_all(&log.reader).unwrap();
        drop(log);
        let log = open_in(dir.path(), small());
        assert!(
            log.recovery.damage.is_empty() && log.recovery.cut.is_none(),
            "cut at {to}"
        );
        assert_eq!(read_all(&log.reader).unwrap(), read, "cut at {to}");
        assert_eq!(log.reader.epochs().latest(), Some(after));
    }
}

#[test]
fn a_cut_takes_epochs_and_producers_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for n in 0..40 {
        if n % 10 == 0 {
            log.writer.checkpoint(offset(0)).run().unwrap();
        }
        let epoch = LeaderEpoch::new(1 + u32::try_from(n).unwrap() / 10);
        log.writer
            .append(epoch, &[produced(7, 0, n, 1, 100)])
            .unwrap();
    }
    for to in [35, 23, 10, 4] {
        let sequence = i32::try_from(to).unwrap();
        log.writer.truncate_to(offset(to)).unwrap();
        let next = produced(7, 0, sequence, 1, 100).header;
        assert_eq!(
            log.writer.producers().check(&next),
            Verdict::Append,
            "cut at {to}"
        );
        let last = produced(7, 0, sequence - 1, 1, 100).header;
        let duplicate = log.writer.producers().check(&last);
        assert!(matches!(duplicate, Verdict::Duplicate { base, .. } if base == offset(to - 1)));
        let latest = LeaderEpoch::new(1 + u32::try_from(to - 1).unwrap() / 10);
        assert_eq!(log.reader.epochs().latest(), Some(latest));
    }
    let low = log.writer.delete_before(offset(3)).unwrap();
    low.run().unwrap();
    let refused = log.writer.truncate_to(offset(2)).unwrap_err();
    assert!(matches!(refused, TruncateError::BelowStart { .. }));
}

#[test]
fn truncating_again_and_again_in_one_segment_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), config());
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..20u8 {
        for n in 0..5 {
            let value = vec![round, n];
            log.writer.append(EPOCH, &[batch(&[&value])]).unwrap();
            expected.push(value);
        }
        let to = expected.len() - 3;
        expected.truncate(to);
        log.writer.truncate_to(offset(to as u64)).unwrap();
        let got: Vec<_> = values(&log.reader)
            .into_iter()
            .map(|(_, v)| v.unwrap())
            .collect();
        assert_eq!(got, expected, "round {round}");
    }
    drop(log);
    let log = open_in(dir.path(), config());
    let got: Vec<_> = values(&log.reader)
        .into_iter()
        .map(|(_, v)| v.unwrap())
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn a_reset_log_starts_empty_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 30);
    log.writer.reset_to(offset(1000)).unwrap();
    assert_eq!(
        (log.reader.log_start(), log.reader.log_end()),
        (offset(1000), offset(1000))
    );
    drop(log);
    let mut log = open_in(dir.path(), small());
    assert_eq!(
        (log.reader.log_start(), log.reader.log_end()),
        (offset(1000), offset(1000))
    );
    log.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap();
    assert_eq!(values(&log.reader), [(1000, Some(b"x".to_vec()))]);
    let empty = tempfile::tempdir().unwrap();
    let mut log = open_in(empty.path(), small());
    log.writer.reset_to(offset(5)).unwrap();
    drop(log);
    assert_eq!(open_in(empty.path(), small()).reader.log_start(), offset(5));
}

#[test]
fn a_segment_without_timestamps_goes_with_the_next_that_expires() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for at in [-1, 1_000, 50_000] {
        log.writer.append(EPOCH, &[batch_at(at, &[b"x"])]).unwrap();
        log.writer.roll();
    }
    let second = Retention {
        age: Some(Duration::from_secs(1)),
        ..NOTHING
    };
    assert!(
        log.writer
            .retain(&second, time(1_500), Offset::MAX)
            .unwrap()
            .is_none()
    );
    log.writer
        .retain(&second, time(3_000), Offset::MAX)
        .unwrap()
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(log.reader.log_start(), offset(2));
}
