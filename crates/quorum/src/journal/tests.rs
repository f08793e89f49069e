//! Crashes, damage and failing disks, seen from outside.

pub(crate) mod failing_disk;
mod full_disk;
mod lost_pages;

use super::*;
use disk::RealDisk;
use failing_disk::TestDisk;
use std::fs;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

const SMALL: Limits = Limits {
    max_queued_bytes: 1 << 20,
    log_file_bytes: 300,
    snapshot_after_bytes: 1000,
    reserve_bytes: 1000,
};
const ONE_FILE: Limits = Limits {
    log_file_bytes: 1 << 20,
    ..SMALL
};

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn entry(number: u64) -> Bytes {
    let padding: String = (0..number % 40).map(|_| 'x').collect();
    Bytes::from(format!("entry {number} {padding}"))
}

fn commit(quorum: &Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let index = quorum
            .propose(Room::Free, entry(number))
            .expect("taken")
            .wait();
        assert_eq!(index, Ok(number));
    }
}

/// What the log says, as numbers; a snapshot of the first `n` entries is the text of `n`.
fn numbers(opened: &Opened) -> Vec<u64> {
    let covered = opened.snapshot.as_ref().map_or(0, |snapshot| {
        let text = std::str::from_utf8(&snapshot.bytes).expect("a number");
        assert_eq!(text.parse(), Ok(snapshot.index));
        snapshot.index
    });
    for held in &opened.entries {
        assert_eq!(held.bytes, entry(held.index));
    }
    (1..=covered)
        .chain(opened.entries.iter().map(|entry| entry.index))
        .collect()
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

fn snapshot(index: u64) -> Snapshot {
    let bytes = index.to_string().into();
    Snapshot { index, bytes }
}

fn only_log(dir: &Path) -> PathBuf {
    format::log_path(dir, 1)
}

#[test]
fn what_was_committed_is_there_after_each_open() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..4 {
        let opened = open(real(), dir.path(), SMALL).expect("opens");
        assert_eq!(numbers(&opened), up_to(round * 7));
        assert_eq!(opened.journal.queue.committed_index(), round * 7);
        commit(&opened.journal, round * 7 + 1..=round * 7 + 7);
    }
}

#[test]
fn proposals_that_wait_together_are_synced_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open(Arc::clone(&disk) as Arc<dyn Disk>, dir.path(), ONE_FILE).expect("opens");
    let gate = disk.gate.lock();
    let before = disk.syncs.load(Ordering::SeqCst);
    let proposals: Vec<_> = (1..=100)
        .map(|number| {
            opened
                .journal
                .propose(Room::Free, entry(number))
                .expect("taken")
        })
        .collect();
    drop(gate);
    for proposal in proposals {
        proposal.wait().expect("committed");
    }
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    assert!(
        syncs <= 2,
        "the writer may have taken the first alone: {syncs}"
    );
}

#[test]
fn a_proposal_is_a_future_that_is_woken() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open(Arc::clone(&disk) as Arc<dyn Disk>, dir.path(), ONE_FILE).expect("opens");
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Arc::clone(&flag).into();
    let mut context = Context::from_waker(&waker);

    let gate = disk.gate.lock();
    let mut first = Box::pin(opened.journal.propose(Room::Free, entry(1)).expect("taken"));
    assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
    let second = opened.journal.propose(Room::Free, entry(2)).expect("taken");
    drop(gate);
    second.wait().expect("committed");
    // Both are told at once, in no order.
    for _ in 0..2000 {
        if !flag.0.load(Ordering::SeqCst) {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }
    assert!(flag.0.load(Ordering::SeqCst));
    assert_eq!(first.as_mut().poll(&mut context), Poll::Ready(Ok(1)));
}

#[test]
fn a_log_cut_anywhere_in_its_last_group_opens_with_all_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = only_log(dir.path());
    drop(open(real(), dir.path(), ONE_FILE).map(|opened| commit(&opened.journal, 1..=3)));
    let before = fs::read(&path).expect("the log").len();
    drop(open(real(), dir.path(), ONE_FILE).map(|opened| commit(&opened.journal, 4..=4)));
    let whole = fs::read(&path).expect("the log");
    let frame = format::FRAME_BYTES + entry(4).len();

    for len in before..=whole.len() {
        fs::write(&path, &whole[..len]).expect("cut");
        let opened = open(real(), dir.path(), ONE_FILE).expect("a torn tail is no damage");
        let kept = if len < before + frame { 3 } else { 4 };
        assert_eq!(numbers(&opened), up_to(kept), "cut at {len}");
        commit(&opened.journal, kept + 1..=kept + 1);
        drop(opened);
        let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
        assert_eq!(
            numbers(&opened),
            up_to(kept + 1),
            "cut at {len}, then appended"
        );
    }
}

