//! A shard without a log: the test says what became of its writes.

use super::*;
use plimsoll_group_coordinator::{CommitRequest, OffsetToCommit};
use plimsoll_types::{Timestamp, TopicName};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn now(seconds: u64) -> Now {
    Now {
        monotonic: Monotonic::from_start(Duration::from_secs(seconds)),
        wall: Timestamp::from_millis(0),
    }
}

fn config() -> GroupConfig {
    crate::groups::tests_config()
}

fn loaded() -> Shard {
    let shard = Shard::new(0, config());
    shard.loaded(now(0), Coordinator::new(config()));
    shard
}

fn commit(offset: i64) -> impl FnOnce(ReplyTo) -> Input {
    let offset = OffsetToCommit {
        topic: TopicName::new("orders").expect("legal"),
        partition: 0,
        offset,
        leader_epoch: None,
        metadata: "".into(),
    };
    let request = CommitRequest {
        group: "g".into(),
        member: "".into(),
        instance: None,
        generation: -1,
        retention: None,
        offsets: vec![offset],
    };
    |reply| Input::Commit { reply, request }
}

/// The answer, if it is there.
fn poll(asked: Asked) -> Option<Response> {
    poll_answer(asked).map(|answer| answer.expect("not refused"))
}

fn poll_answer(asked: Asked) -> Option<Answer> {
    match pin!(asked.answer()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn write_ids(shard: &Shard) -> Vec<WriteId> {
    shard
        .take_outbox()
        .into_iter()
        .map(|(write, _)| write)
        .collect()
}

#[test]
fn commit_waits_in_the_outbox_and_is_answered_when_written() {
    let shard = loaded();
    let (asked, ring) = shard.ask(now(1), commit(7)).expect("loaded");
    assert!(ring, "the driver has to write");
    shard.written(now(1), &write_ids(&shard), Ok(()));
    assert_eq!(poll(asked), Some(Response::Commit(vec![Ok(())])));
}

#[test]
fn commit_is_not_answered_before_it_is_written() {
    let shard = loaded();
    let (asked, _) = shard.ask(now(1), commit(7)).expect("loaded");
    assert_eq!(poll(asked), None);
}

#[test]
fn request_that_went_away_hinders_nobody() {
    let shard = loaded();
    let (gone, _) = shard.ask(now(1), commit(7)).expect("loaded");
    let (stays, _) = shard.ask(now(1), commit(8)).expect("loaded");
    drop(gone);
    shard.written(now(1), &write_ids(&shard), Ok(()));
    assert_eq!(poll(stays), Some(Response::Commit(vec![Ok(())])));
}

#[test]
fn failed_shard_answers_those_who_wait_and_refuses_who_comes() {
    let shard = loaded();
    let (asked, _) = shard.ask(now(1), commit(7)).expect("loaded");
    shard.failed(now(1));
    let told = vec![Err(GroupError::NotCoordinator)];
    assert_eq!(poll(asked), Some(Response::Commit(told)));
    assert!(shard.take_outbox().is_empty());
    assert_eq!(
        shard.ask(now(1), commit(8)).err(),
        Some(GroupError::CoordinatorNotAvailable)
    );
    assert!(shard.query(|c| Ok(c.stats())).is_err());
}

#[test]
fn failed_shard_serves_again_once_loaded() {
    let shard = loaded();
    shard.failed(now(1));
    shard.loaded(now(2), Coordinator::new(config()));
    assert!(shard.ask(now(2), commit(8)).is_ok());
}

#[test]
fn driver_is_rung_only_for_a_deadline_before_the_one_it_knows() {
    let shard = loaded();
    let planned = shard.tick(now(1)).next.expect("retention is checked");
    let (_, ring) = shard.ask(now(1), commit(7)).expect("loaded");
    assert!(ring, "something is to be written, and its deadline is near");
    let sooner = shard.tick(now(1)).next.expect("the write has a deadline");
    assert!(sooner < planned);
    assert!(!shard.tell(now(1), Input::Tick), "nothing new");
}

mod holding;
