//! Compaction: what stays, what goes, and that nobody notices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use plimsoll_record_batch::{Batch, BatchBuilder, Compression};
use plimsoll_segment_log::{
    CompactionConfig, CompactionError, FRONT_BYTES, InstallError, LogConfig, LogWriter, Minimum,
    Opened, Verdict,
};
use plimsoll_types::{Offset, Timestamp};

fn always() -> CompactionConfig {
    CompactionConfig {
        min_dirty_ratio: 0.0,
        min_lag: Duration::ZERO,
        delete_retention: Duration::from_secs(10),
        map_bytes: 1 << 20,
    }
}

fn compact(log: &mut Opened, config: &CompactionConfig, now: Timestamp) -> bool {
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    let Some(plan) = log.writer.compactor(config, now, Offset::MAX) else {
        return false;
    };
    let compacted = plan.run().unwrap();
    log.writer.install(compacted).unwrap().run().unwrap();
    true
}

/// Offset, key and value of every record.
fn records(log: &Opened) -> Vec<(u64, Option<String>, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = Vec::new();
    for (_, bytes) in read_all(&log.reader).unwrap() {
        let batch = Batch::parse(&bytes).unwrap();
        for record in batch.records(&LIMITS).unwrap().iter() {
            let record = record.unwrap();
            all.push((
                record.offset.get(),
                record.key.map(text),
                record.value.map(text),
            ));
        }
    }
    all
}

fn fill(writer: &mut LogWriter, from: u64, count: u64, keys: u64) {
    for n in from..from + count {
        let (key, value) = (format!("k{}", n % keys), format!("v{n}"));
        writer
            .append(EPOCH, &[keyed(1_000, &[(&key, Some(&value))])])
            .unwrap();
    }
}

#[test]
fn the_latest_record_of_each_key_stays_at_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    fill(&mut log.writer, 0, 100, 7);
    log.writer.roll();
    fill(&mut log.writer, 100, 3, 7);
    let end = log.reader.log_end();
    assert!(compact(&mut log, &always(), time(5_000)));
    let left = records(&log);
    let latest: BTreeMap<_, _> = left
        .iter()
        .map(|(o, k, v)| (k.clone(), (*o, v.clone())))
        .collect();
    assert_eq!(latest.len(), 7);
    for (offset, key, value) in &left {
        assert_eq!(key.as_deref(), Some(format!("k{}", offset % 7).as_str()));
        assert_eq!(value.as_deref(), Some(format!("v{offset}").as_str()));
    }
    // The unsealed tail is as it was; below it, one record a key.
    assert_eq!(left.len(), 7 + 3);
    assert_eq!(log.reader.log_end(), end);
    for from in 0..end.get() {
        let read = log
            .reader
            .read(offset(from), Offset::MAX, 1, Minimum::OneBatch)
            .unwrap();
        assert!(read.next > offset(from), "from {from}");
    }
}

#[test]
fn a_compacted_log_is_the_same_after_a_restart_and_merges_small_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    fill(&mut log.writer, 0, 100, 5);
    log.writer.roll();
    let before = log.reader.segments().len();
    assert!(compact(&mut log, &always(), time(5_000)));
    assert!(compact_dry(&mut log));
    let after = log.reader.segments().len();
    assert!(after < before, "{after} of {before}");
    let left = records(&log);
    drop(log);
    let log = open_in(dir.path(), small());
    assert!(log.recovery.damage.is_empty() && log.recovery.cut.is_none());
    assert_eq!(records(&log), left);
    assert_eq!(log.reader.segments().len(), after);
}

/// Nothing is dirty after a compaction.
fn compact_dry(log: &mut Opened) -> bool {
    log.writer
        .compactor(&always(), time(5_000), Offset::MAX)
        .is_none()
}

#[test]
fn readers_keep_what_they_hold_over_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    fill(&mut log.writer, 0, 60, 3);
    log.writer.roll();
    let held = read_all(&log.reader).unwrap();
    let copies: Vec<_> = held.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    assert!(compact(&mut log, &always(), time(5_000)));
    assert_eq!(
        held.iter()
            .map(|(_, bytes)| bytes.to_vec())
            .collect::<Vec<_>>(),
        copies
    );
}

