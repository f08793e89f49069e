//! Becoming a member.

use crate::room::*;
use plimsoll_group_coordinator::*;
use std::time::Duration;

#[test]
fn first_member_leads_generation_one() {
    let mut room = Room::new();
    let reply = room.ask_to_join("");
    let joined = room.joined(reply);
    assert_eq!(joined.generation, 1);
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.members.len(), 1);
    assert!(joined.member.starts_with("client-"));
}

#[test]
fn new_dynamic_member_must_join_twice_when_its_version_says_so() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.require_member_id = true;
    let first = room.ask_join(request);
    let refused = room.refused(first);
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    let mut again = room.join_request(&refused.member, None);
    again.require_member_id = true;
    let second = room.ask_join(again);
    assert_eq!(room.joined(second).member, refused.member);
}

#[test]
fn promised_member_id_is_forgotten_after_the_session_timeout() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.require_member_id = true;
    let first = room.ask_join(request);
    let promised = room.refused(first).member;
    room.pass(SESSION);
    let late = room.ask_to_join(&promised);
    assert_eq!(room.refused(late).error, GroupError::UnknownMemberId);
    assert_eq!(
        room.coordinator.stats().groups,
        0,
        "a group nobody joined is not kept"
    );
}

#[test]
fn rebalance_waits_for_a_promised_member() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    let mut request = room.join_request("", None);
    request.require_member_id = true;
    let promised = room.ask_join(request);
    let promised = room.refused(promised).member;
    let leader = room.ask_to_join(&ids[0]);
    assert!(!room.is_answered(leader));
    let newcomer = room.ask_to_join(&promised);
    assert_eq!(room.joined(leader).generation, generation + 1);
    assert_eq!(room.joined(newcomer).generation, generation + 1);
}

#[test]
fn unknown_member_id_is_refused() {
    let mut room = Room::new();
    let nowhere = room.ask_to_join("ghost");
    assert_eq!(room.refused(nowhere).error, GroupError::UnknownMemberId);
    room.stable(1);
    let ghost = room.ask_to_join("ghost");
    assert_eq!(room.refused(ghost).error, GroupError::UnknownMemberId);
}

#[test]
fn empty_group_id_is_refused() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.group = "".into();
    let reply = room.ask_join(request);
    assert_eq!(room.refused(reply).error, GroupError::InvalidGroupId);
}

#[test]
fn session_timeout_out_of_range_is_refused() {
    let mut room = Room::new();
    for timeout in [Duration::ZERO, Duration::from_secs(1801)] {
        let mut request = room.join_request("", None);
        request.session_timeout = timeout;
        let reply = room.ask_join(request);
        assert_eq!(room.refused(reply).error, GroupError::InvalidSessionTimeout);
    }
}

#[test]
fn member_without_a_common_protocol_is_refused() {
    let mut room = Room::new();
    room.stable(1);
    let mut other = room.join_request("", None);
    other.protocols = vec![protocol("sticky", "orders")];
    let mut connect = room.join_request("", None);
    connect.protocol_type = "connect".into();
    let mut nothing = room.join_request("", None);
    nothing.protocols.clear();
    for request in [other, connect, nothing] {
        let reply = room.ask_join(request);
        assert_eq!(
            room.refused(reply).error,
            GroupError::InconsistentGroupProtocol
        );
    }
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn first_member_must_name_a_protocol() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.protocols.clear();
    let reply = room.ask_join(request);
    assert_eq!(
        room.refused(reply).error,
        GroupError::InconsistentGroupProtocol
    );
    assert_eq!(room.coordinator.stats().groups, 0);
}

#[test]
fn protocol_with_most_votes_wins_among_those_everyone_can_do() {
    let mut room = Room::with(GroupConfig {
        initial_rebalance_delay: Duration::from_secs(3),
        ..config()
    });
    let mut replies = Vec::new();
    for names in [["a", "b", "c"], ["b", "a", "x"], ["b", "a", "y"]] {
        let mut request = room.join_request("", None);
        request.protocols = names.iter().map(|n| protocol(n, "orders")).collect();
        replies.push(room.ask_join(request));
    }
    room.pass(Duration::from_secs(9));
    for reply in replies {
        assert_eq!(room.joined(reply).protocol.as_deref(), Some("b"));
    }
}

#[test]
fn repeated_protocol_name_counts_once() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    let mut twice = room.join_request("", None);
    twice.protocols = vec![protocol("range", "a"), protocol("range", "b")];
    room.ask_join(twice);
    let mut other = room.join_request(&ids[0], None);
    other.protocols = vec![protocol("other", "a")];
    let refused = room.ask_join(other);
    assert_eq!(
        room.refused(refused).error,
        GroupError::InconsistentGroupProtocol
    );
}

#[test]
fn leader_learns_everyones_metadata_and_followers_nobodys() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    let newcomer = room.ask_to_join("");
    let leader = room.ask_to_join(&ids[0]);
    assert!(room.joined(newcomer).members.is_empty());
    let members = room.joined(leader).members;
    assert_eq!(members.len(), 2);
    assert!(members.iter().all(|m| &*m.metadata == b"orders"));
}

#[test]
fn first_rebalance_waits_for_more_members_up_to_the_rebalance_timeout() {
    let delay = Duration::from_secs(3);
    let mut room = Room::with(GroupConfig {
        initial_rebalance_delay: delay,
        ..config()
    });
    let first = room.ask_to_join("");
    room.pass(Duration::from_secs(2));
    let second = room.ask_to_join("");
    room.pass(Duration::from_secs(3));
    assert!(
        !room.is_answered(first),
        "the second member extended the wait"
    );
    room.pass(Duration::from_secs(1));
    assert_eq!(room.joined(first).generation, 1);
    assert_eq!(room.joined(second).generation, 1);
}

