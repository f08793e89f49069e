//! The data directory: one process, one node, and how the last uptime ended.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use common::*;
use plimsoll_segment_log::{DataDir, DataDirError, NodeIdentity, Shutdown, open};
use plimsoll_types::NodeId;

fn node(id: u32) -> NodeIdentity {
    NodeIdentity {
        cluster_id: "the-cluster".into(),
        node_id: NodeId::new(id).unwrap(),
    }
}

#[test]
fn a_second_user_is_told_which_directory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let held = DataDir::open(&data, &node(1)).unwrap();
    let refused = DataDir::open(&data, &node(1)).unwrap_err();
    assert!(matches!(refused, DataDirError::Locked { .. }));
    assert!(
        refused.to_string().contains(data.to_str().unwrap()),
        "{refused}"
    );
    drop(held);
    DataDir::open(&data, &node(1)).unwrap();
}

#[test]
fn another_nodes_or_clusters_directory_is_refused_with_file_found_and_expected() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), &node(1)).unwrap());
    let refused = DataDir::open(dir.path(), &node(2)).unwrap_err().to_string();
    for part in ["broker.state", "node 1", "node 2"] {
        assert!(refused.contains(part), "{refused}");
    }
    let other = NodeIdentity {
        cluster_id: "another".into(),
        ..node(1)
    };
    let refused = DataDir::open(dir.path(), &other).unwrap_err().to_string();
    for part in ["broker.state", "\"the-cluster\"", "\"another\""] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(
        DataDir::cluster_id_of(dir.path()).unwrap().as_deref(),
        Some("the-cluster")
    );
}

#[test]
fn it_is_known_how_the_last_uptime_ended() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path(), &node(1)).unwrap();
    assert_eq!(
        (first.last_shutdown(), first.starts()),
        (&Shutdown::First, 1)
    );
    let id = first.dir_id();
    first.close_clean().unwrap();
    let second = DataDir::open(dir.path(), &node(1)).unwrap();
    assert!(matches!(second.last_shutdown(), Shutdown::Clean(clean) if clean.starts == 1));
    assert_eq!((second.dir_id(), second.starts()), (id, 2));
    drop(second);
    let third = DataDir::open(dir.path(), &node(1)).unwrap();
    assert_eq!(third.last_shutdown(), &Shutdown::Crash { same_boot: true });
}

#[test]
fn an_old_clean_shutdown_does_not_count_for_a_later_crash() {
    let dir = tempfile::tempdir().unwrap();
    DataDir::open(dir.path(), &node(1))
        .unwrap()
        .close_clean()
        .unwrap();
    let path = dir.path().join("clean.shutdown");
    let stale = std::fs::read(&path).unwrap();
    drop(DataDir::open(dir.path(), &node(1)).unwrap());
    std::fs::write(&path, stale).unwrap();
    let after = DataDir::open(dir.path(), &node(1)).unwrap();
    assert_eq!(after.last_shutdown(), &Shutdown::Crash { same_boot: true });
}

#[test]
fn partitions_are_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), &node(1)).unwrap();
    let path = data.partition_dir(&identity());
    let mut log = open(&path, identity(), config(), &host()).unwrap();
    assert!(data.partitions().unwrap().is_empty());
    log.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap();
    let listed = data.partitions().unwrap();
    assert_eq!((listed[0].identity, &listed[0].path), (identity(), &path));
    drop(log);
    data.remove_partition(&identity()).unwrap();
    data.remove_partition(&identity()).unwrap();
    assert!(data.partitions().unwrap().is_empty() && !path.exists());
}

#[test]
fn logs_without_a_state_file_are_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), &node(1)).unwrap();
    let path = data.partition_dir(&identity());
    let mut log = open(&path, identity(), config(), &host()).unwrap();
    log.writer.append(EPOCH, &[batch(&[b"x"])]).unwrap();
    drop((log, data));
    std::fs::remove_file(dir.path().join("broker.state")).unwrap();
    let refused = DataDir::open(dir.path(), &node(1)).unwrap_err();
    assert!(matches!(refused, DataDirError::NoState { .. }));
}

#[test]
fn a_half_removed_partition_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), &node(1)).unwrap());
    let doomed = dir.path().join("something.deleted");
    std::fs::create_dir(&doomed).unwrap();
    std::fs::write(doomed.join("file"), b"x").unwrap();
    drop(DataDir::open(dir.path(), &node(1)).unwrap());
    assert!(!doomed.exists());
}
