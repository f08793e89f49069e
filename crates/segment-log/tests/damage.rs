//! Bit flips, missing and shortened files: found, reported, never served.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::disk::TestDisk;
use common::*;
use plimsoll_record_batch::Batches;
use plimsoll_segment_log::{
    DamageKind, FRONT_BYTES, LogConfig, LogHost, Minimum, OpenError, Opened, ReadError, SideFile,
    open,
};
use plimsoll_types::{LeaderEpoch, Offset};

const DIR: &str = "/data/log";
const FRONT: usize = 4096;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn layout() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 200,
        ..config()
    }
}

fn open_on(disk: &TestDisk<()>) -> Result<Opened, OpenError> {
    let host = LogHost::on(Arc::new(disk.clone()), 16);
    open(Path::new(DIR), identity(), layout(), &host)
}

fn disk_of(files: &Files) -> TestDisk<()> {
    let disk = TestDisk::new("/data");
    disk.put_dir(Path::new(DIR));
    for (path, content) in files {
        disk.put(path, content);
    }
    disk
}

/// Three sealed segments and a tail, checkpointed in the middle of the tail and synced to the end;
/// not closed. The log's files and what is in it.
fn workload() -> (Files, Vec<Bytes>) {
    let disk = TestDisk::new("/data");
    let mut log = open_on(&disk).unwrap();
    for n in 0..24u8 {
        let epoch = LeaderEpoch::new(1 + u32::from(n) / 9);
        let sequence = i32::from(n);
        let batches = [
            produced(4, 0, sequence, 1, 1_000),
            batch(&[&[n; 30], &[n; 3]]),
        ];
        let batches = if n % 2 == 0 {
            &batches[..]
        } else {
            &batches[..1]
        };
        log.writer.append(epoch, batches).unwrap();
        if n == 20 {
            log.writer.checkpoint(Offset::ZERO).run().unwrap();
        }
    }
    log.sync.sync().unwrap();
    assert!(log.reader.segments().len() >= 4);
    let all = read_all(&log.reader).unwrap();
    (
        disk.files(),
        all.into_iter().map(|(_, bytes)| bytes).collect(),
    )
}

/// Bytes of batches in the tail.
fn used_bytes(files: &Files) -> usize {
    let log = open_on(&disk_of(files)).unwrap();
    usize::try_from(log.reader.segments().last().unwrap().bytes).unwrap()
}

/// Everything that can be read, going on behind each damaged range; and the ranges.
fn read_around(log: &Opened, what: &str) -> (Vec<Bytes>, Vec<(Offset, Offset)>) {
    let (mut batches, mut damaged) = (Vec::new(), Vec::new());
    let mut from = log.reader.log_start();
    while from < log.reader.log_end() {
        match log
            .reader
            .read(from, Offset::MAX, 1 << 20, Minimum::OneBatch)
        {
            Ok(slices) => {
                assert!(slices.next > from, "{what}: stuck at {from}");
                for chunk in &slices.chunks {
                    batches
                        .extend(Batches::new(chunk).map(|b| chunk.slice_ref(b.unwrap().bytes())));
                }
                from = slices.next;
            }
            Err(ReadError::Damaged(damage)) => {
                assert!(damage.until > from, "{damage} does not lead on from {from}");
                damaged.push((damage.from, damage.until));
                from = damage.until;
            }
            Err(error) => panic!("{error}"),
        }
    }
    batches.dedup();
    (batches, damaged)
}

/// Opens a log with something broken in it: what is served is true, and what is not is reported.
fn check(files: &Files, whole: &[Bytes], what: &str) {
    let log = match open_on(&disk_of(files)) {
        Ok(log) => log,
        Err(OpenError::Unreadable { .. } | OpenError::NoIdentity { .. }) => return,
        Err(error) => panic!("{what}: {error}"),
    };
    let (served, damaged) = read_around(&log, what);
    for batch in &served {
        assert!(
            whole.contains(batch),
            "{what}: served what was never written"
        );
    }
    let missing = whole.len() - served.len();
    assert!(
        missing == 0 || !damaged.is_empty(),
        "{what}: {missing} batches vanished silently"
    );
    let reported = |b: &&Bytes| {
        let header = plimsoll_record_batch::BatchHeader::decode(b).unwrap();
        damaged
            .iter()
            .any(|(from, until)| *from <= header.base && header.base < *until)
    };
    let silent = whole
        .iter()
        .filter(|b| !served.contains(b))
        .filter(|b| !reported(b))
        .count();
    assert_eq!(silent, 0, "{what}: {damaged:?}");
    let end = whole
        .last()
        .map(|b| plimsoll_record_batch::BatchHeader::decode(b).unwrap().end());
    assert_eq!(
        Some(log.reader.log_end()),
        end,
        "{what}: offsets would be given out again"
    );
}