#[test]
fn no_flipped_byte_hides_or_changes_an_entry() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(real(), dir.path(), SMALL).map(|opened| {
        commit(&opened.journal, 1..=6);
        opened
            .journal
            .install_snapshot(&snapshot(5))
            .expect("installed");
        commit(&opened.journal, 7..=9);
    }));
    let mut refused = 0;
    let files: Vec<_> = fs::read_dir(dir.path()).expect("listed").collect();
    assert!(files.len() >= 3, "two logs and a snapshot");
    for file in files {
        let path = file.expect("a file").path();
        let whole = fs::read(&path).expect("a file");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            fs::write(&path, &flipped).expect("written");
            match open(real(), dir.path(), SMALL) {
                Ok(opened) => assert_eq!(numbers(&opened), up_to(9), "{path:?} at {at}"),
                Err(OpenError::Damaged { path: named, .. }) => {
                    assert_eq!(named, path);
                    assert_eq!(
                        fs::read(&path).expect("a file"),
                        flipped,
                        "nothing is changed"
                    );
                    refused += 1;
                }
                Err(other) => panic!("{path:?} at {at}: {other}"),
            }
            fs::write(&path, &whole).expect("restored");
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_missing_log_file_is_refused_by_its_entries() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(real(), dir.path(), SMALL).map(|opened| commit(&opened.journal, 1..=20)));
    let mut logs: Vec<_> = fs::read_dir(dir.path())
        .expect("listed")
        .flatten()
        .collect();
    logs.sort_by_key(std::fs::DirEntry::file_name);
    assert!(logs.len() >= 3);
    fs::remove_file(logs[1].path()).expect("removed");
    let error = open(real(), dir.path(), SMALL).expect_err("a hole");
    assert!(
        matches!(error, OpenError::Missing { first: 2.., .. }),
        "{error}"
    );
}

#[test]
fn a_log_or_frame_of_a_later_version_is_refused_as_such() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = only_log(dir.path());
    drop(open(real(), dir.path(), ONE_FILE).map(|opened| commit(&opened.journal, 1..=2)));
    let whole = fs::read(&path).expect("the log");

    let mut later = whole.clone();
    later[8] = 2;
    let crc = crc32fast::hash(&later[..20]);
    later[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &later).expect("written");
    let error = open(real(), dir.path(), ONE_FILE).expect_err("a later version");
    assert!(matches!(
        error,
        OpenError::Damaged {
            fault: Fault::Version { version: 2 },
            ..
        }
    ));

    let mut later = whole;
    let frame = &mut later[format::HEADER_BYTES..];
    let bytes = format::decode_frame(frame)
        .expect("the first frame")
        .bytes();
    frame[4] = 9;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..28]);
    hasher.update(&frame[format::FRAME_BYTES..bytes]);
    frame[28..32].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, &later).expect("written");
    let error = open(real(), dir.path(), ONE_FILE).expect_err("a later kind");
    assert!(matches!(
        error,
        OpenError::Damaged {
            fault: Fault::Kind { kind: 9 },
            at: 24,
            ..
        }
    ));
}

#[test]
fn snapshots_keep_the_directory_small() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(real(), dir.path(), SMALL).expect("opens");
    let mut installed = 0;
    for number in 1..=400 {
        commit(&opened.journal, number..=number);
        if opened.journal.wants_snapshot() {
            opened
                .journal
                .install_snapshot(&snapshot(number))
                .expect("installed");
            installed += 1;
        }
    }
    assert!(installed > 3);
    let files = fs::read_dir(dir.path()).expect("listed").flatten();
    let bytes: u64 = files
        .map(|file| file.metadata().map_or(0, |m| m.len()))
        .sum();
    assert!(bytes < 3000, "{bytes}");
    drop(opened);
    assert_eq!(
        numbers(&open(real(), dir.path(), SMALL).expect("opens")),
        up_to(400)
    );
}

