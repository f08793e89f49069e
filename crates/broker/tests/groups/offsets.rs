//! Committing, fetching and deleting offsets.

use crate::membership::{heartbeat, stable};
use crate::node::{Node, versions};
use plimsoll_wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use plimsoll_wire::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use plimsoll_wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use plimsoll_wire::{ApiKey, ErrorCode, Response};
use std::time::Duration;

pub(crate) fn commit_request(topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
        }],
        ..Default::default()
    }
}

fn committed(response: Response) -> OffsetCommitResponse {
    match response {
        Response::OffsetCommit(committed) => committed,
        other => panic!("another response: {other:?}"),
    }
}

/// The error of the only partition.
pub(crate) fn commit(node: &mut Node, version: i16, request: OffsetCommitRequest) -> i16 {
    let response = committed(node.call(version, request));
    response.topics[0].partitions[0].error_code
}

fn fetched(response: Response) -> OffsetFetchResponse {
    match response {
        Response::OffsetFetch(fetched) => fetched,
        other => panic!("another response: {other:?}"),
    }
}

/// Topic, partition, offset and note, of `orders` or of everything.
fn fetch(node: &mut Node, version: i16, everything: bool) -> Vec<(String, i32, i64, String)> {
    let note = |metadata: &Option<plimsoll_wire::Str>| metadata.clone().unwrap_or_default().into();
    if version < 8 {
        let topic = OffsetFetchRequestTopic {
            name: "orders".into(),
            partition_indexes: vec![0, 1],
        };
        let topics = (!everything).then(|| vec![topic]);
        let request = OffsetFetchRequest {
            group_id: "g".into(),
            topics,
            ..Default::default()
        };
        let response = fetched(node.call(version, request));
        assert_eq!(response.error_code, 0);
        let of = |topic: &plimsoll_wire::offset_fetch::OffsetFetchResponseTopic| {
            let name = topic.name.to_string();
            let row = topic.partitions.iter().map(move |p| {
                (
                    name.clone(),
                    p.partition_index,
                    p.committed_offset,
                    note(&p.metadata),
                )
            });
            row.collect::<Vec<_>>()
        };
        return response.topics.iter().flat_map(of).collect();
    }
    let topic = OffsetFetchRequestTopics {
        name: "orders".into(),
        partition_indexes: vec![0, 1],
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        topics: (!everything).then(|| vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group],
        ..Default::default()
    };
    let response = fetched(node.call(version, request));
    assert_eq!(response.groups[0].error_code, 0);
    let of = |topic: &plimsoll_wire::offset_fetch::OffsetFetchResponseTopics| {
        let name = topic.name.to_string();
        let row = topic.partitions.iter().map(move |p| {
            (
                name.clone(),
                p.partition_index,
                p.committed_offset,
                note(&p.metadata),
            )
        });
        row.collect::<Vec<_>>()
    };
    response.groups[0].topics.iter().flat_map(of).collect()
}

fn row(partition: i32, offset: i64, note: &str) -> (String, i32, i64, String) {
    ("orders".to_owned(), partition, offset, note.to_owned())
}

#[test]
fn commit_is_fetched_in_every_version() {
    let mut node = Node::ready();
    for (offset, version) in (1..).zip(versions(ApiKey::OffsetCommit)) {
        assert_eq!(
            commit(&mut node, version, commit_request("orders", 1, offset)),
            0
        );
        for version in versions(ApiKey::OffsetFetch) {
            let some = [row(0, -1, ""), row(1, offset, "note")];
            assert_eq!(fetch(&mut node, version, false), some, "version {version}");
            if version >= 2 {
                let all = [row(1, offset, "note")];
                assert_eq!(fetch(&mut node, version, true), all, "version {version}");
            }
        }
    }
}

#[test]
fn commit_outlives_a_restart_of_the_broker() {
    let mut node = Node::ready();
    for offset in 0..100 {
        assert_eq!(commit(&mut node, 7, commit_request("orders", 0, offset)), 0);
    }
    let mut node = node.restart();
    assert_eq!(fetch(&mut node, 7, true), [row(0, 99, "note")]);
}