#[test]
fn first_rebalance_ends_at_the_rebalance_timeout_however_many_come() {
    let delay = Duration::from_secs(3);
    let mut room = Room::with(GroupConfig {
        initial_rebalance_delay: delay,
        max_group_members: 1000,
        max_group_bytes: 1 << 20,
        ..config()
    });
    let first = room.ask_to_join("");
    for _ in 0..60 {
        room.ask_to_join("");
        room.pass(Duration::from_secs(1));
    }
    assert!(room.is_answered(first));
}

#[test]
fn first_rebalance_whose_members_all_left_leaves_nothing_behind() {
    let delay = Duration::from_secs(3);
    let mut room = Room::with(GroupConfig {
        initial_rebalance_delay: delay,
        ..config()
    });
    let first = room.ask_to_join("");
    room.pass(Duration::from_secs(1));
    let members = room.coordinator.describe(GROUP).expect("known").members;
    let left = room.ask_to_leave(&[(&members[0].member, None)]);
    assert_eq!(room.left(left), Ok(vec![Ok(())]));
    assert_eq!(room.refused(first).error, GroupError::UnknownMemberId);
    room.pass(Duration::from_secs(3));
    assert_eq!(room.coordinator.stats().groups, 0);
}

#[test]
fn new_member_makes_a_stable_group_rebalance() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    let newcomer = room.ask_to_join("");
    assert!(!room.is_answered(newcomer));
    assert_eq!(
        room.heartbeat(&ids[0], generation),
        Err(GroupError::RebalanceInProgress)
    );
    let rejoined = room.ask_to_join(&ids[0]);
    assert_eq!(room.joined(rejoined).generation, generation + 1);
    assert_eq!(room.joined(newcomer).generation, generation + 1);
}

#[test]
fn member_that_does_not_rejoin_in_time_is_out() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let newcomer = room.ask_to_join("");
    for _ in 0..12 {
        // It lives, but does not come.
        assert_eq!(
            room.heartbeat(&ids[1], generation),
            Err(GroupError::RebalanceInProgress)
        );
        assert_eq!(
            room.heartbeat(&ids[0], generation),
            Err(GroupError::RebalanceInProgress)
        );
        room.pass(Duration::from_secs(5));
    }
    let joined = room.joined(newcomer);
    assert_eq!(joined.members.len(), 1, "only who joined is in");
    assert_eq!(joined.leader, joined.member);
    assert_eq!(
        room.heartbeat(&ids[0], generation),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn follower_that_joins_again_unchanged_disturbs_nobody() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let again = room.ask_to_join(&ids[1]);
    assert_eq!(room.joined(again).generation, generation);
    assert_eq!(room.state(), GroupState::Stable);
}

#[test]
fn follower_with_other_metadata_makes_the_group_rebalance() {
    let mut room = Room::new();
    let (ids, _) = room.stable(2);
    let mut changed = room.join_request(&ids[1], None);
    changed.protocols = vec![protocol("range", "payments")];
    let reply = room.ask_join(changed);
    assert!(!room.is_answered(reply));
    assert_eq!(room.state(), GroupState::PreparingRebalance);
}

#[test]
fn leader_that_joins_again_has_it_all_assigned_anew() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    let again = room.ask_to_join(&ids[0]);
    assert_eq!(room.joined(again).generation, generation + 1);
}

#[test]
fn join_repeated_before_the_sync_gets_the_same_generation() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    let again = room.ask_to_join(&joined.member);
    assert_eq!(room.joined(again), joined);
}

#[test]
fn changed_join_before_the_sync_starts_another_generation() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    let mut changed = room.join_request(&joined.member, None);
    changed.protocols = vec![protocol("range", "payments")];
    let again = room.ask_join(changed);
    assert_eq!(room.joined(again).generation, 2);
}

#[test]
fn second_join_of_a_waiting_member_takes_the_place_of_the_first() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(2);
    let first = room.ask_to_join(&ids[0]);
    let second = room.ask_to_join(&ids[0]);
    assert_eq!(room.refused(first).error, GroupError::RebalanceInProgress);
    room.ask_to_join(&ids[1]);
    assert_eq!(room.joined(second).generation, generation + 1);
}

#[test]
fn new_member_whose_join_waits_too_long_is_out() {
    let mut room = Room::with(GroupConfig {
        new_member_join_timeout: Duration::from_secs(20),
        ..config()
    });
    let (ids, generation) = room.stable(1);
    let newcomer = room.ask_to_join("");
    for _ in 0..4 {
        let _ = room.heartbeat(&ids[0], generation);
        room.pass(Duration::from_secs(5));
    }
    assert_eq!(room.refused(newcomer).error, GroupError::UnknownMemberId);
    assert_eq!(
        &*room.refused(newcomer).member,
        "",
        "it is to ask for another id"
    );
}

#[test]
fn generations_of_a_group_only_grow() {
    let mut room = Room::new();
    let (_, before) = room.stable(3);
    let members = room.coordinator.describe(GROUP).expect("known").members;
    for member in members {
        room.ask_to_leave(&[(&member.member, None)]);
    }
    room.pass(REBALANCE);
    assert_eq!(room.state(), GroupState::Empty);
    let next = room.ask_to_join("");
    assert!(room.joined(next).generation > before);
}