#[test]
fn a_snapshot_of_what_is_not_committed_or_not_new_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(real(), dir.path(), SMALL).expect("opens");
    commit(&opened.journal, 1..=3);
    let ahead = opened.journal.install_snapshot(&snapshot(4));
    assert!(matches!(
        ahead,
        Err(SnapshotError::Ahead {
            index: 4,
            committed: 3
        })
    ));
    opened
        .journal
        .install_snapshot(&snapshot(2))
        .expect("installed");
    let older = opened.journal.install_snapshot(&snapshot(2));
    assert!(matches!(
        older,
        Err(SnapshotError::NotNewer { newest: 2, .. })
    ));
}

#[test]
fn after_a_failed_sync_nothing_is_taken_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open(Arc::clone(&disk) as Arc<dyn Disk>, dir.path(), ONE_FILE).expect("opens");
    commit(&opened.journal, 1..=2);
    disk.fail_syncs.store(true, Ordering::SeqCst);
    let stopped = opened
        .journal
        .propose(Room::Free, entry(3))
        .expect("taken")
        .wait();
    let Err(CommitError::Stopped(Stopped { reason })) = stopped else {
        panic!("the sync failed, and yet: {stopped:?}")
    };
    assert!(reason.contains("no more syncs"), "{reason}");
    disk.fail_syncs.store(false, Ordering::SeqCst);
    let refused = opened.journal.propose(Room::Free, entry(3));
    assert!(matches!(refused, Err(ProposeError::Stopped(_))));
    assert_eq!(opened.journal.stopped().map(|s| s.reason), Some(reason));
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
    assert!(numbers(&opened).starts_with(&up_to(2)));
}

#[test]
fn what_waits_is_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits {
        max_queued_bytes: 100,
        ..ONE_FILE
    };
    let disk = Arc::new(TestDisk::default());
    let opened = open(Arc::clone(&disk) as Arc<dyn Disk>, dir.path(), limits).expect("opens");
    let big = Bytes::from(vec![0; 60]);
    let gate = disk.gate.lock();
    let first = opened.journal.propose(Room::Free, big.clone());
    let refused = opened.journal.propose(Room::Free, big.clone());
    assert!(matches!(
        refused,
        Err(ProposeError::Busy { queued_bytes: 60 })
    ));
    drop(gate);
    first.expect("taken").wait().expect("committed");
    let next = opened.journal.propose(Room::Free, big);
    next.expect("room again").wait().expect("committed");
    let huge = Bytes::from(vec![0; format::MAX_ENTRY_BYTES + 1]);
    assert!(matches!(
        opened.journal.propose(Room::Free, huge),
        Err(ProposeError::TooLarge { .. })
    ));
}

/// The process dies at every operation on the disk in turn, half of it done.
#[test]
fn a_crash_at_any_operation_loses_nothing_committed() {
    for operations in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(TestDisk::default());
        disk.left.store(operations, Ordering::SeqCst);
        let committed = workload(&disk, dir.path());
        let survived = disk.left.load(Ordering::SeqCst) > 0;

        let opened = open(real(), dir.path(), SMALL).expect("a crash is no damage");
        let held = numbers(&opened);
        let last = held.last().copied().unwrap_or(0);
        assert_eq!(held, up_to(last), "after {operations}");
        assert!(
            (committed..=committed + 1).contains(&last),
            "{committed} {last}"
        );
        commit(&opened.journal, last + 1..=last + 3);
        drop(opened);
        let again = open(real(), dir.path(), SMALL).expect("opens");
        assert_eq!(numbers(&again), up_to(last + 3), "after {operations}");
        if survived {
            assert!(operations > 60, "the workload has operations to die at");
            return;
        }
    }
}

/// Commits and snapshots until the disk dies; returns the last index that was acknowledged.
fn workload(disk: &Arc<TestDisk>, dir: &Path) -> u64 {
    let mut committed = 0;
    for _ in 0..2 {
        let Ok(opened) = open(Arc::clone(disk) as Arc<dyn Disk>, dir, SMALL) else {
            return committed;
        };
        for _ in 0..9 {
            let proposal = opened.journal.propose(Room::Free, entry(committed + 1));
            match proposal.map(Proposal::wait) {
                Ok(Ok(index)) => committed = index,
                _ => return committed,
            }
            if committed.is_multiple_of(5) {
                drop(opened.journal.install_snapshot(&snapshot(committed)));
            }
        }
    }
    committed
}
