//! A disk that is full, fails, or writes less than it was given.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::disk::{Fault, Step, TestDisk};
use common::image::{Loss, Replay};
use common::*;
use plimsoll_segment_log::disk::{Disk, Faults, FaultyDisk, RealDisk};
use plimsoll_segment_log::{
    AppendError, DamageKind, FailedStep, LogHost, Minimum, Opened, ReadError, Retention,
    SegmentView, UpkeepError, open,
};
use plimsoll_types::Offset;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn open_on(disk: &TestDisk<()>) -> Opened {
    let host = LogHost::on(Arc::new(disk.clone()), 16);
    open(Path::new("/data/log"), identity(), small(), &host).unwrap()
}

fn disk() -> TestDisk<()> {
    TestDisk::new("/data")
}

/// Appends until the next append needs a new segment.
fn fill(log: &mut Opened) -> usize {
    let mut batches = 0;
    while batches == 0 || log.reader.segments().last().unwrap().bytes < 900 {
        log.writer.append(EPOCH, &[batch(&[&[1; 30]])]).unwrap();
        batches += 1;
    }
    batches
}

/// Fails every such step on a file with such an extension.
fn fail(disk: &TestDisk<()>, step: Step, extension: &'static str, errno: i32) {
    disk.inject(move |at, of| (at == step && of == extension).then_some(Fault::Errno(errno)));
}

#[test]
fn a_full_disk_refuses_the_append_and_changes_nothing() {
    let disk = disk();
    let mut log = open_on(&disk);
    let before = fill(&mut log);
    fail(&disk, Step::Allocate, "log", ENOSPC);
    let several: Vec<_> = (0..40).map(|_| batch(&[&[2; 30]])).collect();
    let refused = log.writer.append(EPOCH, &several).unwrap_err();
    assert!(matches!(refused, AppendError::NoSpace { .. }));
    assert!(!log.writer.is_poisoned());
    assert_eq!(read_all(&log.reader).unwrap().len(), before);
    disk.inject(|_, _| None);
    log.writer.append(EPOCH, &several).unwrap();
    assert_eq!(read_all(&log.reader).unwrap().len(), before + 40);
    log.sync.sync().unwrap();
    drop(log);
    let log = open_on(&disk);
    assert!(log.recovery.damage.is_empty() && log.recovery.cut.is_none());
    assert_eq!(read_all(&log.reader).unwrap().len(), before + 40);
}

#[test]
fn a_disk_that_is_full_from_the_start_refuses_the_first_append_and_takes_a_later_one() {
    for (step, extension) in [
        (Step::Create, "tmp"),
        (Step::Write, "tmp"),
        (Step::Create, "log"),
    ] {
        let disk = disk();
        let mut log = open_on(&disk);
        fail(&disk, step, extension, ENOSPC);
        let refused = log.writer.append(EPOCH, &[batch(&[b"a"])]).unwrap_err();
        assert!(
            matches!(refused, AppendError::NoSpace { .. }),
            "{step:?} {extension}"
        );
        disk.inject(|_, _| None);
        log.writer.append(EPOCH, &[batch(&[b"b"])]).unwrap();
        drop(log);
        assert_eq!(values(&open_on(&disk).reader), [(0, Some(b"b".to_vec()))]);
    }
}

#[test]
fn a_failed_write_poisons_the_log_and_publishes_nothing() {
    let disk = disk();
    let mut log = open_on(&disk);
    let before = fill(&mut log);
    log.sync.sync().unwrap();
    fail(&disk, Step::Write, "log", EIO);
    let refused = log.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap_err();
    let AppendError::Poisoned(poisoned) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (poisoned.step, poisoned.errno),
        (FailedStep::Write, Some(EIO))
    );
    disk.inject(|_, _| None);
    assert!(log.writer.append(EPOCH, &[batch(&[b"y"])]).is_err());
    assert!(log.sync.sync().is_err());
    assert!(log.writer.delete_before(offset(1)).is_err());
    assert_eq!(read_all(&log.reader).unwrap().len(), before);
    drop(log);
    assert_eq!(read_all(&open_on(&disk).reader).unwrap().len(), before);
}

