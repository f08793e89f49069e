//! Appending, reading, rolling, reopening.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use common::*;
use plimsoll_segment_log::{AppendError, LogHost, Minimum, ReadError, Recovery};
use plimsoll_types::{LeaderEpoch, Offset};

#[test]
fn a_log_is_empty_and_without_files_until_its_first_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), config());
    log.writer.assign_epoch(EPOCH).unwrap();
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    log.sync.sync().unwrap();
    assert_eq!(log.reader.log_end(), Offset::ZERO);
    assert!(read_all(&log.reader).unwrap().is_empty());
    assert!(!dir.path().join("log").exists());
}

#[test]
fn batches_get_consecutive_offsets_and_are_readable_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), config());
    let appended = log
        .writer
        .append(EPOCH, &[batch(&[b"a", b"b"]), batch(&[b"c"])])
        .unwrap();
    assert_eq!((appended.first, appended.log_end), (offset(0), offset(3)));
    let read = read_all(&log.reader).unwrap();
    let bases: Vec<_> = read.iter().map(|(header, _)| header.base.get()).collect();
    assert_eq!(bases, [0, 2]);
    assert!(
        read.iter()
            .all(|(header, _)| header.leader_epoch == Some(EPOCH))
    );
    let expected: Vec<_> = (0..).zip(["a", "b", "c"].map(|v| Some(v.into()))).collect();
    assert_eq!(values(&log.reader), expected);
}

#[test]
fn reads_respect_limits_but_always_get_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), config());
    let large = vec![7; 5000];
    for _ in 0..3 {
        log.writer.append(EPOCH, &[batch(&[&large])]).unwrap();
    }
    let none = log
        .reader
        .read(offset(0), Offset::MAX, 100, Minimum::None)
        .unwrap();
    assert!(none.chunks.is_empty());
    let one = log
        .reader
        .read(offset(0), Offset::MAX, 100, Minimum::OneBatch)
        .unwrap();
    assert_eq!(one.next, offset(1));
    let two = log
        .reader
        .read(offset(0), offset(2), 1 << 20, Minimum::OneBatch)
        .unwrap();
    assert_eq!(two.next, offset(2));
    let tail = log
        .reader
        .read(offset(3), Offset::MAX, 100, Minimum::OneBatch)
        .unwrap();
    assert!(tail.chunks.is_empty());
    let beyond = log
        .reader
        .read(offset(4), Offset::MAX, 100, Minimum::OneBatch);
    assert!(matches!(beyond, Err(ReadError::AboveEnd { .. })));
}

#[test]
fn every_offset_is_found_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for n in 0..200u32 {
        let value = n.to_be_bytes();
        log.writer
            .append(EPOCH, &[batch(&[&value, &value, &value])])
            .unwrap();
    }
    assert!(log.reader.segments().len() > 10);
    for from in 0..600 {
        let read = log
            .reader
            .read(offset(from), Offset::MAX, 1, Minimum::OneBatch)
            .unwrap();
        assert_eq!(read.next, offset(from - from % 3 + 3), "from {from}");
    }
    assert_eq!(read_from(&log.reader, offset(0), 7000).unwrap().len(), 200);
}

#[test]
fn an_append_over_several_segments_is_one_append() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let batches: Vec<_> = (0..50u8).map(|n| batch(&[&[n; 100]])).collect();
    let appended = log.writer.append(EPOCH, &batches).unwrap();
    assert_eq!(appended.log_end, offset(50));
    assert_eq!(read_all(&log.reader).unwrap().len(), 50);
    log.sync.sync().unwrap();
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(log.recovery.cut, None);
    assert_eq!(read_all(&log.reader).unwrap().len(), 50);
}

#[test]
fn more_batches_than_one_vectored_write_takes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), config());
    let batches: Vec<_> = (0..3000u32).map(|n| batch(&[&n.to_be_bytes()])).collect();
    log.writer.append(EPOCH, &batches).unwrap();
    assert_eq!(read_all(&log.reader).unwrap().len(), 3000);
}

#[test]
fn a_clean_close_leaves_nothing_to_scan() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for n in 0..100 {
        log.writer
            .append(EPOCH, &[produced(1, 0, n, 1, 500)])
            .unwrap();
    }
    let before = read_all(&log.reader).unwrap();
    log.writer.close(offset(90)).unwrap();
    let log = open_in(dir.path(), small());
    assert_eq!(log.recovery, Recovery::default());
    assert_eq!(log.reader.durable_end(), offset(100));
    assert_eq!(log.writer.checkpointed_high_watermark(), offset(90));
    assert_eq!(read_all(&log.reader).unwrap(), before);
}

