//! Signs of life.

use crate::room::*;
use plimsoll_group_coordinator::*;

#[test]
fn member_of_a_stable_group_is_told_to_go_on() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    assert_eq!(room.heartbeat(&ids[0], generation), Ok(()));
}

#[test]
fn heartbeat_between_join_and_sync_is_fine() {
    let mut room = Room::new();
    let first = room.ask_to_join("");
    let joined = room.joined(first);
    assert_eq!(room.heartbeat(&joined.member, joined.generation), Ok(()));
}

#[test]
fn stranger_old_generation_and_unknown_group_are_refused() {
    let mut room = Room::new();
    assert_eq!(room.heartbeat("ghost", 1), Err(GroupError::UnknownMemberId));
    let (ids, generation) = room.stable(1);
    assert_eq!(
        room.heartbeat("ghost", generation),
        Err(GroupError::UnknownMemberId)
    );
    let old = room.heartbeat(&ids[0], generation - 1);
    assert_eq!(old, Err(GroupError::IllegalGeneration));
}

#[test]
fn member_hears_of_a_rebalance() {
    let mut room = Room::new();
    let (ids, generation) = room.stable(1);
    room.ask_to_join("");
    let told = room.heartbeat(&ids[0], generation);
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
}

#[test]
fn heartbeat_while_the_log_is_read_is_told_to_go_on() {
    let mut coordinator = Coordinator::new(config());
    let request = HeartbeatRequest {
        group: GROUP.into(),
        member: "m".into(),
        instance: None,
        generation: 1,
    };
    let now = Room::new().now();
    let actions = coordinator.handle(
        now,
        Input::Heartbeat {
            reply: ReplyTo(1),
            request,
        },
    );
    let response = Response::Heartbeat(Ok(()));
    assert_eq!(
        actions,
        [Action::Reply {
            to: ReplyTo(1),
            response
        }]
    );
}