#[test]
fn no_flipped_bit_is_ever_served_or_costs_more_than_its_interval() {
    let (files, whole) = workload();
    let mut random = Random(7);
    for (path, content) in &files {
        let is_segment = path.extension().is_some_and(|end| end == "log");
        for (at, byte) in content.iter().enumerate() {
            // Most of a front is zeros that nobody looks at.
            if is_segment && at < FRONT && *byte == 0 && at % 64 != 0 {
                continue;
            }
            let bit = random.below(8);
            let mut broken = files.clone();
            broken.get_mut(path).unwrap()[at] ^= 1 << bit;
            check(
                &broken,
                &whole,
                &format!("{} byte {at} bit {bit}", path.display()),
            );
        }
    }
}

#[test]
fn no_cut_or_zeroed_or_repeated_stretch_is_ever_served() {
    let (files, whole) = workload();
    let mut random = Random(11);
    for (path, content) in &files {
        for _ in 0..60 {
            let at = usize::try_from(random.below(content.len() as u64)).unwrap();
            let end = content
                .len()
                .min(at + usize::try_from(random.below(300)).unwrap() + 1);
            let mut broken = files.clone();
            let bytes = broken.get_mut(path).unwrap();
            let what = match random.below(3) {
                0 => {
                    bytes.truncate(at);
                    "cut"
                }
                1 => {
                    bytes[at..end].fill(0);
                    "zeroed"
                }
                _ => {
                    let from = usize::try_from(random.below(at as u64 + 1)).unwrap();
                    let length = (end - at).min(content.len() - from);
                    let copy = content[from..from + length].to_vec();
                    bytes[at..at + length].copy_from_slice(&copy);
                    "repeated"
                }
            };
            check(
                &broken,
                &whole,
                &format!("{} {what} {at}..{end}", path.display()),
            );
        }
    }
}

#[test]
fn a_missing_segment_is_damage_and_what_is_around_it_is_served() {
    let (files, whole) = workload();
    let segments: Vec<_> = files
        .keys()
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    for segment in &segments {
        let mut broken = files.clone();
        broken.remove(*segment);
        check(&broken, &whole, &format!("without {}", segment.display()));
        let log = open_on(&disk_of(&broken)).unwrap();
        let damage = log.recovery.damage;
        assert!(
            damage
                .iter()
                .any(|damage| damage.kind == DamageKind::Missing),
            "{damage:?}"
        );
    }
}

#[test]
fn side_files_that_are_gone_are_rebuilt() {
    let (files, whole) = workload();
    for (path, _) in files
        .iter()
        .filter(|(path, _)| path.extension().is_none_or(|e| e != "log"))
    {
        let mut broken = files.clone();
        broken.remove(path);
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "partition.meta" {
            let refused = open_on(&disk_of(&broken)).unwrap_err();
            assert!(matches!(refused, OpenError::NoIdentity { .. }));
            continue;
        }
        let log = open_on(&disk_of(&broken)).unwrap();
        let (served, damaged) = read_around(&log, "");
        assert_eq!((served, damaged), (whole.clone(), vec![]), "without {name}");
        let epochs: Vec<_> = log
            .reader
            .epochs()
            .entries()
            .iter()
            .map(|e| e.epoch.get())
            .collect();
        assert_eq!(epochs, [1, 2, 3], "without {name}");
        let next = produced(4, 0, 24, 1, 1_000).header;
        let verdict = log.writer.producers().check(&next);
        assert_eq!(
            verdict,
            plimsoll_segment_log::Verdict::Append,
            "without {name}"
        );
    }
}