#[test]
fn short_writes_are_gone_on_with() {
    let disk = disk();
    let mut log = open_on(&disk);
    let mut random = Random(3);
    disk.inject(move |step, _| {
        let bytes = usize::try_from(random.below(50) + 1).unwrap();
        (step == Step::Write).then_some(Fault::Short(bytes))
    });
    for n in 0..50u8 {
        log.writer
            .append(EPOCH, &[batch(&[&[n; 70]]), batch(&[&[n; 3]])])
            .unwrap();
    }
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    assert_eq!(read_all(&log.reader).unwrap().len(), 100);
    drop(log);
    let log = open_on(&disk);
    assert_eq!(log.recovery, plimsoll_segment_log::Recovery::default());
    assert_eq!(read_all(&log.reader).unwrap().len(), 100);
}

#[test]
fn a_write_that_stops_in_the_middle_is_cut_at_the_next_start() {
    let disk = disk();
    let mut log = open_on(&disk);
    fill(&mut log);
    // Into a new segment, so that its front is not what is written next.
    log.writer.roll();
    log.writer.append(EPOCH, &[batch(&[b"a"])]).unwrap();
    let before = read_all(&log.reader).unwrap().len();
    log.sync.sync().unwrap();
    let mut first = true;
    disk.inject(move |step, extension| match (step, extension) {
        (Step::Write, "log") if std::mem::take(&mut first) => Some(Fault::Short(100)),
        (Step::Write, "log") => Some(Fault::Errno(EIO)),
        _ => None,
    });
    let two = [batch(&[&[3; 10]]), batch(&[&[4; 10]])];
    assert!(log.writer.append(EPOCH, &two).is_err());
    assert_eq!(read_all(&log.reader).unwrap().len(), before);
    drop(log);
    disk.inject(|_, _| None);
    let log = open_on(&disk);
    assert!(log.recovery.cut.is_some());
    // The first of the two was whole: written, not promised, and there.
    assert_eq!(read_all(&log.reader).unwrap().len(), before + 1);
}

#[test]
fn a_failed_sync_poisons_the_log_for_good_and_is_not_tried_again() {
    for (step, extension) in [(Step::Sync, "log"), (Step::SyncDir, "")] {
        let disk = disk();
        let mut log = open_on(&disk);
        fill(&mut log);
        log.sync.sync().unwrap();
        let durable = log.sync.durable_end();
        let many: Vec<_> = (0..40).map(|_| batch(&[&[2; 30]])).collect();
        log.writer.append(EPOCH, &many).unwrap();
        fail(&disk, step, extension, EIO);
        let failed = log.sync.sync().unwrap_err();
        assert_eq!(failed.step, FailedStep::Sync);
        disk.inject(|_, _| None);
        assert_eq!(log.sync.sync().unwrap_err(), failed);
        assert_eq!(log.sync.durable_end(), durable);
        assert!(matches!(
            log.writer.append(EPOCH, &many),
            Err(AppendError::Poisoned(_))
        ));
        let upkeep = log.writer.checkpoint(Offset::ZERO);
        assert!(matches!(upkeep.run(), Err(UpkeepError::Poisoned(_))));
    }
}

#[test]
fn a_checkpoint_that_finds_no_room_is_made_up_for_later() {
    let disk = disk();
    let mut log = open_on(&disk);
    for n in 0..60u8 {
        log.writer.append(EPOCH, &[batch(&[&[n; 40]])]).unwrap();
    }
    let bounded = Retention {
        bytes: Some(2000),
        age: None,
    };
    fail(&disk, Step::Write, "tmp", ENOSPC);
    let upkeep = log
        .writer
        .retain(&bounded, time(0), Offset::MAX)
        .unwrap()
        .unwrap();
    assert!(matches!(upkeep.run(), Err(UpkeepError::NoSpace)));
    assert!(!log.writer.is_poisoned());
    let segments = |disk: &TestDisk<()>| {
        disk.files()
            .keys()
            .filter(|p| p.extension().is_some_and(|e| e == "log"))
            .count()
    };
    assert!(
        segments(&disk) > log.reader.segments().len(),
        "no file goes before its checkpoint"
    );
    disk.inject(|_, _| None);
    upkeep.run().unwrap();
    assert_eq!(segments(&disk), log.reader.segments().len());
}

