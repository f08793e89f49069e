//! A disk without room, seen from outside.

use super::*;
use std::os::unix::fs::MetadataExt;

fn open_test(disk: &Arc<TestDisk>, dir: &Path, limits: Limits) -> Opened {
    open(Arc::clone(disk) as Arc<dyn Disk>, dir, limits).expect("opens")
}

fn free(quorum: &Journal, number: u64) -> Result<u64, CommitError> {
    quorum
        .propose(Room::Free, entry(number))
        .expect("taken")
        .wait()
}

fn reserved(quorum: &Journal, number: u64) -> Result<u64, CommitError> {
    let proposal = quorum.propose(Room::Reserved, entry(number));
    proposal.expect("taken").wait()
}

fn is_refused(outcome: &Result<u64, CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Full { .. }))
}

/// Fills the disk, and what room the log has beside its reserve; the last index it committed.
fn fill(disk: &TestDisk, quorum: &Journal) -> u64 {
    disk.leave(0);
    let mut last = quorum.queue.committed_index();
    loop {
        match free(quorum, last + 1) {
            Ok(index) => last = index,
            refused => {
                assert!(is_refused(&refused), "{refused:?}");
                return last;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_entries_and_takes_them_once_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    let last = fill(&disk, &opened.journal);
    assert!(opened.journal.stopped().is_none());
    assert!(is_refused(&free(&opened.journal, last + 1)));
    disk.leave(1 << 30);
    commit(&opened.journal, last + 1..=last + 3);
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
    assert_eq!(numbers(&opened), up_to(last + 3));
}

#[test]
fn what_a_refused_entry_took_of_the_queue_is_free_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let limits = Limits {
        max_queued_bytes: 100,
        ..ONE_FILE
    };
    let opened = open_test(&disk, dir.path(), limits);
    disk.leave(0);
    for _ in 0..10 {
        let big = Bytes::from(vec![0; 90_000]);
        let refused = opened
            .journal
            .propose(Room::Free, big)
            .expect("the queue is empty");
        assert!(is_refused(&refused.wait()));
    }
}

#[test]
fn the_reserve_of_a_full_disk_takes_what_may_use_it_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    let last = fill(&disk, &opened.journal);
    assert_eq!(reserved(&opened.journal, last + 1), Ok(last + 1));
    drop(opened);

    let opened = open_test(&disk, dir.path(), ONE_FILE);
    assert!(is_refused(&free(&opened.journal, last + 2)));
    assert_eq!(reserved(&opened.journal, last + 2), Ok(last + 2));
    assert!(is_refused(&free(&opened.journal, last + 3)));
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
    assert_eq!(numbers(&opened), up_to(last + 2));
}

#[test]
fn of_a_group_without_room_only_what_may_use_the_reserve_is_committed() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    let last = fill(&disk, &opened.journal);
    let gate = disk.gate.lock();
    // The writer stands still at the first one; the others gather behind it.
    let propose = |room, number| opened.journal.propose(room, entry(number));
    let first = propose(Room::Reserved, last + 1).expect("taken");
    let refused = propose(Room::Free, 7).expect("taken");
    let second = propose(Room::Reserved, last + 2).expect("taken");
    drop(gate);
    assert_eq!(first.wait(), Ok(last + 1));
    assert!(is_refused(&refused.wait()));
    assert_eq!(second.wait(), Ok(last + 2));
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
    assert_eq!(numbers(&opened), up_to(last + 2));
}

#[test]
fn an_entry_above_the_reserve_stops_the_journal_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    let last = fill(&disk, &opened.journal);
    let before = fs::metadata(only_log(dir.path())).expect("the log").len();
    let big = Bytes::from(vec![b'x'; 200_000]);
    let proposal = opened.journal.propose(Room::Reserved, big);
    let stopped = proposal.expect("taken").wait();
    assert!(
        matches!(stopped, Err(CommitError::Stopped(_))),
        "{stopped:?}"
    );
    let after = fs::metadata(only_log(dir.path())).expect("the log").len();
    assert_eq!(after, before);
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("opens");
    assert_eq!(numbers(&opened), up_to(last));
    assert_eq!(opened.recovery, Recovery::default());
}

#[test]
fn a_refused_write_that_cannot_be_cut_stops_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    commit(&opened.journal, 1..=2);
    disk.leave(0);
    disk.fail_cuts.store(true, Ordering::SeqCst);
    let big = Bytes::from(vec![b'x'; 200_000]);
    let proposal = opened.journal.propose(Room::Reserved, big);
    let stopped = proposal.expect("taken").wait();
    assert!(matches!(stopped, Err(CommitError::Stopped(_))));
    drop(opened);
    let opened = open(real(), dir.path(), ONE_FILE).expect("a torn tail is no damage");
    assert_eq!(numbers(&opened), up_to(2));
}