#[test]
fn garbled_side_files_are_named_in_the_report() {
    let (files, _) = workload();
    for (name, side) in [
        ("checkpoint", SideFile::Checkpoint),
        ("epochs", SideFile::Epochs),
    ] {
        let mut broken = files.clone();
        let path = Path::new(DIR).join(name);
        broken.get_mut(&path).unwrap()[13] ^= 0x40;
        let log = open_on(&disk_of(&broken)).unwrap();
        assert!(
            log.recovery.rebuilt.contains(&side),
            "{name}: {:?}",
            log.recovery
        );
    }
}

#[test]
fn a_torn_tail_is_cut_and_a_flipped_bit_below_the_durable_end_is_not() {
    let (files, whole) = workload();
    let tail = files
        .keys()
        .rfind(|p| p.extension().is_some_and(|e| e == "log"))
        .unwrap();
    // Behind the durable end: half a batch.
    let mut torn = files.clone();
    let used = FRONT + used_bytes(&files);
    let half = whole[0][..40].to_vec();
    let bytes = torn.get_mut(tail).unwrap();
    bytes.truncate(used);
    bytes.extend_from_slice(&half);
    let log = open_on(&disk_of(&torn)).unwrap();
    assert_eq!(log.recovery.cut.map(|cut| cut.bytes), Some(40));
    assert_eq!(read_around(&log, ""), (whole.clone(), vec![]));
    // Below it: the last batch, which recovery reads.
    let mut flipped = files.clone();
    flipped.get_mut(tail).unwrap()[used - 1] ^= 1;
    let log = open_on(&disk_of(&flipped)).unwrap();
    assert_eq!(log.recovery.cut, None);
    assert_eq!(log.recovery.damage.len(), 1);
    let (served, damaged) = read_around(&log, "");
    assert_eq!((served.len(), damaged.len()), (whole.len() - 1, 1));
}

#[test]
fn a_log_with_damage_goes_on_behind_it_and_reports_it_again() {
    let (mut files, _) = workload();
    let tail = files
        .keys()
        .rfind(|p| p.extension().is_some_and(|e| e == "log"))
        .unwrap()
        .clone();
    let used = FRONT + used_bytes(&files);
    files.get_mut(&tail).unwrap()[used - 1] ^= 1;
    let disk = disk_of(&files);
    let mut log = open_on(&disk).unwrap();
    let end = log.reader.log_end();
    let appended = log
        .writer
        .append(LeaderEpoch::new(9), &[batch(&[b"on"])])
        .unwrap();
    assert_eq!(appended.first, end);
    log.writer.close(Offset::ZERO).unwrap();
    let log = open_on(&disk).unwrap();
    let (served, damaged) = read_around(&log, "");
    assert_eq!(damaged.len(), 1);
    assert_eq!(log.reader.damage().len(), 1);
    assert!(!served.is_empty());
}

#[test]
fn another_partitions_directory_does_not_open() {
    let (files, _) = workload();
    let other = plimsoll_segment_log::Identity {
        partition: 4,
        ..identity()
    };
    let host = LogHost::on(Arc::new(disk_of(&files)), 4);
    let refused = open(Path::new(DIR), other, layout(), &host).unwrap_err();
    assert!(matches!(refused, OpenError::WrongIdentity { .. }));
    assert!(refused.to_string().contains("partition.meta"), "{refused}");
}

#[test]
fn bit_flipped_in_a_sealed_segment_while_the_log_is_up_is_not_served() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, identity(), layout(), &LogHost::new(16)).unwrap();
    for n in 0..24u8 {
        let appended = [batch(&[&[n; 30], &[n; 3]])];
        log.writer.append(EPOCH, &appended).unwrap();
    }
    let sealed = log.reader.segments()[1];
    assert!(sealed.sealed);
    let file = path.join(format!("{:020}.log", sealed.base.get()));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, FRONT_BYTES + 70).unwrap();
    file.write_all_at(&[byte[0] ^ 1], FRONT_BYTES + 70).unwrap();
    let (_, damaged) = read_around(&log, "a live log");
    assert_eq!(damaged.len(), 1);
    assert!(sealed.base <= damaged[0].0 && damaged[0].1 <= sealed.end);
}

