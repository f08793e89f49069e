//! Requests that come while the groups are away for a moment.

use super::*;
use crate::groups::held::{ELSEWHERE, LOADING, MAX_HELD};
use plimsoll_group_coordinator::HeartbeatRequest;

fn after(start: Now, time: Duration) -> Now {
    Now {
        monotonic: start.monotonic + time,
        ..start
    }
}

fn loading() -> Shard {
    let shard = Shard::new(0, config());
    shard.expected(now(0));
    shard
}

/// The answer, if it is there; the request goes on waiting if it is not.
fn peek(asked: &Asked) -> Option<Answer> {
    match asked {
        Asked::Answered(response) => Some(Ok(response.clone())),
        Asked::Waits(slot) => poll_answer(Asked::Waits(Arc::clone(slot))),
    }
}

#[test]
fn commits_wait_for_the_loading_and_keep_their_order() {
    let shard = loading();
    let (first, ring) = shard.ask(now(1), commit(7)).expect("held");
    assert!(ring, "the driver looks after it");
    let (second, ring) = shard.ask(now(1), commit(8)).expect("held");
    assert!(
        !ring,
        "it looks after the first one, whose time is up before"
    );
    assert_eq!((peek(&first), peek(&second)), (None, None));

    shard.loaded(now(1), Coordinator::new(config()));
    let writes = shard.take_outbox();
    let offsets: Vec<i64> = writes
        .iter()
        .flat_map(|(_, records)| records)
        .filter_map(|record| match record {
            LogRecord::Offset {
                value: Some(committed),
                ..
            } => Some(committed.offset),
            _ => None,
        })
        .collect();
    assert_eq!(offsets, [7, 8]);
    let ids: Vec<WriteId> = writes.iter().map(|(write, _)| *write).collect();
    shard.written(now(1), &ids, Ok(()));
    let done = Some(Response::Commit(vec![Ok(())]));
    assert_eq!((poll(first), poll(second)), (done.clone(), done));
}

#[test]
fn loading_that_takes_too_long_is_told() {
    let shard = loading();
    let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
    let end = after(now(1), LOADING);
    assert_eq!(shard.refuse_overdue(now(1)), Some(end.monotonic));
    assert_eq!(peek(&asked), None);
    assert_eq!(shard.refuse_overdue(end), None);
    let told = Err(GroupError::CoordinatorLoadInProgress);
    assert_eq!(poll_answer(asked), Some(told));
    shard.loaded(end, Coordinator::new(config()));
    assert!(
        shard.take_outbox().is_empty(),
        "what was refused is not done"
    );
}

#[test]
fn no_more_are_held_than_the_bound() {
    let shard = loading();
    for _ in 0..MAX_HELD {
        let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
        assert_eq!(peek(&asked), None);
    }
    let (asked, _) = shard.ask(now(1), commit(7)).expect("asked");
    let told = vec![Err(GroupError::CoordinatorLoadInProgress)];
    assert_eq!(poll(asked), Some(Response::Commit(told)));
    assert!(shard.look_later(now(1)).is_none());
}

#[test]
fn heartbeats_are_answered_while_groups_are_loaded() {
    let request = HeartbeatRequest {
        group: "g".into(),
        member: "m".into(),
        instance: None,
        generation: 1,
    };
    let beat = |reply| Input::Heartbeat { reply, request };
    let (asked, _) = loading().ask(now(1), beat).expect("asked");
    assert_eq!(poll(asked), Some(Response::Heartbeat(Ok(()))));
}

#[test]
fn whoever_comes_before_the_node_knows_that_it_leads_is_served() {
    let shard = Shard::new(0, config());
    shard.left(now(0));
    let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
    shard.expected(now(1));
    let later = after(now(1), ELSEWHERE);
    let end = after(now(1), LOADING);
    assert_eq!(shard.refuse_overdue(later), Some(end.monotonic));
    shard.loaded(later, Coordinator::new(config()));
    shard.written(later, &write_ids(&shard), Ok(()));
    assert_eq!(poll(asked), Some(Response::Commit(vec![Ok(())])));
}

#[test]
fn whoever_comes_to_the_wrong_node_hears_soon() {
    let shard = Shard::new(0, config());
    shard.left(now(0));
    let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
    let end = after(now(1), ELSEWHERE);
    assert_eq!(shard.refuse_overdue(now(1)), Some(end.monotonic));
    assert_eq!(shard.refuse_overdue(end), None);
    assert_eq!(poll_answer(asked), Some(Err(GroupError::NotCoordinator)));
}

#[test]
fn failure_ends_the_waiting() {
    let shard = loading();
    let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
    let (look, _) = shard.look_later(now(1)).expect("held");
    shard.failed(now(1));
    let told = Err(GroupError::CoordinatorNotAvailable);
    assert_eq!(poll_answer(asked), Some(told));
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(look.filled()).poll(&mut context).is_ready());
    assert!(shard.look_later(now(1)).is_none());
}

#[test]
fn look_waits_for_the_loading() {
    let shard = loading();
    let (look, ring) = shard.look_later(now(1)).expect("held");
    assert!(ring, "the driver looks after it");
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(look.filled()).poll(&mut context).is_pending());
    shard.loaded(now(1), Coordinator::new(config()));
    assert!(pin!(look.filled()).poll(&mut context).is_ready());
    assert!(
        shard.look_later(now(1)).is_none(),
        "there is nothing to wait for"
    );
}

#[test]
fn deletion_of_a_topic_does_not_pass_a_commit_that_is_held() {
    let shard = loading();
    let (asked, _) = shard.ask(now(1), commit(7)).expect("held");
    let topics = vec![TopicName::new("orders").expect("legal")];
    shard.tell(now(1), Input::TopicsDeleted { topics });
    let told = Err(GroupError::CoordinatorLoadInProgress);
    assert_eq!(poll_answer(asked), Some(told));
    shard.loaded(now(1), Coordinator::new(config()));
    assert!(shard.take_outbox().is_empty());
}
