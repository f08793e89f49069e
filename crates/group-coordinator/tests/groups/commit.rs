//! Keeping positions.

use crate::room::*;
use plimsoll_group_coordinator::*;
use plimsoll_types::{LeaderEpoch, Timestamp};
use std::time::Duration;

#[test]
fn commit_is_answered_and_seen_once_it_is_durable() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    room.writes_at_once = false;
    let reply = room.ask_to_commit(&ids[0], generation, 42);
    assert!(!room.is_answered(reply), "G6");
    assert_eq!(room.offset("orders", 0), None, "G6");
    room.end_write(Ok(()));
    assert_eq!(room.committed(reply), [Ok(())]);
    assert_eq!(room.offset("orders", 0), Some(42));
}

#[test]
fn committed_offset_keeps_epoch_note_and_time() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 7);
    let wall = room.now().wall;
    let offsets = room.coordinator.offsets(GROUP).expect("loaded");
    let offset = offsets.get("orders", 0).expect("committed");
    assert_eq!(offset.leader_epoch, Some(LeaderEpoch::new(3)));
    assert_eq!(&*offset.metadata, "note");
    assert_eq!(offset.committed_at, wall);
    assert_eq!(offset.expires_at, None);
}

#[test]
fn retention_asked_for_by_an_old_client_is_kept() {
    let mut room = Room::new();
    let mut request = room.commit_request("", -1, 7);
    request.retention = Some(Duration::from_secs(1));
    room.ask_commit(request);
    let end = Timestamp::from_millis(room.now().wall.as_millis() + 1000);
    let offsets = room.coordinator.offsets(GROUP).expect("loaded");
    assert_eq!(
        offsets.get("orders", 0).and_then(|o| o.expires_at),
        Some(end)
    );
}

#[test]
fn commit_that_cannot_be_written_is_refused_and_not_seen() {
    let cases = [
        (WriteError::Unavailable, GroupError::CoordinatorNotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::InvalidCommitOffsetSize),
    ];
    for (failure, told) in cases {
        let mut room = Room::new();
        room.writes_at_once = false;
        let reply = room.ask_to_commit("", -1, 42);
        room.end_write(Err(failure));
        assert_eq!(room.committed(reply), [Err(told)]);
        assert_eq!(room.offset("orders", 0), None);
        assert_eq!(room.coordinator.stats().groups, 0);
    }
}

#[test]
fn late_commit_is_refused_and_seen_when_it_ends() {
    let mut room = Room::new();
    room.writes_at_once = false;
    let reply = room.ask_to_commit("", -1, 42);
    room.pass(Duration::from_secs(5));
    assert_eq!(
        room.committed(reply),
        [Err(GroupError::CoordinatorNotAvailable)]
    );
    room.end_write(Ok(()));
    assert_eq!(room.offset("orders", 0), Some(42));
}

#[test]
fn commits_take_effect_in_order() {
    let mut room = Room::new();
    room.writes_at_once = false;
    let replies: Vec<_> = (0..3)
        .map(|offset| room.ask_to_commit("", -1, offset))
        .collect();
    room.end_write(Ok(()));
    assert_eq!(room.offset("orders", 0), Some(0));
    room.write_all();
    assert_eq!(room.offset("orders", 0), Some(2));
    assert!(replies.iter().all(|reply| room.is_answered(*reply)));
}

#[test]
fn long_note_is_refused_for_its_partition_alone() {
    let mut room = Room::new();
    let mut request = room.commit_request("", -1, 1);
    let mut long = to_commit("orders", 1, 2);
    long.metadata = "x".repeat(17).into();
    request.offsets.push(long);
    let reply = room.ask_commit(request);
    assert_eq!(
        room.committed(reply),
        [Ok(()), Err(GroupError::OffsetMetadataTooLarge)]
    );
    assert_eq!(room.offset("orders", 0), Some(1));
    assert_eq!(room.offset("orders", 1), None);
}

#[test]
fn commit_of_nothing_is_answered_at_once() {
    let mut room = Room::new();
    room.writes_at_once = false;
    let mut request = room.commit_request("", -1, 1);
    request.offsets.clear();
    let reply = room.ask_commit(request);
    assert!(room.committed(reply).is_empty());
    assert_eq!(room.coordinator.stats().groups, 0);
}

#[test]
fn outsider_may_commit_only_while_there_are_no_members() {
    let mut room = Room::new();
    let before = room.ask_to_commit("", -1, 1);
    assert_eq!(room.committed(before), [Ok(())]);
    room.stable(1);
    let during = room.ask_to_commit("", -1, 2);
    assert_eq!(room.committed(during), [Err(GroupError::UnknownMemberId)]);
    room.pass(SESSION);
    let after = room.ask_to_commit("", -1, 3);
    assert_eq!(room.committed(after), [Ok(())]);
}

#[test]
fn stranger_old_generation_and_unknown_group_are_refused() {
    let mut room = Room::new();
    let nowhere = room.ask_to_commit("ghost", 1, 1);
    assert_eq!(
        room.committed(nowhere),
        [Err(GroupError::IllegalGeneration)]
    );
    let (ids, generation) = room.stable(1);
    let ghost = room.ask_to_commit("ghost", generation, 1);
    assert_eq!(room.committed(ghost), [Err(GroupError::UnknownMemberId)]);
    let old = room.ask_to_commit(&ids[0], generation - 1, 1);
    assert_eq!(room.committed(old), [Err(GroupError::IllegalGeneration)]);
}

#[test]
fn members_may_commit_while_a_rebalance_is_prepared() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    room.ask_to_join("");
    let reply = room.ask_to_commit(&ids[0], generation, 1);
    assert_eq!(room.committed(reply), [Ok(())]);
}

#[test]
fn members_may_not_commit_before_they_have_their_assignment() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    let reply = room.ask_to_commit(&joined.member, joined.generation, 1);
    assert_eq!(
        room.committed(reply),
        [Err(GroupError::RebalanceInProgress)]
    );
}