#[test]
fn bit_flipped_after_it_was_verified_and_served_is_not_served_again() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path, identity(), layout(), &LogHost::new(16)).unwrap();
    for n in 0..24u8 {
        let appended = [batch(&[&[n; 30], &[n; 3]])];
        log.writer.append(EPOCH, &appended).unwrap();
    }
    let whole = read_all(&log.reader).unwrap();
    let sealed = log.reader.segments()[1];
    assert!(sealed.sealed);
    let file = path.join(format!("{:020}.log", sealed.base.get()));
    let options = std::fs::File::options().read(true).write(true).open(file);
    let file = options.unwrap();
    let mut byte = [0];
    // In the records of its third batch, behind the first interval.
    let at = FRONT_BYTES + 80 + 2 * whole[0].1.len() as u64;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let third = sealed.base + 4;
    let front = log
        .reader
        .read(Offset::ZERO, Offset::MAX, 1 << 20, Minimum::OneBatch)
        .unwrap();
    assert_eq!(front.next, third, "what is before it is served");
    let read = log
        .reader
        .read(third, Offset::MAX, 1 << 20, Minimum::OneBatch);
    let Err(ReadError::Damaged(damage)) = read else {
        panic!("{read:?}");
    };
    assert!(sealed.base <= damage.from && damage.from <= third);
    assert!(third < damage.until && damage.until < sealed.end);
    let (served, damaged) = read_around(&log, "a live log");
    assert_eq!(damaged, [(damage.from, damage.until)]);
    let was_there = |one: &Bytes| whole.iter().any(|(_, all)| all == one);
    assert!(served.iter().all(was_there));
}

/// Flips a bit of the record's value that begins so, in the file and so in every map of it.
fn flip_in(file: &Path, value: &[u8]) {
    use std::os::unix::fs::FileExt;
    let content = std::fs::read(file).unwrap();
    let at = content.windows(value.len()).position(|at| at == value);
    let at = at.unwrap() as u64 + 4;
    let options = std::fs::File::options().read(true).write(true).open(file);
    let (file, mut byte) = (options.unwrap(), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn a_flipped_bit_in_what_was_written_long_ago_in_the_active_segment_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let large = LogConfig {
        segment_bytes: 1 << 30,
        ..config()
    };
    let mut log = open(&path, identity(), large, &LogHost::new(16)).unwrap();
    let big = vec![7; 1 << 20];
    for n in 0..100u8 {
        let value = [b"begins ", &[b'a' + n % 26, b'a' + n / 26][..], &big].concat();
        log.writer.append(EPOCH, &[batch(&[&value])]).unwrap();
        let read = |from| log.reader.read(from, Offset::MAX, 1, Minimum::OneBatch);
        // As somebody reads who follows, so that it is open all the while.
        assert!(read(offset(u64::from(n))).unwrap().bytes > big.len());
    }
    assert_eq!(log.reader.segments().len(), 1);
    let file = path.join("00000000000000000000.log");
    flip_in(&file, b"begins da");
    let read = |from| (log.reader).read(offset(from), Offset::MAX, 3 << 20, Minimum::OneBatch);
    assert!(matches!(read(3), Err(ReadError::Damaged(_))));
    assert_eq!(read(1).unwrap().next, offset(3), "up to there it is served");
    assert!(read(4).is_ok() && read(98).is_ok());
    assert_eq!(log.reader.damage().len(), 1);
}

#[test]
fn a_flipped_bit_in_an_active_segment_that_was_closed_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let host = LogHost::new(1);
    let [mut idle, mut busy] =
        ["idle", "busy"].map(|of| open(&dir.path().join(of), identity(), config(), &host).unwrap());
    for n in *b"abc" {
        let value = [b"begins ", &[n][..]].concat();
        idle.writer.append(EPOCH, &[batch(&[&value])]).unwrap();
    }
    assert_eq!(read_all(&idle.reader).unwrap().len(), 3);
    // One is open at a time, if it was not used of late.
    for _ in 0..3 {
        busy.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap();
        read_all(&busy.reader).unwrap();
    }
    flip_in(
        &dir.path().join("idle/00000000000000000000.log"),
        b"begins b",
    );
    idle.writer.append(EPOCH, &[batch(&[b"later"])]).unwrap();
    let read = |from| (idle.reader).read(offset(from), Offset::MAX, 1 << 20, Minimum::OneBatch);
    assert!(matches!(read(1), Err(ReadError::Damaged(_))));
    assert_eq!(read(0).unwrap().next, offset(1), "up to there it is served");
}
