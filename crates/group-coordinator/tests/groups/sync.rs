//! Getting an assignment.

use crate::room::*;
use plimsoll_group_coordinator::*;
use std::time::Duration;

/// Two members that have joined, leader first.
fn completing(room: &mut Room) -> (Joined, Joined) {
    let (ids, _) = room.stable(1);
    let newcomer = room.ask_to_join("");
    let leader = room.ask_to_join(&ids[0]);
    (room.joined(leader), room.joined(newcomer))
}

#[test]
fn everyone_gets_what_the_leader_assigned_once_that_is_durable() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    room.writes_at_once = false;
    let theirs = room.ask_to_sync(&follower.member, follower.generation);
    let mine = room.ask_to_lead(&leader);
    assert!(!room.is_answered(theirs) && !room.is_answered(mine), "G6");
    room.end_write(Ok(()));
    assert_eq!(
        room.synced(theirs).as_deref(),
        Ok(follower.member.as_bytes())
    );
    assert_eq!(room.synced(mine).as_deref(), Ok(leader.member.as_bytes()));
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn written_group_holds_members_and_their_assignment() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    room.settle(&[leader.clone(), follower.clone()]);
    let Some(LogRecord::Group {
        value: Some(snapshot),
        ..
    }) = room.log.last()
    else {
        panic!("the assignment is in the log")
    };
    assert_eq!(snapshot.generation, leader.generation);
    assert_eq!(snapshot.leader.as_ref(), Some(&leader.member));
    assert_eq!(snapshot.protocol.as_deref(), Some("range"));
    assert_eq!(snapshot.members.len(), 2);
    for member in &snapshot.members {
        assert_eq!(&*member.subscription, b"orders");
        assert_eq!(&*member.assignment, member.member.as_bytes());
    }
}

#[test]
fn sync_after_the_assignment_is_answered_at_once() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    room.ask_to_lead(&leader);
    let late = room.ask_to_sync(&follower.member, follower.generation);
    assert_eq!(room.synced(late).as_deref(), Ok(follower.member.as_bytes()));
}

#[test]
fn member_the_leader_forgot_gets_an_empty_assignment() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    let theirs = room.ask_to_sync(&follower.member, follower.generation);
    room.ask_to_sync(&leader.member, leader.generation);
    assert_eq!(room.synced(theirs).as_deref(), Ok(&[][..]));
}

#[test]
fn assignment_for_a_stranger_is_not_kept() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    let mut request = room.sync_request(&joined.member, joined.generation);
    request.assignments = vec![("stranger".into(), Blob::from(&b"x"[..]))];
    let reply = room.ask_sync(request);
    assert_eq!(room.synced(reply).as_deref(), Ok(&[][..]));
}

#[test]
fn sync_during_a_rebalance_is_told_to_join() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    room.ask_to_join("");
    let reply = room.ask_to_sync(&ids[0], generation);
    assert_eq!(room.synced(reply), Err(GroupError::RebalanceInProgress));
}

#[test]
fn sync_of_strangers_and_old_generations_is_refused() {
    let mut room = Room::new();
    let nowhere = room.ask_to_sync("ghost", 1);
    assert_eq!(room.synced(nowhere), Err(GroupError::UnknownMemberId));
    let (ids, generation) = room.stable(1);
    let ghost = room.ask_to_sync("ghost", generation);
    assert_eq!(room.synced(ghost), Err(GroupError::UnknownMemberId));
    for wrong in [generation - 1, generation + 1] {
        let reply = room.ask_to_sync(&ids[0], wrong);
        assert_eq!(room.synced(reply), Err(GroupError::IllegalGeneration));
    }
}

#[test]
fn sync_that_names_another_protocol_is_refused() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    let mut protocol = room.sync_request(&ids[0], generation);
    protocol.protocol = Some("sticky".into());
    let mut kind = room.sync_request(&ids[0], generation);
    kind.protocol_type = Some("connect".into());
    for request in [protocol, kind] {
        let reply = room.ask_sync(request);
        assert_eq!(
            room.synced(reply),
            Err(GroupError::InconsistentGroupProtocol)
        );
    }
    let mut right = room.sync_request(&ids[0], generation);
    right.protocol = Some("range".into());
    right.protocol_type = Some("consumer".into());
    let reply = room.ask_sync(right);
    assert!(room.synced(reply).is_ok());
}

