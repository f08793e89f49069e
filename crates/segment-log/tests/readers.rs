//! Readers on other threads while the log rolls, is trimmed, cut, compacted and reopened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use plimsoll_record_batch::Batches;
use plimsoll_segment_log::{CompactionConfig, LogHost, LogReader, Minimum, ReadError, Retention};
use plimsoll_types::Offset;

/// The value of the record at `offset`, which a reader can check.
fn content(offset: u64) -> Vec<u8> {
    let length = usize::try_from(offset % 60).unwrap();
    format!("{offset:_<length$}").into_bytes()
}

fn check_chunks(chunks: &[bytes::Bytes]) {
    let mut expected = None;
    for chunk in chunks {
        for batch in Batches::new(chunk) {
            let batch = batch.expect("only whole, true batches are served");
            let base = batch.header().base;
            assert!(
                expected.is_none_or(|expected| expected <= base),
                "out of order"
            );
            expected = Some(batch.header().end());
            for record in batch.records(&LIMITS).unwrap().iter() {
                let record = record.unwrap();
                assert_eq!(record.value, Some(content(record.offset.get()).as_slice()));
            }
        }
    }
}

/// Reads from random places until told to stop; how many batches of chunks it got.
fn read_on(reader: &LogReader, below: &AtomicU64, stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random(seed);
    let (mut got, mut held) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) || got == 0 {
        let below = offset(below.load(Ordering::Acquire));
        let start = reader.log_start().get();
        let from = start + random.below(below.get().saturating_sub(start).max(1));
        let max = usize::try_from(random.below(5_000)).unwrap();
        match reader.read(offset(from), below, max, Minimum::OneBatch) {
            Ok(slices) => {
                check_chunks(&slices.chunks);
                got += 1;
                held.extend(slices.chunks);
                if held.len() > 40 {
                    held.drain(..).for_each(|chunk| check_chunks(&[chunk]));
                }
            }
            Err(ReadError::BelowStart { log_start }) => assert!(log_start > offset(from)),
            Err(ReadError::AboveEnd { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    got
}

#[test]
fn readers_never_see_anything_but_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let host = LogHost::new(5);
    let mut log = try_open(dir.path(), small(), &host).unwrap();
    let (below, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (below, stop) = (&below, &stop);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let reader = log.reader.clone();
            scope.spawn(move || read_on(&reader, below, stop, seed));
        }
        let sync = log.sync.clone();
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                sync.sync().unwrap();
                std::thread::yield_now();
            }
        });
        let mut random = Random(99);
        let compaction = CompactionConfig {
            min_dirty_ratio: 0.0,
            min_lag: Duration::ZERO,
            delete_retention: Duration::ZERO,
            map_bytes: 1 << 16,
        };
        for round in 0..400u64 {
            let end = log.reader.log_end();
            let value = content(end.get());
            log.writer
                .append(EPOCH, &[keyed_value(round % 9, &value)])
                .unwrap();
            // Committed a little behind, so that there is something to cut.
            let committed = end.get().saturating_sub(4);
            below.fetch_max(committed, Ordering::AcqRel);
            match random.below(30) {
                0 => drop(
                    log.writer
                        .truncate_to(offset(below.load(Ordering::Acquire))),
                ),
                1 => log.writer.checkpoint(Offset::ZERO).run().unwrap(),
                2 => {
                    let bounded = Retention {
                        bytes: Some(6_000),
                        age: None,
                    };
                    let committed = offset(committed);
                    if let Some(upkeep) = log.writer.retain(&bounded, time(0), committed).unwrap() {
                        upkeep.run().unwrap();
                    }
                }
                3 => log.writer.roll(),
                4 => {
                    if let Some(plan) =
                        log.writer
                            .compactor(&compaction, time(1 << 40), offset(committed))
                        && let Ok(compacted) = plan.run()
                        && let Ok(upkeep) = log.writer.install(compacted)
                    {
                        upkeep.run().unwrap();
                    }
                }
                _ => {}
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(log.reader.damage().is_empty(), "{:?}", log.reader.damage());
}

fn keyed_value(key: u64, value: &[u8]) -> plimsoll_segment_log::ToAppend {
    let mut builder =
        plimsoll_record_batch::BatchBuilder::new(plimsoll_record_batch::Compression::None);
    builder
        .push(&record(1_000, Some(&key.to_be_bytes()), Some(value)))
        .unwrap();
    finish(builder)
}

#[test]
fn a_sync_after_an_append_covers_it_whoever_else_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (sync, stop) = (log.sync.clone(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    sync.sync().unwrap();
                }
            });
        }
        let covered = (0..300u64).all(|n| {
            let appended = log.writer.append(EPOCH, &[keyed_value(n, b"x")]).unwrap();
            log.sync.sync().unwrap() >= appended.log_end
        });
        stop.store(true, Ordering::SeqCst);
        assert!(covered);
    });
}
