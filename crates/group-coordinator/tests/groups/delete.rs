//! Offsets and groups that go on request, and topics that take offsets with them.

use crate::room::*;
use plimsoll_group_coordinator::*;
use plimsoll_types::TopicName;

fn ask_to_delete(room: &mut Room, topic: &str) -> ReplyTo {
    let topic = TopicName::new(topic).expect("legal");
    let request = OffsetDeleteRequest {
        group: GROUP.into(),
        offsets: vec![(topic, 0)],
    };
    room.ask(|reply| Input::DeleteOffsets { reply, request })
}

fn deleted(room: &Room, reply: ReplyTo) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    match room.answer(reply) {
        Response::DeleteOffsets(result) => result.clone(),
        other => panic!("not a deletion: {other:?}"),
    }
}

#[test]
fn deleted_offset_is_gone_once_that_is_durable() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.writes_at_once = false;
    let reply = ask_to_delete(&mut room, "orders");
    assert!(!room.is_answered(reply), "G6");
    assert_eq!(room.offset("orders", 0), Some(1));
    room.end_write(Ok(()));
    assert_eq!(deleted(&room, reply), Ok(vec![Ok(())]));
    assert_eq!(room.offset("orders", 0), None);
}

#[test]
fn deletion_of_an_offset_that_is_not_there_is_fine() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    let reply = ask_to_delete(&mut room, "payments");
    assert_eq!(deleted(&room, reply), Ok(vec![Ok(())]));
}

#[test]
fn offset_whose_commit_is_under_way_is_deleted_too() {
    let mut room = Room::new();
    room.writes_at_once = false;
    room.ask_to_commit("", -1, 1);
    ask_to_delete(&mut room, "orders");
    room.write_all();
    assert_eq!(room.offset("orders", 0), None);
}

#[test]
fn offset_of_a_topic_that_members_read_stays() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.stable(1);
    let orders = ask_to_delete(&mut room, "orders");
    assert_eq!(
        deleted(&room, orders),
        Ok(vec![Err(GroupError::GroupSubscribedToTopic)])
    );
    let other = ask_to_delete(&mut room, "payments");
    assert_eq!(deleted(&room, other), Ok(vec![Ok(())]));
    assert_eq!(room.offset("orders", 0), Some(1));
}

#[test]
fn offsets_of_members_whose_topics_cannot_be_told_stay() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.protocols[0].topics = None;
    let first = room.ask_join(request);
    room.settle(&[room.joined(first)]);
    let reply = ask_to_delete(&mut room, "payments");
    assert_eq!(
        deleted(&room, reply),
        Ok(vec![Err(GroupError::GroupSubscribedToTopic)])
    );
}

#[test]
fn offsets_of_other_kinds_of_groups_stay_while_there_are_members() {
    let mut room = Room::new();
    let mut request = room.join_request("", None);
    request.protocol_type = "connect".into();
    let first = room.ask_join(request);
    room.settle(&[room.joined(first)]);
    let reply = ask_to_delete(&mut room, "orders");
    assert_eq!(deleted(&room, reply), Err(GroupError::NonEmptyGroup));
}

#[test]
fn offsets_of_an_unknown_group_cannot_be_deleted() {
    let mut room = Room::new();
    let reply = ask_to_delete(&mut room, "orders");
    assert_eq!(deleted(&room, reply), Err(GroupError::GroupIdNotFound));
}

#[test]
fn deleted_group_is_gone_with_its_offsets_once_that_is_durable() {
    let mut room = Room::new();
    for partition in 0..7 {
        let mut request = room.commit_request("", -1, 1);
        request.offsets[0].partition = partition;
        room.ask_commit(request);
    }
    room.writes_at_once = false;
    let reply = room.ask_to_delete_group();
    assert_eq!(
        room.under_way.len(),
        4,
        "three of at most three offsets, one of the group"
    );
    assert!(!room.is_answered(reply), "G6");
    room.write_all();
    assert_eq!(room.group_deleted(reply), Ok(()));
    assert_eq!(room.coordinator.stats().groups, 0);
    assert_eq!(room.reloaded(config()).coordinator.stats().groups, 0);
}

#[test]
fn group_with_members_cannot_be_deleted() {
    let mut room = Room::new();
    room.stable(1);
    let reply = room.ask_to_delete_group();
    assert_eq!(room.group_deleted(reply), Err(GroupError::NonEmptyGroup));
}

#[test]
fn unknown_group_cannot_be_deleted() {
    let mut room = Room::new();
    let reply = room.ask_to_delete_group();
    assert_eq!(room.group_deleted(reply), Err(GroupError::GroupIdNotFound));
}

#[test]
fn group_whose_deletion_is_under_way_takes_nothing_but_keeps_what_it_has() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.writes_at_once = false;
    room.ask_to_delete_group();
    let join = room.ask_to_join("");
    assert_eq!(
        room.refused(join).error,
        GroupError::CoordinatorNotAvailable
    );
    let commit = room.ask_to_commit("", -1, 2);
    assert_eq!(
        room.committed(commit),
        [Err(GroupError::CoordinatorNotAvailable)]
    );
    let again = room.ask_to_delete_group();
    assert_eq!(room.group_deleted(again), Err(GroupError::GroupIdNotFound));
    assert_eq!(room.offset("orders", 0), Some(1));
}

#[test]
fn deletion_that_cannot_be_written_leaves_the_group() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.writes_at_once = false;
    let reply = room.ask_to_delete_group();
    room.end_write(Err(WriteError::Unavailable));
    room.end_write(Err(WriteError::Unavailable));
    assert_eq!(
        room.group_deleted(reply),
        Err(GroupError::CoordinatorNotAvailable)
    );
    assert_eq!(room.offset("orders", 0), Some(1));
    assert_eq!(room.state(), GroupState::Empty);
}

#[test]
fn group_stays_if_one_of_its_offsets_could_not_be_deleted() {
    let mut room = Room::new();
    room.ask_to_commit("", -1, 1);
    room.writes_at_once = false;
    let reply = room.ask_to_delete_group();
    room.end_write(Err(WriteError::Unavailable));
    room.end_write(Ok(()));
    assert_eq!(
        room.group_deleted(reply),
        Err(GroupError::CoordinatorNotAvailable)
    );
    assert_eq!(room.offset("orders", 0), Some(1));
}

#[test]
fn deleted_topic_takes_its_offsets_with_it() {
    let mut room = Room::new();
    let mut request = room.commit_request("", -1, 1);
    request.offsets.push(to_commit("payments", 0, 2));
    room.ask_commit(request);
    let topics = vec![TopicName::new("orders").expect("legal")];
    room.input(Input::TopicsDeleted { topics });
    assert_eq!(room.offset("orders", 0), None);
    assert_eq!(room.offset("payments", 0), Some(2));
    assert_eq!(room.reloaded(config()).offset("orders", 0), None);
}