#[test]
fn tombstones_stay_until_their_horizon_and_then_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    log.writer
        .append(EPOCH, &[keyed(1, &[("a", Some("1")), ("b", Some("1"))])])
        .unwrap();
    log.writer
        .append(EPOCH, &[keyed(2, &[("a", None)])])
        .unwrap();
    log.writer.roll();
    assert!(compact(&mut log, &always(), time(100_000)));
    let with_tombstone = vec![
        (1, Some("b".into()), Some("1".into())),
        (2, Some("a".into()), None),
    ];
    assert_eq!(records(&log), with_tombstone);
    // Timestamps are as before although the batch now counts from its horizon.
    let found = log
        .reader
        .offset_for_timestamp(time(2), Offset::MAX)
        .unwrap()
        .unwrap();
    assert_eq!((found.offset, found.timestamp), (offset(2), time(2)));

    fill(&mut log.writer, 0, 1, 1);
    log.writer.roll();
    assert!(compact(&mut log, &always(), time(109_999)));
    assert_eq!(records(&log).len(), 3, "before its time");
    fill(&mut log.writer, 0, 1, 1);
    log.writer.roll();
    assert!(compact(&mut log, &always(), time(110_000)));
    let keys: Vec<_> = records(&log)
        .into_iter()
        .map(|(_, key, _)| key.unwrap())
        .collect();
    assert_eq!(keys, ["b", "k0"]);
}

#[test]
fn a_producers_last_batch_stays_emptied_so_that_its_sequence_survives() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let producer = plimsoll_record_batch::Producer {
        id: plimsoll_types::ProducerId::new(9).unwrap(),
        epoch: plimsoll_types::ProducerEpoch(0),
        base_sequence: 0,
    };
    let mut builder = BatchBuilder::new(Compression::None).producer(producer);
    builder.push(&record(5, Some(b"a"), Some(b"old"))).unwrap();
    let batch = finish(builder);
    log.writer
        .append(EPOCH, std::slice::from_ref(&batch))
        .unwrap();
    log.writer
        .append(EPOCH, &[keyed(6, &[("a", Some("new"))])])
        .unwrap();
    log.writer.roll();
    assert!(compact(&mut log, &always(), time(100)));
    let left = read_all(&log.reader).unwrap();
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].0.records, left[0].0.producer), (0, Some(producer)));
    assert_eq!(records(&log).len(), 1);

    // Without its snapshot the producer is known from the emptied batch.
    drop(log);
    for entry in std::fs::read_dir(dir.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "producers") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let log = open_in(dir.path(), small());
    assert!(matches!(
        log.writer.producers().check(&batch.header),
        Verdict::Duplicate { .. }
    ));
}

#[test]
fn records_without_a_key_and_later_than_the_map_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    log.writer.append(EPOCH, &[batch(&[b"keyless"])]).unwrap();
    fill(&mut log.writer, 0, 50, 50);
    fill(&mut log.writer, 50, 50, 50);
    log.writer.roll();
    let narrow = CompactionConfig {
        map_bytes: 64 * 20,
        ..always()
    };
    let mut rounds = 0;
    while compact(&mut log, &narrow, time(5_000)) {
        rounds += 1;
        let left = records(&log);
        let latest = left.iter().filter(|(o, ..)| *o > 50).count();
        assert_eq!(latest, 50, "the latest are never lost");
        assert!(left.iter().any(|(_, key, _)| key.is_none()));
    }
    assert!(rounds > 3, "{rounds} rounds");
    // A record goes when the pass comes by that knows of a later one.
    let left = records(&log);
    assert_eq!(left.len(), 51);
}

#[test]
fn nothing_young_undurable_or_above_the_bound_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    fill(&mut log.writer, 0, 30, 3);
    log.writer.roll();
    assert!(
        log.writer
            .compactor(&always(), time(5_000), Offset::MAX)
            .is_none(),
        "not durable"
    );
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    assert!(
        log.writer
            .compactor(&always(), time(5_000), offset(1))
            .is_none(),
        "not committed"
    );
    let lagging = CompactionConfig {
        min_lag: Duration::from_secs(4),
        ..always()
    };
    assert!(
        log.writer
            .compactor(&lagging, time(4_999), Offset::MAX)
            .is_none(),
        "too young"
    );
    assert!(
        log.writer
            .compactor(&lagging, time(5_000), Offset::MAX)
            .is_some()
    );
}

