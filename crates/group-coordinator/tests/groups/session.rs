//! Silence, and what it ends.

use crate::room::*;
use plimsoll_group_coordinator::*;
use std::time::Duration;

#[test]
fn silent_member_is_out_and_the_others_rebalance() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    room.pass(Duration::from_secs(6));
    assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
    room.pass(Duration::from_secs(6));
    let told = room.heartbeat(&ids[0], generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
    let told = room.heartbeat(&ids[1], generation);
    assert_eq!(told, Err(GroupError::UnknownMemberId));
}

#[test]
fn group_whose_members_all_fell_silent_is_empty_and_written_so() {
    let mut room = Room::new();
    let (_, generation) = room.stable(2);
    room.pass(SESSION);
    assert_eq!(room.state(), GroupState::Empty);
    let Some(LogRecord::Group {
        value: Some(snapshot),
        ..
    }) = room.log.last()
    else {
        panic!("the empty group is in the log")
    };
    assert!(snapshot.members.is_empty());
    assert!(snapshot.generation > generation);
    assert_eq!(snapshot.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn heartbeats_keep_a_member_in() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    for _ in 0..20 {
        room.pass(Duration::from_secs(9));
        assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
    }
}

#[test]
fn commits_keep_a_member_in() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    for offset in 0..5 {
        room.pass(Duration::from_secs(9));
        let reply = room.ask_to_commit(&ids[0], generation, offset);
        assert_eq!(room.committed(reply), [Ok(())]);
    }
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn member_is_not_silent_while_its_join_waits() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let waiting = room.ask_to_join(&ids[0]);
    for _ in 0..6 {
        room.pass(Duration::from_secs(9));
        let _ = room.heartbeat(&ids[1], generation);
    }
    assert!(!room.is_answered(waiting));
    room.ask_to_join(&ids[1]);
    assert_eq!(room.joined(waiting).generation, generation + 1);
}

#[test]
fn session_starts_anew_with_the_generation() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    room.ask_to_join(&ids[0]);
    for _ in 0..3 {
        room.pass(Duration::from_secs(9));
        let _ = room.heartbeat(&ids[1], generation);
    }
    room.ask_to_join(&ids[1]);
    room.pass(Duration::from_secs(9));
    assert_eq!(room.heartbeat(&ids[0], generation + 1), Ok(()));
    room.pass(Duration::from_secs(1));
    assert_eq!(
        room.coordinator
            .describe(GROUP)
            .expect("known")
            .members
            .len(),
        1
    );
}

#[test]
fn last_awaited_member_that_expires_lets_the_others_go_on() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let waiting = room.ask_to_join(&ids[0]);
    room.pass(SESSION);
    let joined = room.joined(waiting);
    assert_eq!(joined.generation, generation + 1);
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn session_ends_on_time_and_not_before() {
    let mut room = Room::new();
    room.stable(1);
    room.pass(SESSION - Duration::from_millis(1));
    assert_eq!(room.coordinator.stats().members, 1);
    room.pass(Duration::from_millis(1));
    assert_eq!(room.coordinator.stats().members, 0);
}

#[test]
fn zero_rebalance_timeout_does_not_spin() {
    let mut room = Room::new();
    let mut request = room.join_request("", Some("i"));
    request.rebalance_timeout = Duration::ZERO;
    let first = room.ask_join(request);
    room.settle(&[room.joined(first)]);
    let mut newcomer = room.join_request("", None);
    newcomer.rebalance_timeout = Duration::ZERO;
    room.ask_join(newcomer);
    room.input(Input::Tick);
    let next = room.coordinator.next_deadline().expect("sessions run");
    assert!(next > room.now().monotonic);
}