#[test]
fn a_failed_epoch_is_not_half_begun() {
    let disk = disk();
    let mut log = open_on(&disk);
    fill(&mut log);
    fail(&disk, Step::Write, "", ENOSPC);
    let next = plimsoll_types::LeaderEpoch::new(2);
    assert!(matches!(
        log.writer.assign_epoch(next),
        Err(AppendError::NoSpace { .. })
    ));
    assert_eq!(log.reader.epochs().latest(), Some(EPOCH));
    disk.inject(|_, _| None);
    log.writer.append(next, &[batch(&[b"x"])]).unwrap();
    drop(log);
    assert_eq!(open_on(&disk).reader.epochs().latest(), Some(next));
}

#[test]
fn an_epoch_whose_sync_failed_is_written_anew_before_its_batches() {
    let disk = disk();
    let mut log = open_on(&disk);
    fill(&mut log);
    log.sync.sync().unwrap();
    fail(&disk, Step::Sync, "", EIO);
    let next = plimsoll_types::LeaderEpoch::new(2);
    assert!(matches!(
        log.writer.assign_epoch(next),
        Err(AppendError::Poisoned(_))
    ));
    assert!(log.writer.assign_epoch(next).is_err(), "not tried again");
    disk.inject(|_, _| None);
    drop(log);
    // The system has the entry in memory, and takes it for written.
    let mut log = open_on(&disk);
    assert_eq!(log.reader.epochs().latest(), Some(next));
    log.writer.append(next, &[batch(&[b"x"])]).unwrap();
    log.sync.sync().unwrap();
    let written = values(&log.reader);
    drop(log);
    let log = open_on(&without_power(&disk));
    assert!(log.recovery.damage.is_empty() && log.recovery.cut.is_none());
    assert_eq!(log.reader.epochs().latest(), Some(next));
    assert_eq!(values(&log.reader), written);
}

#[test]
fn an_epoch_that_found_no_room_is_not_in_the_file_beside_older_batches() {
    let disk = disk();
    let mut log = open_on(&disk);
    fill(&mut log);
    fail(&disk, Step::Sync, "", ENOSPC);
    let next = plimsoll_types::LeaderEpoch::new(5);
    assert!(matches!(
        log.writer.assign_epoch(next),
        Err(AppendError::NoSpace { .. })
    ));
    disk.inject(|_, _| None);
    log.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap();
    log.sync.sync().unwrap();
    let written = values(&log.reader);
    drop(log);
    let log = open_on(&disk);
    assert!(log.recovery.damage.is_empty() && log.recovery.cut.is_none());
    assert_eq!(log.reader.epochs().latest(), Some(EPOCH));
    assert_eq!(values(&log.reader), written);
}

/// A log of several sealed segments in a directory, and a tail.
fn on_disk(disk: Arc<dyn Disk>, dir: &Path) -> Opened {
    let host = LogHost::on(disk, 16);
    let mut log = open(&dir.join("log"), identity(), small(), &host).unwrap();
    for n in 0..60u8 {
        log.writer.append(EPOCH, &[batch(&[&[n; 40]])]).unwrap();
    }
    log.sync.sync().unwrap();
    assert!(log.reader.segments().len() > 3);
    log
}

fn file_of(dir: &Path, segment: &SegmentView) -> std::path::PathBuf {
    dir.join("log")
        .join(format!("{:020}.log", segment.base.get()))
}

fn damage_at(log: &Opened, from: Offset) -> DamageKind {
    match log
        .reader
        .read(from, Offset::MAX, 1 << 20, Minimum::OneBatch)
    {
        Err(ReadError::Damaged(damage)) => damage.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn segment_that_somebody_cut_is_damage_and_not_the_end_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let log = on_disk(Arc::new(RealDisk), dir.path());
    read_all(&log.reader).unwrap();
    let segments = log.reader.segments();
    let (sealed, tail) = (segments[1], segments[segments.len() - 1]);
    assert!(sealed.sealed && !tail.sealed);
    for segment in [sealed, tail] {
        let file = std::fs::File::options()
            .write(true)
            .open(file_of(dir.path(), &segment))
            .unwrap();
        file.set_len(0).unwrap();
        assert_eq!(damage_at(&log, segment.base), DamageKind::Short);
    }
    let around = log
        .reader
        .read(segments[2].base, Offset::MAX, 1, Minimum::OneBatch)
        .unwrap();
    assert!(!around.chunks.is_empty(), "what is around it is served");
}

#[test]
fn segment_that_somebody_removed_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = on_disk(Arc::new(RealDisk), dir.path());
    let segments = log.reader.segments();
    std::fs::remove_file(file_of(dir.path(), &segments[1])).unwrap();
    assert_eq!(damage_at(&log, segments[1].base), DamageKind::Missing);
}

