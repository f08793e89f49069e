//! Members that keep their place across restarts (KIP-345).

use crate::room::*;
use plimsoll_group_coordinator::*;

/// A stable group of the static members `a` (leader) and `b`.
fn stable(room: &mut Room) -> (Joined, Joined) {
    let first = room.ask_to_join_as("a");
    let first = room.joined(first);
    room.settle(std::slice::from_ref(&first));
    let second = room.ask_to_join_as("b");
    let mut again = room.join_request(&first.member, Some("a"));
    again.may_skip_assignment = true;
    let again = room.ask_join(again);
    let (leader, follower) = (room.joined(again), room.joined(second));
    room.settle(&[leader.clone(), follower.clone()]);
    (leader, follower)
}

#[test]
fn static_member_is_never_asked_to_join_twice() {
    let mut room = Room::new();
    let mut request = room.join_request("", Some("a"));
    request.require_member_id = true;
    let reply = room.ask_join(request);
    assert!(room.joined(reply).member.starts_with("a-"));
}

#[test]
fn follower_that_comes_back_keeps_generation_and_assignment() {
    let mut room = Room::new();
    let (leader, follower) = stable(&mut room);
    let back = room.ask_to_join_as("b");
    let back = room.joined(back);
    assert_eq!(back.generation, follower.generation);
    assert_eq!(back.leader, leader.member);
    assert_ne!(back.member, follower.member);
    assert_eq!(room.state(), GroupState::Stable);
    let reply = room.ask_to_sync(&back.member, back.generation);
    assert_eq!(
        room.synced(reply).as_deref(),
        Ok(follower.member.as_bytes())
    );
}

#[test]
fn return_is_answered_once_it_is_durable() {
    let mut room = Room::new();
    stable(&mut room);
    room.writes_at_once = false;
    let back = room.ask_to_join_as("b");
    assert!(!room.is_answered(back), "G6");
    room.end_write(Ok(()));
    let id = room.joined(back).member;
    let Some(LogRecord::Group {
        value: Some(snapshot),
        ..
    }) = room.log.last()
    else {
        panic!("the new member id is in the log")
    };
    assert!(snapshot.members.iter().any(|m| m.member == id));
}

#[test]
fn return_that_cannot_be_written_is_refused() {
    let mut room = Room::new();
    stable(&mut room);
    room.writes_at_once = false;
    let back = room.ask_to_join_as("b");
    room.end_write(Err(WriteError::NotLeader));
    assert_eq!(room.refused(back).error, GroupError::NotCoordinator);
}

#[test]
fn return_during_whose_write_the_group_rebalances_is_told_to_join() {
    let mut room = Room::new();
    stable(&mut room);
    room.writes_at_once = false;
    let back = room.ask_to_join_as("b");
    room.ask_to_join("");
    room.end_write(Ok(()));
    assert_eq!(room.refused(back).error, GroupError::RebalanceInProgress);
}

#[test]
fn leader_that_comes_back_and_can_skip_is_told_to() {
    let mut room = Room::new();
    let (leader, _) = stable(&mut room);
    let mut request = room.join_request("", Some("a"));
    request.may_skip_assignment = true;
    let back = room.ask_join(request);
    let back = room.joined(back);
    assert_eq!(back.generation, leader.generation);
    assert!(back.skip_assignment);
    assert_eq!(back.leader, back.member);
    assert_eq!(back.members.len(), 2);
}

#[test]
fn leader_that_comes_back_and_cannot_skip_is_not_told_that_it_leads() {
    let mut room = Room::new();
    let (leader, _) = stable(&mut room);
    let back = room.ask_to_join_as("a");
    let back = room.joined(back);
    assert!(!back.skip_assignment);
    assert_eq!(back.leader, leader.member);
    assert_ne!(back.leader, back.member);
    assert!(back.members.is_empty());
}

