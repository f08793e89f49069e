//! Describing and listing.

use crate::room::*;
use plimsoll_group_coordinator::*;

fn listed(room: &Room, states: &[&str], types: &[&str]) -> usize {
    let names = |list: &[&str]| list.iter().map(|name| Text::from(*name)).collect();
    let filter = ListFilter {
        states: names(states),
        types: names(types),
    };
    room.coordinator.list(&filter).expect("loaded").len()
}

#[test]
fn stable_group_is_described_with_metadata_and_assignment() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    let group = room.coordinator.describe(GROUP).expect("known");
    assert_eq!(group.state, GroupState::Stable);
    assert_eq!(
        (&*group.protocol_type, &*group.protocol),
        ("consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!(member.member, ids[0]);
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "host")
    );
    assert_eq!(&*member.metadata, b"orders");
    assert_eq!(&*member.assignment, ids[0].as_bytes());
}

#[test]
fn rebalancing_group_is_described_without_metadata() {
    let mut room = Room::new();
    room.stable(1);
    room.ask_to_join("");
    let group = room.coordinator.describe(GROUP).expect("known");
    assert_eq!(group.state, GroupState::PreparingRebalance);
    assert_eq!(&*group.protocol, "");
    assert!(group.members.iter().all(|m| m.metadata.is_empty()));
}

#[test]
fn unknown_group_is_not_described() {
    let room = Room::new();
    assert_eq!(
        room.coordinator.describe("g").err(),
        Some(GroupError::GroupIdNotFound)
    );
}

#[test]
fn lists_select_by_state_and_type_whatever_the_case() {
    let mut room = Room::new();
    room.stable(1);
    assert_eq!(listed(&room, &[], &[]), 1);
    assert_eq!(listed(&room, &["stable"], &["CLASSIC"]), 1);
    assert_eq!(listed(&room, &["Empty", "Stable"], &[]), 1);
    assert_eq!(listed(&room, &["Empty"], &[]), 0);
    assert_eq!(listed(&room, &["nonsense"], &[]), 0);
    assert_eq!(listed(&room, &[], &["consumer"]), 0);
}

#[test]
fn group_that_only_keeps_offsets_has_no_protocol_type() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    let groups = room
        .coordinator
        .list(&ListFilter::default())
        .expect("loaded");
    assert_eq!(&*groups[0].protocol_type, "");
    assert_eq!(groups[0].state, GroupState::Empty);
}

#[test]
fn offsets_are_listed_by_topic_and_partition() {
    let mut room = Room::new();
    let mut request = room.commit_request("", -1, 1);
    request
        .offsets
        .extend([to_commit("a", 9, 2), to_commit("a", 10, 3)]);
    room.ask_commit(request);
    let offsets = room.coordinator.offsets(GROUP).expect("loaded");
    let all: Vec<_> = offsets
        .iter()
        .map(|(t, p, o)| (t.as_str(), p, o.offset))
        .collect();
    assert_eq!(all, [("a", 9, 2), ("a", 10, 3), ("orders", 0, 1)]);
    assert_eq!(offsets.count(), 3);
}

#[test]
fn states_are_noted_with_their_cause() {
    let mut room = Room::new();
    let (ids, _) = room.stable(1);
    let notes: Vec<_> = room.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, [
        format!("group g: Empty -> PreparingRebalance at generation 0 with 1 members: {} joined", ids[0]),
        "group g: PreparingRebalance -> CompletingRebalance at generation 1 with 1 members: the join phase ended".into(),
        "group g: CompletingRebalance -> Stable at generation 1 with 1 members: the assignment is durable".into(),
    ]);
}
