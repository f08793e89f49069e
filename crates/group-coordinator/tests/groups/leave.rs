//! Going, or being removed.

use crate::room::*;
use plimsoll_group_coordinator::*;

#[test]
fn member_that_leaves_makes_the_others_rebalance() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let reply = room.ask_to_leave(&[(&ids[1], None)]);
    assert_eq!(room.left(reply), Ok(vec![Ok(())]));
    let told = room.heartbeat(&ids[0], generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
}

#[test]
fn leader_that_leaves_is_succeeded() {
    let mut room = Room::new();
    let (ids, _) = room.stable(2);
    room.ask_to_leave(&[(&ids[0], None)]);
    let rejoined = room.ask_to_join(&ids[1]);
    assert_eq!(room.joined(rejoined).leader, ids[1]);
}

#[test]
fn last_member_is_told_once_the_empty_group_is_durable() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    room.writes_at_once = false;
    let reply = room.ask_to_leave(&[(&ids[0], None)]);
    assert!(!room.is_answered(reply), "G6");
    room.end_write(Ok(()));
    assert_eq!(room.left(reply), Ok(vec![Ok(())]));
    assert_eq!(room.reloaded(config()).state(), GroupState::Empty);
}

#[test]
fn last_leave_that_cannot_be_written_is_refused() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    room.writes_at_once = false;
    let reply = room.ask_to_leave(&[(&ids[0], None)]);
    room.end_write(Err(WriteError::Unavailable));
    assert_eq!(room.left(reply), Err(GroupError::CoordinatorNotAvailable));
}

#[test]
fn strangers_cannot_leave() {
    let mut room = Room::new();
    let nowhere = room.ask_to_leave(&[("ghost", None)]);
    assert_eq!(room.left(nowhere), Err(GroupError::UnknownMemberId));
    room.stable(1);
    let ghost = room.ask_to_leave(&[("ghost", None), ("", None), ("", Some("nobody"))]);
    assert_eq!(
        room.left(ghost),
        Ok(vec![Err(GroupError::UnknownMemberId); 3])
    );
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn several_members_leave_at_once_each_with_a_result() {
    let mut room = Room::new();
    let (ids, _) = room.stable(3);
    let reply = room.ask_to_leave(&[(&ids[0], None), ("ghost", None), (&ids[2], None)]);
    let results = vec![Ok(()), Err(GroupError::UnknownMemberId), Ok(())];
    assert_eq!(room.left(reply), Ok(results));
    let rejoined = room.ask_to_join(&ids[1]);
    assert_eq!(room.joined(rejoined).members.len(), 1);
}

#[test]
fn promised_member_that_leaves_disturbs_nobody() {
    let mut room = Room::new();
    room.stable(1);
    let mut request = room.join_request("", None);
    request.require_member_id = true;
    let promised = room.ask_join(request);
    let promised = room.refused(promised).member;
    let reply = room.ask_to_leave(&[(&promised, None)]);
    assert_eq!(room.left(reply), Ok(vec![Ok(())]));
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn last_awaited_member_that_leaves_lets_the_others_go_on() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let waiting = room.ask_to_join(&ids[0]);
    room.ask_to_leave(&[(&ids[1], None)]);
    assert_eq!(room.joined(waiting).generation, generation + 1);
}

#[test]
fn member_removed_while_its_join_waits_is_told_so() {
    let mut room = Room::new();
    let (ids, _) = room.stable(2);
    let waiting = room.ask_to_join(&ids[0]);
    room.ask_to_leave(&[(&ids[0], None)]);
    assert_eq!(room.refused(waiting).error, GroupError::UnknownMemberId);
}

#[test]
fn member_removed_while_its_sync_waits_is_told_so() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    let newcomer = room.ask_to_join("");
    room.ask_to_join(&ids[0]);
    let newcomer = room.joined(newcomer);
    let waiting = room.ask_to_sync(&newcomer.member, newcomer.generation);
    room.ask_to_leave(&[(&newcomer.member, None)]);
    assert_eq!(room.synced(waiting), Err(GroupError::UnknownMemberId));
}