#[test]
fn a_compaction_that_was_overtaken_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    fill(&mut log.writer, 0, 50, 3);
    log.writer.roll();
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    let plan = log
        .writer
        .compactor(&always(), time(5_000), Offset::MAX)
        .unwrap();
    let compacted = plan.run().unwrap();
    log.writer.truncate_to(offset(10)).unwrap();
    let refused = log.writer.install(compacted);
    assert_eq!(refused.unwrap_err(), InstallError::Overtaken);
    let names = std::fs::read_dir(dir.path().join("log")).unwrap();
    for entry in names {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().ends_with(".cleaned"), "{name:?}");
    }
    assert_eq!(records(&log).len(), 10);
}

#[test]
fn every_codec_and_the_append_time_survive_cleaning() {
    let dir = tempfile::tempdir().unwrap();
    let large = LogConfig {
        segment_bytes: 1 << 20,
        ..small()
    };
    let mut log = open_in(dir.path(), large);
    let codecs = [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for codec in codecs {
        let mut builder = BatchBuilder::new(codec).log_append_time(time(77));
        builder.push(&record(1, Some(b"same"), Some(b"x"))).unwrap();
        let key = format!("{codec:?}");
        builder
            .push(&record(1, Some(key.as_bytes()), Some(&[1; 500])))
            .unwrap();
        log.writer.append(EPOCH, &[finish(builder)]).unwrap();
    }
    log.writer.roll();
    assert!(compact(&mut log, &always(), time(5_000)));
    let left = read_all(&log.reader).unwrap();
    let kept: Vec<_> = left.iter().map(|(header, _)| header.records).collect();
    assert_eq!(kept, [1, 1, 1, 2]);
    for ((header, _), codec) in left.iter().zip(codecs) {
        assert_eq!(header.attributes.compression(), codec);
        assert_eq!(header.max_timestamp, time(77));
    }
}

#[test]
fn a_bit_that_flips_after_it_was_verified_is_not_cleaned_into_a_new_checksum() {
    use std::os::unix::fs::FileExt;
    // In a record that stays of a batch that is rebuilt; in one that is copied; in what the
    // batches' checksums leave out.
    for (which, at) in [(1, 100), (2, 75), (1, 7), (2, 15)] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path(), small());
        let records: [&[(&str, Option<&str>)]; 4] = [
            &[("a", Some("1")), ("b", Some("1"))],
            &[
                ("a", Some("2")),
                ("c", Some("a value that stays, and is long")),
            ],
            &[("d", Some("a value that stays"))],
            &[("a", Some("3")), ("b", Some("3"))],
        ];
        let batches = records.map(|records| keyed(1_000, records));
        log.writer.append(EPOCH, &batches).unwrap();
        log.writer.roll();
        fill(&mut log.writer, 0, 1, 1);
        log.writer.checkpoint(Offset::ZERO).run().unwrap();
        let whole = read_all(&log.reader).unwrap();
        let before: usize = whole[..which].iter().map(|(_, bytes)| bytes.len()).sum();
        let path = dir.path().join("log/00000000000000000000.log");
        let options = std::fs::File::options().read(true).write(true).open(path);
        let (file, at) = (options.unwrap(), FRONT_BYTES + before as u64 + at);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let plan = log.writer.compactor(&always(), time(5_000), Offset::MAX);
        let refused = plan.unwrap().run();
        assert!(
            matches!(refused, Err(CompactionError::Damaged(_))),
            "batch {which}, byte {at}: {refused:?}"
        );
        assert_eq!(log.reader.damage().len(), 1, "it is told");
    }
}

#[test]
fn what_is_gone_keeps_its_place_in_one_batch_without_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_in(dir.path(), small());
    let mut sizes = Vec::new();
    for round in 0..3 {
        fill(&mut log.writer, round * 100, 100, 5);
        log.writer.roll();
        assert!(compact(&mut log, &always(), time(5_000)));
        let mut expected = Offset::ZERO;
        let mut fillers = 0;
        for (header, _) in read_all(&log.reader).unwrap() {
            assert_eq!(header.base, expected, "a gap");
            expected = header.end();
            fillers += u64::from(header.records == 0);
        }
        assert_eq!(expected, log.reader.log_end());
        assert_eq!(records(&log).len(), 5);
        sizes.push((log.reader.size_bytes(), fillers));
    }
    // One for each segment at most, and they do not add up.
    let segments = log.reader.segments().len() as u64;
    assert!(sizes[2].1 <= segments, "{sizes:?}, {segments} segments");
    assert!(sizes[2].0 <= sizes[0].0 + 2 * 61, "{sizes:?}");
}
