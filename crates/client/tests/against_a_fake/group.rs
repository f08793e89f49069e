//! Consuming as a member of a group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_client::{Client, ClientConfig, ConsumerConfig, GroupConfig, GroupConsumer, StartAt};
use plimsoll_types::TopicName;
use plimsoll_wire::heartbeat::HeartbeatResponse;
use plimsoll_wire::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use plimsoll_wire::leave_group::LeaveGroupResponse;
use plimsoll_wire::offset_commit::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use plimsoll_wire::offset_fetch::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use plimsoll_wire::sync_group::SyncGroupResponse;
use plimsoll_wire::{ApiKey, ErrorCode, Request, Response};

use crate::consumer::{client, fill};
use crate::fake::{Act, Fake};

const LONG: Duration = Duration::from_secs(10);

/// A coordinator of one group with one member, its leader.
#[derive(Default)]
struct Coordinator {
    generation: i32,
    committed: BTreeMap<i32, i64>,
    /// What heartbeats are answered, if not well.
    heartbeat: Option<ErrorCode>,
}

impl Coordinator {
    fn answer(&mut self, request: &Request) -> Option<Response> {
        Some(match request {
            Request::JoinGroup(join) if join.member_id.is_empty() => JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired.code(),
                member_id: "m-1".into(),
                ..Default::default()
            }
            .into(),
            Request::JoinGroup(join) => {
                assert_eq!(join.member_id, "m-1");
                self.generation += 1;
                self.heartbeat = None;
                JoinGroupResponse {
                    generation_id: self.generation,
                    protocol_name: Some(join.protocols[0].name.clone()),
                    leader: "m-1".into(),
                    member_id: "m-1".into(),
                    members: vec![JoinGroupResponseMember {
                        member_id: "m-1".into(),
                        metadata: join.protocols[0].metadata.clone(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }
                .into()
            }
            Request::SyncGroup(sync) => SyncGroupResponse {
                assignment: sync.assignments[0].assignment.clone(),
                ..Default::default()
            }
            .into(),
            Request::Heartbeat(_) => HeartbeatResponse {
                error_code: self.heartbeat.map_or(0, ErrorCode::code),
                ..Default::default()
            }
            .into(),
            Request::OffsetCommit(commit) => {
                assert_eq!(commit.generation_id_or_member_epoch, self.generation);
                let partitions = commit.topics[0].partitions.iter().map(|partition| {
                    let index = partition.partition_index;
                    self.committed.insert(index, partition.committed_offset);
                    OffsetCommitResponsePartition {
                        partition_index: index,
                        ..Default::default()
                    }
                });
                OffsetCommitResponse {
                    topics: vec![OffsetCommitResponseTopic {
                        name: commit.topics[0].name.clone(),
                        partitions: partitions.collect(),
                    }],
                    ..Default::default()
                }
                .into()
            }
            Request::OffsetFetch(fetch) => {
                let group = &fetch.groups[0];
                let topic = &group.topics.as_ref().expect("asks for its own")[0];
                let partitions =
                    topic
                        .partition_indexes
                        .iter()
                        .map(|index| OffsetFetchResponsePartitions {
                            partition_index: *index,
                            committed_offset: self.committed.get(index).copied().unwrap_or(-1),
                            ..Default::default()
                        });
                OffsetFetchResponse {
                    groups: vec![OffsetFetchResponseGroup {
                        group_id: group.group_id.clone(),
                        topics: vec![OffsetFetchResponseTopics {
                            name: topic.name.clone(),
                            partitions: partitions.collect(),
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                }
                .into()
            }
            Request::LeaveGroup(_) => LeaveGroupResponse::default().into(),
            _ => return None,
        })
    }
}

/// A fake with two partitions of three records each, and its coordinator.
async fn group() -> (Fake, Arc<Mutex<Coordinator>>) {
    let fake = Fake::start(&[("t", 2)]).await;
    fill(&fake, 0, &["a", "b", "c"], 1);
    fill(&fake, 1, &["x", "y", "z"], 1);
    let coordinator = Arc::new(Mutex::new(Coordinator::default()));
    let behind = coordinator.clone();
    fake.hook(move |_, request| match behind.lock().answer(request) {
        Some(answer) => Act::Answer(Box::new(answer)),
        None => Act::Behave,
    });
    (fake, coordinator)
}

async fn member(fake: &Fake, auto_commit: Option<Duration>) -> GroupConsumer {
    let client = client(fake).await;
    GroupConsumer::new(client, ConsumerConfig::new(), group_config(auto_commit))
}

fn group_config(auto_commit: Option<Duration>) -> GroupConfig {
    let topic = TopicName::new("t").expect("legal");
    GroupConfig {
        heartbeat_interval: Duration::from_millis(5),
        start: StartAt::Earliest,
        auto_commit,
        ..GroupConfig::new("g", [topic])
    }
}

async fn read(member: &mut GroupConsumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let records = member.poll(LONG).await.expect("reads");
        values.extend(
            records.into_iter().map(|record| {
                String::from_utf8_lossy(&record.value.expect("has one")).into_owned()
            }),
        );
    }
    values.sort();
    values
}

#[tokio::test]
async fn a_member_reads_what_it_is_given_and_commits_it() {
    let (fake, coordinator) = group().await;
    let mut member = member(&fake, None).await;
    assert_eq!(read(&mut member, 6).await, ["a", "b", "c", "x", "y", "z"]);
    assert_eq!(member.generation(), Some(1));
    assert!(member.is_leader());
    member.commit().await.expect("commits");
    assert_eq!(
        coordinator.lock().committed,
        BTreeMap::from([(0, 3), (1, 3)])
    );
    member.leave().await.expect("leaves");
    assert_eq!(fake.count(ApiKey::LeaveGroup), 1);
}

#[tokio::test]
async fn reading_goes_on_from_what_was_committed() {
    let (fake, coordinator) = group().await;
    coordinator.lock().committed = BTreeMap::from([(0, 2), (1, 1)]);
    let mut member = member(&fake, None).await;
    assert_eq!(read(&mut member, 3).await, ["c", "y", "z"]);
}

#[tokio::test]
async fn a_rebalance_commits_what_was_handed_out_and_joins_again() {
    let (fake, coordinator) = group().await;
    let mut member = member(&fake, Some(LONG)).await;
    read(&mut member, 6).await;
    coordinator.lock().heartbeat = Some(ErrorCode::RebalanceInProgress);
    while member.generation() != Some(2) {
        let records = member
            .poll(Duration::from_millis(20))
            .await
            .expect("polls on");
        assert!(records.is_empty(), "nothing comes twice");
    }
    assert_eq!(
        coordinator.lock().committed,
        BTreeMap::from([(0, 3), (1, 3)])
    );
}

#[tokio::test]
async fn a_member_that_was_forgotten_joins_as_a_new_one() {
    let (fake, coordinator) = group().await;
    let mut member = member(&fake, None).await;
    read(&mut member, 6).await;
    let joins = fake.count(ApiKey::JoinGroup);
    coordinator.lock().heartbeat = Some(ErrorCode::UnknownMemberId);
    while member.generation() != Some(2) {
        member
            .poll(Duration::from_millis(20))
            .await
            .expect("polls on");
    }
    assert_eq!(
        fake.count(ApiKey::JoinGroup),
        joins + 2,
        "without an id, then with one"
    );
}

#[tokio::test]
async fn a_fenced_instance_is_told_so() {
    let (fake, coordinator) = group().await;
    let mut member = member(&fake, None).await;
    read(&mut member, 6).await;
    coordinator.lock().heartbeat = Some(ErrorCode::FencedInstanceId);
    let error = loop {
        match member.poll(Duration::from_millis(20)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(ErrorCode::FencedInstanceId));
}

#[tokio::test]
async fn a_leader_that_sees_new_partitions_shares_them_out() {
    let (fake, _coordinator) = group().await;
    let config = ClientConfig {
        metadata_max_age: Duration::from_millis(10),
        ..ClientConfig::new([&fake.address])
    };
    let client = Client::connect(config).await.expect("connects");
    let mut member = GroupConsumer::new(client, ConsumerConfig::new(), group_config(None));
    read(&mut member, 6).await;
    fake.state
        .topics
        .lock()
        .get_mut("t")
        .expect("there")
        .push(Vec::new());
    fill(&fake, 2, &["new"], 1);
    // Nothing is committed, so all comes again with the new one.
    assert!(read(&mut member, 7).await.contains(&"new".to_owned()));
    assert_eq!(member.consumer().assignment().count(), 3);
}
