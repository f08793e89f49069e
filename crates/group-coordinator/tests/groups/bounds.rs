//! Limits (G8).

use crate::room::*;
use plimsoll_group_coordinator::*;
use std::time::Duration;

#[test]
fn full_group_takes_nobody_new() {
    let mut room = Room::with(GroupConfig {
        max_group_members: 2,
        ..config()
    });
    let (ids, generation) = room.stable(2);
    let third = room.ask_to_join("");
    assert_eq!(room.refused(third).error, GroupError::GroupMaxSizeReached);
    assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
}

#[test]
fn member_of_a_full_group_may_join_again() {
    let mut room = Room::with(GroupConfig {
        max_group_members: 2,
        ..config()
    });
    let (ids, generation) = room.stable(2);
    let replies: Vec<_> = ids.iter().map(|id| room.ask_to_join(id)).collect();
    for reply in replies {
        assert_eq!(room.joined(reply).generation, generation + 1);
    }
}

#[test]
fn promised_ids_are_as_many_as_members_at_most() {
    let mut room = Room::with(GroupConfig {
        max_group_members: 2,
        ..config()
    });
    let mut errors = Vec::new();
    for _ in 0..3 {
        let mut request = room.join_request("", None);
        request.require_member_id = true;
        let reply = room.ask_join(request);
        errors.push(room.refused(reply).error);
    }
    let (required, full) = (
        GroupError::MemberIdRequired,
        GroupError::GroupMaxSizeReached,
    );
    assert_eq!(errors, [required, required, full]);
}

#[test]
fn member_with_too_much_metadata_is_refused() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.protocols[0].metadata = vec![0; 1000].into();
    let reply = room.ask_join(request);
    assert_eq!(room.refused(reply).error, GroupError::GroupMaxSizeReached);
    let mut request = room.join_request("", None);
    request.protocols = (0..20).map(|n| protocol(&n.to_string(), "")).collect();
    let reply = room.ask_join(request);
    assert_eq!(room.refused(reply).error, GroupError::GroupMaxSizeReached);
}

#[test]
fn group_with_too_much_metadata_takes_nobody_new() {
    let mut room = Room::with(GroupConfig {
        initial_rebalance_delay: Duration::from_secs(1),
        ..config()
    });
    let mut refused = 0;
    for _ in 0..10 {
        let mut request = room.join_request("", None);
        request.protocols[0].metadata = vec![0; 800].into();
        let reply = room.ask_join(request);
        refused += usize::from(room.is_answered(reply));
    }
    assert_eq!(refused, 5, "five of 900 bytes fit into 5000");
}

#[test]
fn member_that_grows_too_large_is_out() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let mut request = room.join_request(&ids[1], None);
    request.protocols[0].metadata = vec![0; 1000].into();
    let reply = room.ask_join(request);
    assert_eq!(room.refused(reply).error, GroupError::GroupMaxSizeReached);
    let told = room.heartbeat(&ids[0], generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
}

#[test]
fn assignment_that_is_too_large_is_refused() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    let mut request = room.sync_request(&joined.member, joined.generation);
    request.assignments = vec![(joined.member.clone(), vec![0; 5001].into())];
    let reply = room.ask_sync(request);
    assert_eq!(room.synced(reply), Err(GroupError::UnknownServerError));
    assert_eq!(room.state(), GroupState::PreparingRebalance);
}

#[test]
fn groups_are_limited() {
    let mut room = Room::with(GroupConfig {
        max_groups: 1,
        ..config()
    });
    room.ask_to_commit("", -1, 1);
    let mut other = room.join_request("", None);
    other.group = "other".into();
    let join = room.ask_join(other);
    assert_eq!(
        room.refused(join).error,
        GroupError::CoordinatorNotAvailable
    );
    let mut other = room.commit_request("", -1, 1);
    other.group = "other".into();
    let commit = room.ask_commit(other);
    assert_eq!(
        room.committed(commit),
        [Err(GroupError::CoordinatorNotAvailable)]
    );
}

#[test]
fn writes_under_way_are_limited() {
    let mut room = Room::with(GroupConfig {
        max_writes_in_flight: 2,
        ..config()
    });
    room.writes_at_once = false;
    let replies: Vec<_> = (0..3)
        .map(|offset| room.ask_to_commit("", -1, offset))
        .collect();
    assert_eq!(
        room.committed(replies[2]),
        [Err(GroupError::CoordinatorNotAvailable)]
    );
    room.write_all();
    assert_eq!(room.committed(replies[1]), [Ok(())]);
    let next = room.ask_to_commit("", -1, 9);
    room.write_all();
    assert_eq!(room.committed(next), [Ok(())]);
}

#[test]
fn everything_kept_is_limited_in_sum() {
    let mut room = Room::with(GroupConfig {
        max_bytes: 1500,
        ..config()
    });
    room.stable(1);
    let mut other = room.commit_request("", -1, 1);
    other.group = "other".into();
    other.offsets = (0..20)
        .map(|partition| to_commit("orders", partition, 1))
        .collect();
    let commit = room.ask_commit(other);
    assert_eq!(
        room.committed(commit),
        [Err(GroupError::CoordinatorNotAvailable); 20]
    );
    let mut large = room.join_request("", None);
    large.protocols[0].metadata = vec![0; 800].into();
    let join = room.ask_join(large);
    assert_eq!(
        room.refused(join).error,
        GroupError::CoordinatorNotAvailable
    );
}

#[test]
fn what_is_gone_is_not_charged_for() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(3);
    room.ask_to_commit(&ids[0], generation, 1);
    assert!(room.coordinator.stats().bytes > 0);
    room.pass(SESSION);
    room.ask_to_delete_group();
    assert_eq!(room.coordinator.stats(), Stats::default());
}
