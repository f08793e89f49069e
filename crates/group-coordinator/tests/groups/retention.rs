//! Offsets that end by themselves.

use crate::room::*;
use plimsoll_group_coordinator::*;
use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const CHECK: Duration = Duration::from_secs(600);

#[test]
fn offsets_committed_outside_membership_end_a_retention_after_the_commit() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.pass(WEEK - CHECK);
    assert_eq!(room.offset("orders", 0), Some(1));
    room.pass(CHECK + CHECK);
    assert_eq!(room.offset("orders", 0), None);
    assert_eq!(
        room.coordinator.stats().groups,
        0,
        "nothing is left of the group"
    );
    assert_eq!(room.reloaded(config()).coordinator.stats().groups, 0);
}

#[test]
fn offsets_of_a_group_end_a_retention_after_its_last_member() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    room.ask_to_commit(&ids[0], generation, 1);
    for _ in 0..80_000 {
        room.pass(Duration::from_secs(9));
        assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
    }
    assert_eq!(room.offset("orders", 0), Some(1), "in use, however old");
    room.ask_to_leave(&[(&ids[0], None)]);
    room.pass(WEEK - CHECK);
    assert_eq!(room.offset("orders", 0), Some(1));
    room.pass(CHECK + CHECK);
    assert_eq!(room.offset("orders", 0), None);
}

#[test]
fn offsets_of_topics_no_longer_read_end_while_the_group_lives() {
    let mut room = Room::with(GroupConfig {
        offsets_retention: CHECK,
        ..config()
    });
    let (ids, generation) = room.stable(1);
    let mut request = room.commit_request(&ids[0], generation, 1);
    request.offsets.push(to_commit("payments", 0, 2));
    room.ask_commit(request);
    for _ in 0..200 {
        room.pass(Duration::from_secs(9));
        assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
    }
    assert_eq!(room.offset("orders", 0), Some(1));
    assert_eq!(room.offset("payments", 0), None);
}

#[test]
fn retention_asked_for_by_an_old_client_is_heeded() {
    let mut room = Room::new();
    let mut request = room.commit_request("", -1, 1);
    request.retention = Some(Duration::from_secs(1));
    room.ask_commit(request);
    room.pass(CHECK);
    assert_eq!(room.offset("orders", 0), None);
}

#[test]
fn offset_about_to_be_replaced_does_not_end() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.pass(WEEK - Duration::from_secs(1));
    room.writes_at_once = false;
    room.ask_to_commit("", -1, 2);
    room.pass(CHECK);
    room.write_all();
    assert_eq!(room.offset("orders", 0), Some(2));
}

#[test]
fn empty_group_without_offsets_is_forgotten_at_the_next_check() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    room.ask_to_leave(&[(&ids[0], None)]);
    assert_eq!(room.coordinator.stats().groups, 1);
    room.pass(CHECK);
    assert_eq!(room.coordinator.stats().groups, 0);
    assert!(matches!(
        room.log.last(),
        Some(LogRecord::Group { value: None, .. })
    ));
}
