//! Coming back after a restart, and letting go.

use crate::room::*;
use plimsoll_group_coordinator::*;

#[test]
fn requests_are_refused_until_the_log_is_read() {
    let mut room = Room::new();
    room.coordinator = Coordinator::new(config());
    let loading = GroupError::CoordinatorLoadInProgress;
    let join = room.ask_to_join("");
    assert_eq!(room.refused(join).error, loading);
    let sync = room.ask_to_sync("m", 1);
    assert_eq!(room.synced(sync), Err(loading));
    let leave = room.ask_to_leave(&[("m", None)]);
    assert_eq!(room.left(leave), Err(loading));
    let commit = room.ask_to_commit("", -1, 1);
    assert_eq!(room.committed(commit), [Err(loading)]);
    let delete = room.ask_to_delete_group();
    assert_eq!(room.group_deleted(delete), Err(loading));
    assert_eq!(room.coordinator.offsets(GROUP).err(), Some(loading));
    assert_eq!(room.coordinator.describe(GROUP).err(), Some(loading));
    assert_eq!(
        room.coordinator.list(&ListFilter::default()).err(),
        Some(loading)
    );
    assert_eq!(room.coordinator.next_deadline(), None);
}

#[test]
fn stable_group_goes_on_where_it_was() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    room.ask_to_commit(&ids[0], generation, 42);
    let mut again = room.reloaded(config());
    assert_eq!(again.state(), GroupState::Stable);
    assert_eq!(again.offset("orders", 0), Some(42));
    for id in &ids {
        assert_eq!(again.heartbeat(id, generation), Ok(()));
    }
    let sync = again.ask_to_sync(&ids[1], generation);
    assert_eq!(again.synced(sync).as_deref(), Ok(ids[1].as_bytes()));
    let follower = again.ask_to_join(&ids[1]);
    let mut before = again.joined(follower);
    before.members.clear();
    assert_eq!(before.leader, ids[0]);
    assert_eq!(before.protocol.as_deref(), Some("range"));
}

#[test]
fn loaded_members_that_are_gone_expire() {
    let mut room = Room::new();
    room.stable(2);
    let mut again = room.reloaded(config());
    again.pass(SESSION);
    assert_eq!(again.state(), GroupState::Empty);
}

#[test]
fn loaded_static_member_keeps_its_instance_id() {
    let mut room = Room::new();
    let first = room.ask_to_join_as("a");
    let first = room.joined(first);
    room.settle(std::slice::from_ref(&first));
    let mut again = room.reloaded(config());
    let back = again.ask_to_join_as("a");
    let back = again.joined(back);
    assert_eq!(back.generation, first.generation);
    let told = again.heartbeat_as(&first.member, Some("a"), first.generation);
    assert_eq!(told, Err(GroupError::FencedInstanceId));
}

#[test]
fn generations_go_on_after_a_restart() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    let mut again = room.reloaded(config());
    let rejoined = again.ask_to_join(&ids[0]);
    assert_eq!(again.joined(rejoined).generation, generation + 1);
}

#[test]
fn commit_after_the_deletion_of_its_group_survives() {
    let mut room = Room::new();
    room.stable(1);
    room.pass(SESSION);
    room.ask_to_delete_group();
    room.ask_to_commit("", -1, 5);
    let again = room.reloaded(config());
    assert_eq!(again.offset("orders", 0), Some(5));
    assert_eq!(
        again.coordinator.describe(GROUP).expect("known").generation,
        0
    );
}

#[test]
fn group_loaded_with_too_many_members_rebalances_and_sheds_some() {
    let mut room = Room::new();
    let (ids, _) = room.stable(3);
    let small = GroupConfig {
        max_group_members: 2,
        ..config()
    };
    let mut again = room.reloaded(small);
    assert_eq!(again.state(), GroupState::PreparingRebalance);
    let replies: Vec<_> = ids.iter().map(|id| again.ask_to_join(id)).collect();
    assert!(again.is_answered(replies[0]) && again.is_answered(replies[1]));
    assert_eq!(
        again.refused(replies[2]).error,
        GroupError::GroupMaxSizeReached
    );
    assert_eq!(again.joined(replies[0]).members.len(), 2);
}

#[test]
fn unloading_tells_everyone_who_waits() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let join = room.ask_to_join(&ids[0]);
    room.writes_at_once = false;
    let commit = room.ask_to_commit(&ids[1], generation, 1);
    room.input(Input::Unloaded);
    assert_eq!(room.refused(join).error, GroupError::NotCoordinator);
    assert_eq!(room.committed(commit), [Err(GroupError::NotCoordinator)]);
    assert!(!room.coordinator.is_loaded());
    assert_eq!(room.coordinator.stats(), Stats::default());
}

#[test]
fn write_that_ends_after_the_unloading_changes_nothing() {
    let mut room = Room::new();
    room.writes_at_once = false;
    room.ask_to_commit("", -1, 1);
    room.input(Input::Unloaded);
    room.end_write(Ok(()));
    assert_eq!(room.coordinator.stats(), Stats::default());
}
