//! Full, failing and dying disks, and the library's own tests of storages.

use super::harness::{Cluster, LIMITS, until};
use super::*;
use crate::Room;
use crate::journal::tests::failing_disk::TestDisk;
use codec::Types;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::atomic::Ordering;
use storage::{Applied, LogStore, Machine};
use tempfile::TempDir;

struct Stores;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store::Store::open(Arc::new(RealDisk), dir.path(), LIMITS).unwrap();
        let store = Arc::new(store);
        let applied = Arc::new(Applied::new(&store));
        let stream = Arc::new(stream::Stream::new(0, 1 << 20));
        let mut machine = Machine::new(Arc::clone(&store), stream, applied);
        machine.makes_snapshots = true;
        Ok((dir, LogStore(store), machine))
    }
}

#[test]
fn the_store_keeps_what_the_consensus_asks_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(Suite::test_all(Stores)).unwrap();
}

#[test]
fn a_leader_with_a_full_disk_refuses_entries_and_takes_them_once_there_is_room() {
    let mut cluster = Cluster::formed(1);
    let big = "x".repeat(20_000);
    cluster.commit(0, "before");
    cluster.nodes[0].disk.leave(0);
    until("it is full", || {
        matches!(
            cluster.nodes[0].propose(&big),
            Err(QuorumError::Full { .. })
        )
    });
    let reserved = cluster.nodes[0]
        .quorum()
        .propose("small".into(), Room::Reserved);
    assert!(reserved.wait().is_ok());
    assert!(cluster.nodes[0].quorum().stopped().is_none());
    cluster.nodes[0].disk.leave(1 << 30);
    assert!(cluster.nodes[0].propose(&big).is_ok());
    cluster.commit(0, "after");
    cluster.agree_on("after");
    cluster.kill(0);
    cluster.start(0, false);
    cluster.agree_on("after");
}

#[test]
fn a_follower_with_a_full_disk_lags_and_returns() {
    let mut cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let full = (leader + 1) % 3;
    cluster.nodes[full].disk.leave(0);
    let big = "x".repeat(20_000);
    for _ in 0..10 {
        cluster.commit(leader, &big);
    }
    cluster.commit(leader, "last");
    assert!(cluster.nodes[full].quorum().stopped().is_none());
    cluster.nodes[full].disk.leave(1 << 30);
    cluster.agree_on("last");
}

#[test]
fn after_a_failed_sync_a_node_takes_no_part_and_the_others_go_on() {
    let mut cluster = Cluster::formed(3);
    let leader = cluster.leader();
    cluster.commit(leader, "before");
    cluster.nodes[leader]
        .disk
        .fail_syncs
        .store(true, Ordering::SeqCst);
    drop(cluster.nodes[leader].propose("lost or not"));
    until("it stopped", || {
        cluster.nodes[leader].quorum().stopped().is_some()
    });
    let refused = cluster.nodes[leader].propose("refused");
    assert!(
        matches!(refused, Err(QuorumError::Stopped(_))),
        "{refused:?}"
    );
    while cluster.nodes[leader]
        .opened
        .as_ref()
        .unwrap()
        .committed
        .next()
        .is_ok()
    {}
    cluster.kill(leader);
    let next = cluster.leader();
    cluster.commit(next, "after");
    cluster.nodes[leader]
        .disk
        .fail_syncs
        .store(false, Ordering::SeqCst);
    cluster.start(leader, false);
    cluster.leader();
    cluster.agree_on("after");
}

/// What was asked for was written and synced; only the next log file could not be begun.
#[test]
fn a_leader_whose_log_stopped_behind_a_commit_leads_nobody_any_more() {
    let cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let disk = &cluster.nodes[leader].disk;
    disk.fail_opens.store(true, Ordering::SeqCst);
    // Whether it is told or not.
    drop(cluster.nodes[leader].propose(&"x".repeat(4000)));
    until("it stopped", || {
        cluster.nodes[leader].quorum().stopped().is_some()
    });
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    let id = harness::id(cluster.nodes[leader].number);
    until("another leads", || {
        let leads = |place: &usize| cluster.nodes[*place].status().leader;
        others.iter().all(|o| leads(o).is_some_and(|by| by != id))
    });
    cluster.commit(others[0], "after");
}

