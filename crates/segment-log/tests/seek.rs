//! Finding records by time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use common::*;
use plimsoll_record_batch::{Batch, BatchBuilder, Compression};
use plimsoll_segment_log::Opened;
use plimsoll_types::Offset;

/// Records of wandering timestamps in batches of every codec, over many segments.
fn wandering(dir: &std::path::Path) -> (Opened, Vec<i64>) {
    let mut log = open_in(dir, small());
    let mut random = Random(5);
    let mut times = Vec::new();
    let codecs = [Compression::None, Compression::Lz4, Compression::Zstd];
    for n in 0..120usize {
        let mut builder = BatchBuilder::new(codecs[n % 3]);
        for _ in 0..=random.below(4) {
            let at = i64::try_from(n as u64 * 10 + random.below(40)).unwrap();
            times.push(at);
            builder.push(&record(at, None, Some(&[7; 30]))).unwrap();
        }
        log.writer.append(EPOCH, &[finish(builder)]).unwrap();
    }
    (log, times)
}

#[test]
fn the_first_record_at_or_after_a_time_is_found_inside_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (log, times) = wandering(dir.path());
    for wanted in -5..1300 {
        for below in [times.len(), times.len() / 2] {
            let found = log
                .reader
                .offset_for_timestamp(time(wanted), offset(below as u64))
                .unwrap();
            let expected = times[..below].iter().position(|at| *at >= wanted);
            let got = found.map(|found| (found.offset.get(), found.timestamp));
            let expected = expected.map(|at| (at as u64, time(times[at])));
            assert_eq!(got, expected, "time {wanted} below {below}");
        }
    }
}

#[test]
fn the_greatest_timestamp_is_found_below_any_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (log, times) = wandering(dir.path());
    let mut ends: Vec<_> = read_all(&log.reader)
        .unwrap()
        .iter()
        .map(|(h, _)| h.end().get())
        .collect();
    ends.insert(0, 0);
    for end in ends {
        let below = usize::try_from(end).unwrap();
        let found = log.reader.max_timestamp(offset(end)).unwrap();
        let greatest = times[..below].iter().max();
        let expected = greatest.map(|greatest| {
            let first = times.iter().position(|at| at == greatest).unwrap();
            (first as u64, time(*greatest))
        });
        assert_eq!(
            found.map(|found| (found.offset.get(), found.timestamp)),
            expected,
            "{end}"
        );
    }
}

#[test]
fn times_are_found_the_same_after_a_restart_and_from_the_log_start_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = wandering(dir.path());
    let before: Vec<_> = (0..130)
        .map(|n| {
            log.reader
                .offset_for_timestamp(time(n * 10), Offset::MAX)
                .unwrap()
        })
        .collect();
    log.sync.sync().unwrap();
    drop(log);
    let mut log = open_in(dir.path(), small());
    let after: Vec<_> = (0..130)
        .map(|n| {
            log.reader
                .offset_for_timestamp(time(n * 10), Offset::MAX)
                .unwrap()
        })
        .collect();
    assert_eq!(before, after);
    log.writer
        .delete_before(offset(100))
        .unwrap()
        .run()
        .unwrap();
    let first = log
        .reader
        .offset_for_timestamp(time(0), Offset::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(first.offset, offset(100));
}

#[test]
fn append_time_batches_answer_with_their_first_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let mut builder = BatchBuilder::new(Compression::None).log_append_time(time(500));
    builder.push(&record(1, None, Some(b"a"))).unwrap();
    builder.push(&record(2, None, Some(b"b"))).unwrap();
    log.writer
        .append(EPOCH, &[batch_at(100, &[b"before"]), finish(builder)])
        .unwrap();
    let found = log
        .reader
        .offset_for_timestamp(time(101), Offset::MAX)
        .unwrap()
        .unwrap();
    assert_eq!((found.offset, found.timestamp), (offset(1), time(500)));
    assert_eq!(found.leader_epoch, Some(EPOCH));
    assert_eq!(
        log.reader
            .offset_for_timestamp(time(501), Offset::MAX)
            .unwrap(),
        None
    );
    let read = read_all(&log.reader).unwrap();
    assert!(Batch::parse(&read[1].1).is_ok());
}