#[test]
fn unknown_topics_and_partitions_are_refused_and_the_others_kept() {
    let mut node = Node::ready();
    let mut request = commit_request("orders", 0, 5);
    request
        .topics
        .push(commit_request("nowhere", 0, 5).topics.remove(0));
    request
        .topics
        .push(commit_request("orders", 2, 5).topics.remove(0));
    request
        .topics
        .push(commit_request("orders", 1, 6).topics.remove(0));
    let response = committed(node.call(8, request));
    let codes: Vec<i16> = response
        .topics
        .iter()
        .map(|t| t.partitions[0].error_code)
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [0, unknown, unknown, 0]);
    assert_eq!(
        fetch(&mut node, 5, true),
        [row(0, 5, "note"), row(1, 6, "note")]
    );
}

#[test]
fn mark_below_zero_is_kept_for_the_client_that_set_it() {
    let mut node = Node::ready();
    // KafkaJS resets a group to the start so.
    assert_eq!(commit(&mut node, 5, commit_request("orders", 0, -2)), 0);
    assert_eq!(fetch(&mut node, 4, true), [row(0, -2, "note")]);
    assert_eq!(node.broker().groups().committed("g"), Ok(Vec::new()));
    let mut node = node.restart();
    assert_eq!(fetch(&mut node, 4, true), [row(0, -2, "note")]);
}

#[test]
fn commit_of_an_old_generation_is_refused() {
    let mut node = Node::ready();
    let member = stable(&mut node);
    let mut request = commit_request("orders", 0, 5);
    request.member_id = member.member_id.clone();
    request.generation_id_or_member_epoch = member.generation_id - 1;
    let code = commit(&mut node, 8, request.clone());
    assert_eq!(code, ErrorCode::IllegalGeneration.code());
    request.generation_id_or_member_epoch = member.generation_id;
    assert_eq!(commit(&mut node, 8, request), 0);
    assert_eq!(heartbeat(&mut node, 3, &member), 0);
}

#[test]
fn many_commits_at_once_are_all_answered() {
    let mut node = Node::ready();
    let begin = |node: &mut Node, offset: i64| node.begin(7, commit_request("orders", 0, offset));
    let calls: Vec<_> = (0..200).map(|offset| begin(&mut node, offset)).collect();
    for call in calls {
        let response = committed(node.end(call));
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    assert_eq!(fetch(&mut node, 7, true), [row(0, 199, "note")]);
}

#[test]
fn deleted_topic_takes_its_offsets_with_it() {
    let mut node = Node::ready();
    assert_eq!(commit(&mut node, 7, commit_request("orders", 0, 5)), 0);
    node.delete_topic("orders");
    node.create_topic("orders");
    // Written behind the deletion, so that the deletion is durable too once this is answered.
    node.create_topic("other");
    assert_eq!(commit(&mut node, 7, commit_request("other", 0, 9)), 0);
    assert_eq!(fetch(&mut node, 7, false), [row(0, -1, ""), row(1, -1, "")]);
    let mut node = node.restart();
    let left = fetch(&mut node, 7, true);
    assert_eq!(left, [("other".to_owned(), 0, 9, "note".to_owned())]);
}

#[test]
fn deleted_offset_is_gone_and_one_in_use_is_not() {
    let mut node = Node::ready();
    node.create_topic("other");
    assert_eq!(commit(&mut node, 7, commit_request("orders", 0, 5)), 0);
    assert_eq!(commit(&mut node, 7, commit_request("other", 0, 6)), 0);
    stable(&mut node);
    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let request = OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![topic("nowhere"), topic("orders"), topic("other")],
    };
    let Response::OffsetDelete(deleted) = node.call(0, request) else {
        panic!("another response")
    };
    let codes: Vec<i16> = deleted
        .topics
        .iter()
        .map(|t| t.partitions[0].error_code)
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let subscribed = ErrorCode::GroupSubscribedToTopic.code();
    assert_eq!(
        (deleted.error_code, codes),
        (0, vec![unknown, subscribed, 0])
    );
    assert_eq!(fetch(&mut node, 7, true), [row(0, 5, "note")]);
}

#[test]
fn offsets_nobody_uses_end_after_their_retention() {
    let mut node = Node::ready();
    assert_eq!(commit(&mut node, 7, commit_request("orders", 0, 5)), 0);
    node.pass(Duration::from_secs(3600 + 600));
    assert_eq!(fetch(&mut node, 7, true), []);
}