#[test]
fn without_a_close_everything_written_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    for n in 0..60 {
        log.writer.append(EPOCH, &[batch(&[&[n; 50]])]).unwrap();
        if n == 30 {
            log.sync.sync().unwrap();
        }
        if n == 20 {
            log.writer.checkpoint(offset(0)).run().unwrap();
        }
    }
    let before = read_all(&log.reader).unwrap();
    drop(log);
    let mut log = open_in(dir.path(), small());
    assert_eq!(log.reader.durable_end(), offset(31));
    assert_eq!(read_all(&log.reader).unwrap(), before);
    assert_eq!(log.sync.sync().unwrap(), offset(60));
    log.writer.append(EPOCH, &[batch(&[b"next"])]).unwrap();
    assert_eq!(read_all(&log.reader).unwrap().len(), 61);
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let huge = vec![1; 300_000];
    log.writer
        .append(EPOCH, &[batch(&[b"a"]), batch(&[&huge]), batch(&[b"b"])])
        .unwrap();
    assert_eq!(log.reader.segments().len(), 3);
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(read_from(&log.reader, offset(0), 1).unwrap().len(), 3);
}

#[test]
fn a_segment_rolls_by_the_age_of_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let aged = plimsoll_segment_log::LogConfig {
        segment_age: Some(std::time::Duration::from_secs(1)),
        ..config()
    };
    let mut log = open_in(dir.path(), aged);
    for at in [0, 900, 1000, 1001, 1500, 2002] {
        log.writer.append(EPOCH, &[batch_at(at, &[b"x"])]).unwrap();
    }
    let bases: Vec<_> = log.reader.segments().iter().map(|s| s.base.get()).collect();
    assert_eq!(bases, [0, 3, 5]);
}

#[test]
fn a_follower_keeps_offsets_and_epochs_and_refuses_what_does_not_continue() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = open_in(theirs.path(), small());
    for epoch in [1, 1, 4, 9] {
        let epoch = LeaderEpoch::new(epoch);
        leader
            .writer
            .append(epoch, &[batch(&[b"v", b"w"])])
            .unwrap();
    }
    let batches: Vec<_> = read_all(&leader.reader)
        .unwrap()
        .into_iter()
        .map(|(_, b)| of_bytes(b))
        .collect();
    let mut follower = open_in(ours.path(), small());
    let skipped = follower.writer.append_as_is(&batches[1..]);
    assert!(matches!(skipped, Err(AppendError::NotContiguous { .. })));
    follower.writer.append_as_is(&batches).unwrap();
    assert_eq!(
        read_all(&follower.reader).unwrap(),
        read_all(&leader.reader).unwrap()
    );
    assert_eq!(follower.reader.epochs(), leader.reader.epochs());
    let stale = follower
        .writer
        .append(LeaderEpoch::new(8), &[batch(&[b"x"])]);
    assert!(matches!(stale, Err(AppendError::StaleEpoch { .. })));
    let mut broken = batch(&[b"x"]);
    let mut bytes = broken.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    broken.bytes = bytes.into();
    assert!(matches!(
        follower.writer.append_as_is(&[broken]),
        Err(AppendError::Batch { index: 0, .. })
    ));
}

#[test]
fn epochs_without_records_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    log.writer.append(EPOCH, &[batch(&[b"v"])]).unwrap();
    log.writer.assign_epoch(LeaderEpoch::new(5)).unwrap();
    log.writer.assign_epoch(LeaderEpoch::new(6)).unwrap();
    let epochs = log.reader.epochs();
    drop(log);
    let log = open_in(dir.path(), small());
    assert_eq!(log.reader.epochs(), epochs);
    assert_eq!(log.reader.epoch_at(offset(0)), Some(EPOCH));
}

#[test]
fn a_bounded_host_closes_segments_and_opens_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let host = LogHost::new(3);
    let mut log = try_open(dir.path(), small(), &host).unwrap();
    for n in 0..200u32 {
        log.writer
            .append(EPOCH, &[batch(&[&n.to_be_bytes()])])
            .unwrap();
        if n % 50 == 0 {
            log.writer.checkpoint(offset(0)).run().unwrap();
        }
        let from = offset(u64::from(n) / 2);
        let read = log
            .reader
            .read(from, Offset::MAX, 1 << 20, Minimum::OneBatch)
            .unwrap();
        assert!(read.next > from);
        assert!(host.open_segments() <= 3);
    }
    assert_eq!(read_all(&log.reader).unwrap().len(), 200);
}