#[test]
fn old_member_id_is_fenced_after_the_return() {
    let mut room = Room::new();
    let (_, follower) = stable(&mut room);
    room.ask_to_join_as("b");
    let (id, generation) = (&follower.member, follower.generation);
    let fenced = GroupError::FencedInstanceId;
    assert_eq!(room.heartbeat_as(id, Some("b"), generation), Err(fenced));
    let mut sync = room.sync_request(id, generation);
    sync.instance = Some("b".into());
    let sync = room.ask_sync(sync);
    assert_eq!(room.synced(sync), Err(fenced));
    let mut commit = room.commit_request(id, generation, 1);
    commit.instance = Some("b".into());
    let commit = room.ask_commit(commit);
    assert_eq!(room.committed(commit), [Err(fenced)]);
    let join = room.join_request(id, Some("b"));
    let join = room.ask_join(join);
    assert_eq!(room.refused(join).error, fenced);
    let leave = room.ask_to_leave(&[(id, Some("b"))]);
    assert_eq!(room.left(leave), Ok(vec![Err(fenced)]));
}

#[test]
fn join_that_waits_under_the_old_id_is_fenced() {
    let mut room = Room::new();
    let (leader, _) = stable(&mut room);
    let waiting = room.join_request(&leader.member, Some("a"));
    let waiting = room.ask_join(waiting);
    assert!(!room.is_answered(waiting));
    room.ask_to_join_as("a");
    let refused = room.refused(waiting);
    assert_eq!(refused.error, GroupError::FencedInstanceId);
    assert_eq!(refused.member, leader.member);
}

#[test]
fn unknown_instance_with_a_member_id_is_refused() {
    let mut room = Room::new();
    let (leader, _) = stable(&mut room);
    let request = room.join_request(&leader.member, Some("nobody"));
    let reply = room.ask_join(request);
    assert_eq!(room.refused(reply).error, GroupError::UnknownMemberId);
    let told = room.heartbeat_as(&leader.member, Some("nobody"), leader.generation);
    assert_eq!(told, Err(GroupError::UnknownMemberId));
}

#[test]
fn return_while_the_leader_assigns_starts_another_generation() {
    let mut room = Room::new();
    let (leader, follower) = stable(&mut room);
    let again = room.join_request(&leader.member, Some("a"));
    let again = room.ask_join(again);
    let other = room.join_request(&follower.member, Some("b"));
    room.ask_join(other);
    let generation = room.joined(again).generation;
    let back = room.ask_to_join_as("b");
    assert!(!room.is_answered(back));
    let again = room.join_request(&leader.member, Some("a"));
    let again = room.ask_join(again);
    assert_eq!(room.joined(again).generation, generation + 1);
    assert_eq!(room.joined(back).generation, generation + 1);
}

#[test]
fn return_with_other_protocols_that_change_the_vote_makes_the_group_rebalance() {
    let mut room = Room::new();
    let mut request = room.join_request("", Some("a"));
    request.protocols = vec![protocol("range", "orders"), protocol("sticky", "orders")];
    let first = room.ask_join(request);
    let first = room.joined(first);
    room.settle(&[first]);
    let mut back = room.join_request("", Some("a"));
    back.protocols = vec![protocol("sticky", "orders"), protocol("range", "orders")];
    let back = room.ask_join(back);
    assert_eq!(room.joined(back).generation, 2);
    assert_eq!(room.joined(back).protocol.as_deref(), Some("sticky"));
}

#[test]
fn static_member_stays_through_a_rebalance_it_misses() {
    let mut room = Room::new();
    let (leader, follower) = stable(&mut room);
    let newcomer = room.ask_to_join("");
    let again = room.join_request(&leader.member, Some("a"));
    let again = room.ask_join(again);
    for _ in 0..12 {
        let _ = room.heartbeat_as(&follower.member, Some("b"), follower.generation);
        room.pass(std::time::Duration::from_secs(5));
    }
    assert!(room.is_answered(newcomer));
    let members = room.joined(again).members;
    assert!(members.iter().any(|m| m.member == follower.member));
}

#[test]
fn static_member_can_be_removed_by_instance_id_alone() {
    let mut room = Room::new();
    let (leader, follower) = stable(&mut room);
    let reply = room.ask_to_leave(&[("", Some("b"))]);
    assert_eq!(room.left(reply), Ok(vec![Ok(())]));
    let told = room.heartbeat(&follower.member, follower.generation);
    assert_eq!(told, Err(GroupError::UnknownMemberId));
    let told = room.heartbeat(&leader.member, leader.generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
}

#[test]
fn silent_static_member_is_out_after_its_session() {
    let mut room = Room::new();
    stable(&mut room);
    room.pass(SESSION);
    assert_eq!(room.state(), GroupState::Empty);
}