#[test]
fn new_member_during_the_sync_sends_the_waiting_ones_back() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    let waiting = room.ask_to_sync(&follower.member, follower.generation);
    room.ask_to_join("");
    assert_eq!(room.synced(waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(
        room.heartbeat(&leader.member, leader.generation),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn failed_write_of_the_assignment_starts_another_rebalance() {
    let cases = [
        (WriteError::Unavailable, GroupError::CoordinatorNotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::UnknownServerError),
    ];
    for (failure, told) in cases {
        let mut room = Room::new();
        let first = room.ask_to_join("");
        let joined = room.joined(first);
        room.writes_at_once = false;
        let reply = room.ask_to_lead(&joined);
        room.end_write(Err(failure));
        assert_eq!(room.synced(reply), Err(told));
        assert_eq!(room.state(), GroupState::PreparingRebalance);
    }
}

#[test]
fn assignment_written_after_the_group_moved_on_changes_nothing() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    room.writes_at_once = false;
    let waiting = room.ask_to_lead(&joined);
    room.ask_to_join("");
    assert_eq!(room.synced(waiting), Err(GroupError::RebalanceInProgress));
    room.end_write(Ok(()));
    assert_eq!(room.state(), GroupState::PreparingRebalance);
}

#[test]
fn late_write_refuses_those_who_wait_and_still_counts_when_it_ends() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    room.writes_at_once = false;
    let waiting = room.ask_to_lead(&joined);
    room.pass(Duration::from_secs(5));
    assert_eq!(
        room.synced(waiting),
        Err(GroupError::CoordinatorNotAvailable)
    );
    let again = room.ask_to_lead(&joined);
    assert_eq!(
        room.under_way.len(),
        1,
        "the assignment is not written twice"
    );
    room.end_write(Ok(()));
    assert_eq!(room.synced(again).as_deref(), Ok(joined.member.as_bytes()));
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn sync_that_waits_for_a_late_write_is_refused_in_time_too() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    room.writes_at_once = false;
    room.ask_to_lead(&joined);
    room.pass(Duration::from_secs(5));
    let again = room.ask_to_lead(&joined);
    room.pass(Duration::from_secs(5));
    assert_eq!(room.synced(again), Err(GroupError::CoordinatorNotAvailable));
}

#[test]
fn member_that_never_syncs_is_out_after_the_rebalance_timeout() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    room.ask_to_lead(&leader);
    for _ in 0..12 {
        let _ = room.heartbeat(&leader.member, leader.generation);
        let _ = room.heartbeat(&follower.member, follower.generation);
        room.pass(Duration::from_secs(5));
    }
    let told = room.heartbeat(&follower.member, follower.generation);
    assert_eq!(told, Err(GroupError::UnknownMemberId));
    let told = room.heartbeat(&leader.member, leader.generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
}

#[test]
fn leader_that_never_syncs_does_not_hold_up_the_others() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    let waiting = room.ask_to_sync(&follower.member, follower.generation);
    for _ in 0..12 {
        let _ = room.heartbeat(&leader.member, leader.generation);
        room.pass(Duration::from_secs(5));
    }
    assert_eq!(room.synced(waiting), Err(GroupError::RebalanceInProgress));
    let rejoined = room.ask_to_join(&follower.member);
    assert_eq!(room.joined(rejoined).leader, follower.member);
}

#[test]
fn second_sync_of_a_waiting_member_takes_the_place_of_the_first() {
    let mut room = Room::new();
    let (leader, follower) = completing(&mut room);
    let first = room.ask_to_sync(&follower.member, follower.generation);
    let second = room.ask_to_sync(&follower.member, follower.generation);
    assert_eq!(room.synced(first), Err(GroupError::RebalanceInProgress));
    room.ask_to_lead(&leader);
    assert_eq!(
        room.synced(second).as_deref(),
        Ok(follower.member.as_bytes())
    );
}
