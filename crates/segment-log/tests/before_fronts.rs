//! Directories of builds whose segment files began with the first batch.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::disk::TestDisk;
use common::*;
use plimsoll_segment_log::{FRONT_BYTES, LogHost, Opened, Recovery, open};
use plimsoll_types::Offset;

const FRONT: usize = 4096;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn open_on(disk: &TestDisk<()>) -> Opened {
    let host = LogHost::on(Arc::new(disk.clone()), 16);
    open(Path::new("/data/log"), identity(), small(), &host).unwrap()
}

/// What such a build would have left: `synced` in the end, but not closed.
fn left_by_an_older_build(synced: bool) -> (Files, Vec<(u64, Option<Vec<u8>>)>) {
    let disk = TestDisk::new("/data");
    let mut log = open_on(&disk);
    for n in 0..40u8 {
        log.writer.append(EPOCH, &[batch(&[&[n; 30]])]).unwrap();
        if n == 25 {
            log.writer.checkpoint(Offset::ZERO).run().unwrap();
        }
    }
    if synced {
        log.sync.sync().unwrap();
    }
    assert!(log.reader.segments().len() > 3);
    let written = values(&log.reader);
    let mut files = disk.files();
    for (path, content) in &mut files {
        if path.extension().is_some_and(|end| end == "log") {
            content.drain(..FRONT);
        }
        if path.ends_with("checkpoint") {
            content[8..12].copy_from_slice(&1_u32.to_be_bytes());
            let end = content.len() - 4;
            let (checked, sum) = content.split_at_mut(end);
            sum.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
        }
    }
    (files, written)
}

fn disk_of(files: &Files) -> TestDisk<()> {
    let disk = TestDisk::new("/data");
    disk.put_dir(Path::new("/data/log"));
    files
        .iter()
        .for_each(|(path, content)| disk.put(path, content));
    disk
}

#[test]
fn an_older_builds_log_opens_whole_and_goes_on() {
    for synced in [true, false] {
        let (files, mut written) = left_by_an_older_build(synced);
        let disk = disk_of(&files);
        let mut log = open_on(&disk);
        let report = Recovery {
            scanned_bytes: log.recovery.scanned_bytes,
            ..Recovery::default()
        };
        assert_eq!(log.recovery, report);
        assert_eq!(values(&log.reader), written);
        for n in 0..20u8 {
            let appended = log.writer.append(EPOCH, &[batch(&[&[n; 30]])]).unwrap();
            written.push((appended.first.get(), Some(vec![n; 30])));
        }
        log.sync.sync().unwrap();
        drop(log);
        let log = open_on(&disk);
        assert!(log.recovery.damage.is_empty() && log.recovery.cut.is_none());
        assert_eq!(values(&log.reader), written);
        log.writer.close(Offset::ZERO).unwrap();
        let log = open_on(&disk);
        assert_eq!(log.recovery, Recovery::default());
        assert_eq!(values(&log.reader), written);
    }
}

#[test]
fn an_older_builds_torn_tail_is_cut_and_its_damage_told() {
    let (mut files, written) = left_by_an_older_build(true);
    let tail = files
        .keys()
        .rfind(|path| path.extension().is_some_and(|end| end == "log"))
        .unwrap()
        .clone();
    let used = |content: &[u8]| content.iter().rposition(|byte| *byte != 0).unwrap() + 2;
    let end = used(&files[&tail]);
    let content = files.get_mut(&tail).unwrap();
    content.resize(end + 100, 0);
    content[end..end + 40].fill(0x77);
    let disk = disk_of(&files);
    let log = open_on(&disk);
    assert!(log.recovery.cut.is_some() && log.recovery.damage.is_empty());
    assert_eq!(values(&log.reader), written);
    drop(log);
    assert!(open_on(&disk).recovery.cut.is_none(), "it was cut before");
    files.get_mut(&tail).unwrap()[end - 20] ^= 1;
    let log = open_on(&disk_of(&files));
    assert_eq!(log.recovery.damage.len(), 1);
    assert_eq!(log.reader.log_end(), offset(40));
}

#[test]
fn the_checkpoint_says_that_segments_have_fronts() {
    let disk = TestDisk::new("/data");
    let mut log = open_on(&disk);
    log.writer.append(EPOCH, &[batch(&[b"a"])]).unwrap();
    log.writer.close(Offset::ZERO).unwrap();
    let files = disk.files();
    let checkpoint = &files[Path::new("/data/log/checkpoint")];
    assert_eq!(checkpoint[8..12], 2_u32.to_be_bytes());
    let segment = &files[Path::new("/data/log/00000000000000000000.log")];
    assert!(segment.starts_with(b"PLIMSEGM") && segment.len() > FRONT);
    assert_eq!(FRONT_BYTES, FRONT as u64);
}