#[test]
fn a_follower_whose_log_stopped_behind_a_commit_says_so() {
    let cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let follower = &cluster.nodes[(leader + 1) % 3];
    follower.disk.fail_opens.store(true, Ordering::SeqCst);
    cluster.commit(leader, &"x".repeat(4000));
    until("it stopped", || follower.quorum().stopped().is_some());
    cluster.commit(leader, "after");
}

/// The process dies at every operation on the disk in turn, half of it done.
#[test]
fn a_crash_at_any_operation_loses_nothing_committed() {
    for operations in 0.. {
        let mut cluster = Cluster::of(1);
        cluster.timing.request = Duration::from_millis(400);
        cluster.nodes[0]
            .disk
            .left
            .store(operations, Ordering::SeqCst);
        let committed = workload(&mut cluster);
        let survived = cluster.nodes[0].disk.left.load(Ordering::SeqCst) > 0;
        cluster.kill(0);
        cluster.nodes[0].disk = Arc::new(TestDisk::default());
        cluster.timing.request = Duration::from_secs(10);
        cluster.start(0, true);
        cluster.commit(0, "last");
        cluster.agree_on("last");
        let seen = cluster.nodes[0].seen.iter();
        let seen: Vec<_> = seen.map(|(_, bytes)| bytes.clone()).collect();
        for text in &committed {
            let times = seen
                .iter()
                .filter(|bytes| *bytes == text.as_bytes())
                .count();
            assert_eq!(times, 1, "{text} after {operations} operations");
        }
        if survived {
            assert!(operations > 30, "the workload has operations to die at");
            return;
        }
    }
}

/// Commits and makes snapshots until the disk dies; what was acknowledged.
fn workload(cluster: &mut Cluster) -> Vec<String> {
    let mut committed = Vec::new();
    let disk = Arc::clone(&cluster.nodes[0].disk) as Arc<dyn Disk>;
    // An open that fails leaves nothing to look at.
    if store::Store::open(disk, cluster.nodes[0].dir.path(), LIMITS).is_err() {
        return committed;
    }
    cluster.start_or_not(0);
    if cluster.nodes[0].opened.is_none() {
        return committed;
    }
    for number in 0..6 {
        let text = format!("entry {number}");
        if cluster.nodes[0].propose(&text).is_err() {
            break;
        }
        committed.push(text);
        if number == 3 {
            cluster.nodes[0].read();
            let index = cluster.nodes[0].seen.last().unwrap().0;
            let bytes = cluster.nodes[0].encoded();
            let snapshot = Snapshot { index, bytes };
            drop(cluster.nodes[0].quorum().install_snapshot(&snapshot));
        }
    }
    committed
}

#[test]
fn a_directory_of_before_there_was_a_quorum_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let real = Arc::new(crate::journal::disk::RealDisk) as Arc<dyn Disk>;
    let old = crate::journal::open(real, dir.path(), LIMITS).unwrap();
    let transaction = Bytes::from_static(&[0xfe, 0, 0]);
    old.journal
        .propose(Room::Reserved, transaction)
        .unwrap()
        .wait()
        .unwrap();
    drop(old);
    let before = fs_names(dir.path());
    let refused = store::Store::open(Arc::new(RealDisk), dir.path(), LIMITS).err();
    assert!(
        matches!(refused, Some(OpenError::Outdated { .. })),
        "{refused:?}"
    );
    assert_eq!(fs_names(dir.path()), before);
}

fn fs_names(dir: &Path) -> Vec<std::ffi::OsString> {
    let found = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