#[test]
fn a_log_file_is_followed_by_the_next_only_with_a_reserve_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), SMALL);
    disk.leave(0);
    let mut last = 0;
    while fs::metadata(only_log(dir.path())).expect("the log").len() < SMALL.log_file_bytes {
        last += 1;
        assert_eq!(reserved(&opened.journal, last), Ok(last));
    }
    assert_eq!(reserved(&opened.journal, last + 1), Ok(last + 1));
    drop(opened);
    let logs = || fs::read_dir(dir.path()).expect("listed").count();
    assert_eq!(
        logs(),
        1,
        "no room for a second file, and nothing left of it"
    );

    let opened = open_test(&disk, dir.path(), SMALL);
    disk.leave(1 << 30);
    commit(&opened.journal, last + 2..=last + 3);
    drop(opened);
    assert_eq!(logs(), 2);
    let opened = open_test(&disk, dir.path(), SMALL);
    disk.leave(0);
    assert_eq!(reserved(&opened.journal, last + 4), Ok(last + 4));
    drop(opened);
    let opened = open(real(), dir.path(), SMALL).expect("opens");
    assert_eq!(numbers(&opened), up_to(last + 4));
}

#[test]
fn a_snapshot_without_room_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(TestDisk::default());
    let opened = open_test(&disk, dir.path(), ONE_FILE);
    commit(&opened.journal, 1..=3);
    disk.leave(10);
    let refused = opened.journal.install_snapshot(&snapshot(2));
    assert!(matches!(refused, Err(SnapshotError::Io { .. })));
    assert_eq!(disk.space.lock().free, 10);
    disk.leave(1 << 20);
    opened
        .journal
        .install_snapshot(&snapshot(3))
        .expect("installed");
}

/// The process dies at every operation on a disk that fills up, half of it done.
#[test]
fn a_crash_on_a_full_disk_brings_no_refused_entry_back() {
    for operations in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(TestDisk::default());
        disk.left.store(operations, Ordering::SeqCst);
        let committed = fill_and_free(&disk, dir.path());
        let survived = disk.left.load(Ordering::SeqCst) > 0;

        let opened = open(real(), dir.path(), SMALL).expect("a crash is no damage");
        let held = numbers(&opened);
        let last = held.last().copied().unwrap_or(0);
        assert!(
            (committed..=committed + 1).contains(&last),
            "{committed} {last} after {operations}"
        );
        commit(&opened.journal, last + 1..=last + 2);
        drop(opened);
        let again = open(real(), dir.path(), SMALL).expect("opens");
        assert_eq!(numbers(&again), up_to(last + 2), "after {operations}");
        if survived {
            assert!(operations > 60, "the workload has operations to die at");
            return;
        }
    }
}

/// Commits, and is refused, on a disk that is full every other round; the last index that was
/// acknowledged.
fn fill_and_free(disk: &Arc<TestDisk>, dir: &Path) -> u64 {
    let mut committed = 0;
    for round in 0..4 {
        let Ok(opened) = open(Arc::clone(disk) as Arc<dyn Disk>, dir, SMALL) else {
            return committed;
        };
        disk.leave(if round % 2 == 0 { 0 } else { 1 << 20 });
        for number in 0..5 {
            let whole = opened.journal.propose(Room::Reserved, entry(committed + 1));
            match whole.map(Proposal::wait) {
                Ok(Ok(index)) => committed = index,
                _ => return committed,
            }
            if number == 2 && round % 2 == 0 {
                let big = Bytes::from(vec![b'x'; 200_000]);
                let refused = opened.journal.propose(Room::Free, big);
                if !matches!(
                    refused.map(Proposal::wait),
                    Ok(Err(CommitError::Full { .. }))
                ) {
                    return committed;
                }
            }
        }
    }
    committed
}

#[test]
fn the_reserve_is_room_on_the_disk_and_no_part_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits {
        reserve_bytes: 1 << 20,
        ..ONE_FILE
    };
    let opened = open(real(), dir.path(), limits).expect("opens");
    let file = fs::metadata(only_log(dir.path())).expect("the log");
    assert_eq!(file.len(), format::HEADER_BYTES as u64);
    // Nothing on a file system that cannot allocate ahead.
    let allocated = file.blocks() * 512;
    assert!(allocated >= 1 << 20 || allocated <= 1 << 16, "{allocated}");
    drop(opened);
}