#[test]
fn bytes_that_the_disk_cannot_read_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let disk = FaultyDisk::new(Arc::new(RealDisk), faults.clone());
    let log = on_disk(Arc::new(disk), dir.path());
    read_all(&log.reader).unwrap();
    faults.fail_reads(true);
    let first = log.reader.log_start();
    assert_eq!(damage_at(&log, first), DamageKind::Unreadable);
    let tail = log.reader.segments().pop().unwrap();
    let read = log
        .reader
        .read(tail.base, Offset::MAX, 1 << 20, Minimum::OneBatch);
    assert!(read.is_ok(), "what was just written is in memory");
}

#[test]
fn full_disk_takes_records_again_once_it_is_not_full() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let disk = FaultyDisk::new(Arc::new(RealDisk), faults.clone());
    let mut log = on_disk(Arc::new(disk.clone()), dir.path());
    faults.fill(true);
    assert_eq!(disk.space(dir.path()).unwrap().usable_bytes, 0);
    let many: Vec<_> = (0..40).map(|_| batch(&[&[2; 30]])).collect();
    let refused = log.writer.append(EPOCH, &many).unwrap_err();
    assert!(matches!(refused, AppendError::NoSpace { .. }));
    faults.mend();
    log.writer.append(EPOCH, &many).unwrap();
    faults.fail_syncs(1);
    assert!(log.sync.sync().is_err());
}

/// What is left of everything that was done to `disk` after a power loss now.
fn without_power(disk: &TestDisk<()>) -> TestDisk<()> {
    let mut replay = Replay::default();
    disk.take_ops().iter().for_each(|op| replay.apply(op));
    replay.image("/data", Loss::Everything, &mut Random(1))
}

#[test]
fn what_a_failed_sync_dropped_is_written_anew_before_it_counts_after_a_restart() {
    let disk = TestDisk::<()>::new("/data");
    let mut log = open_on(&disk);
    fill(&mut log);
    log.sync.sync().unwrap();
    for n in 0..60u8 {
        log.writer.append(EPOCH, &[batch(&[&[n; 40]])]).unwrap();
    }
    let written = values(&log.reader);
    assert!(log.reader.segments().len() > 3);
    fail(&disk, Step::Sync, "log", EIO);
    log.sync.sync().unwrap_err();
    disk.inject(|_, _| None);
    drop(log);
    // The page cache still has it.
    let log = open_on(&disk);
    assert_eq!(values(&log.reader), written);
    assert_eq!(log.sync.sync().unwrap(), log.reader.log_end());
    drop(log);
    let log = open_on(&without_power(&disk));
    assert_eq!(values(&log.reader), written);
    assert!(log.recovery.damage.is_empty());
}

#[test]
fn what_cannot_be_written_anew_does_not_count_and_is_tried_again() {
    let disk = TestDisk::<()>::new("/data");
    let mut log = open_on(&disk);
    fill(&mut log);
    let written = values(&log.reader);
    fail(&disk, Step::Sync, "log", EIO);
    log.sync.sync().unwrap_err();
    drop(log);
    fail(&disk, Step::Write, "log", EIO);
    let host = LogHost::on(Arc::new(disk.clone()), 16);
    assert!(open(Path::new("/data/log"), identity(), small(), &host).is_err());
    disk.inject(|_, _| None);
    let log = open_on(&disk);
    assert_eq!(values(&log.reader), written);
    log.sync.sync().unwrap();
    assert_eq!(values(&open_on(&without_power(&disk)).reader), written);
}
