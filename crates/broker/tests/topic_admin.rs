//! Creating, growing, describing and deleting topics as an admin client does.

mod support;

use std::collections::BTreeMap;

use plimsoll_types::TopicId;
use plimsoll_wire::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use plimsoll_wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
    CreateTopicsRequest,
};
use plimsoll_wire::delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest};
use plimsoll_wire::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use plimsoll_wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponseTopic};
use plimsoll_wire::{ErrorCode, Request, Response};
use support::Harness;

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    }
}

fn create(
    harness: &Harness,
    version: i16,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> BTreeMap<String, CreatableTopicResult> {
    let request = CreateTopicsRequest {
        topics,
        validate_only,
        ..Default::default()
    };
    let response = harness.call(version, &Request::CreateTopics(request));
    let Response::CreateTopics(response) = response else {
        unreachable!()
    };
    response
        .topics
        .into_iter()
        .map(|result| (result.name.to_string(), result))
        .collect()
}

fn code(result: &CreatableTopicResult) -> ErrorCode {
    ErrorCode::from_code(result.error_code).expect("one of Kafka's")
}

#[test]
fn valid_topics_are_made_beside_invalid_ones_and_each_gets_a_row() {
    let harness = Harness::new();
    harness.create_topic("there", &[]);
    let wide = CreatableTopic {
        replication_factor: 3,
        ..topic("wide")
    };
    let none = CreatableTopic {
        num_partitions: 0,
        ..topic("none")
    };
    let strange = CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: "flush.ms".into(),
            value: Some("1".into()),
        }],
        ..topic("strange")
    };
    let topics = vec![
        topic("new"),
        topic("there"),
        wide,
        none,
        strange,
        topic("a/b"),
        topic("twice"),
        topic("twice"),
        topic("also.new"),
        topic("also_new"),
    ];
    let rows = create(&harness, 7, topics, false);
    let expected = [
        ("a/b", ErrorCode::InvalidTopicException),
        ("also.new", ErrorCode::None),
        ("also_new", ErrorCode::InvalidTopicException),
        ("new", ErrorCode::None),
        ("none", ErrorCode::InvalidPartitions),
        ("strange", ErrorCode::InvalidConfig),
        ("there", ErrorCode::TopicAlreadyExists),
        ("twice", ErrorCode::InvalidRequest),
        ("wide", ErrorCode::InvalidReplicationFactor),
    ];
    let told: Vec<_> = rows
        .iter()
        .map(|(name, row)| (name.as_str(), code(row)))
        .collect();
    assert_eq!(told, expected);
    assert!(
        rows.values()
            .all(|row| row.error_message.is_some() == (row.error_code != 0))
    );
    let image = harness.broker.image();
    assert!(image.topic("new").is_some() && image.topic("twice").is_none());
}

#[test]
fn a_new_topic_is_told_with_its_id_shape_and_configs() {
    let harness = Harness::new();
    let wish = CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        configs: vec![CreatableTopicConfig {
            name: "retention.ms".into(),
            value: Some("5".into()),
        }],
        ..topic("t")
    };
    let row = create(&harness, 7, vec![wish], false)
        .remove("t")
        .expect("a row");
    assert_eq!(
        Some(row.topic_id),
        harness.broker.image().topic("t").map(|topic| topic.id)
    );
    assert_eq!((row.num_partitions, row.replication_factor), (1, 1));
    let configs = row.configs.expect("told");
    let of = |name: &str| {
        configs
            .iter()
            .find(|config| &*config.name == name)
            .expect("told")
    };
    assert_eq!(
        (
            of("retention.ms").value.as_deref(),
            of("retention.ms").config_source
        ),
        (Some("5"), 1)
    );
    assert_eq!(of("segment.bytes").config_source, 5);
}

#[test]
fn every_version_of_create_topics_is_answered() {
    let harness = Harness::new();
    for version in 2..=7 {
        let name = format!("v{version}");
        let rows = create(&harness, version, vec![topic(&name)], false);
        assert_eq!(rows[&name].error_code, 0);
    }
}

#[test]
fn validation_makes_nothing() {
    let harness = Harness::new();
    let rows = create(&harness, 7, vec![topic("t")], true);
    assert_eq!(code(&rows["t"]), ErrorCode::None);
    assert!(harness.broker.image().topic("t").is_none());
    let version = harness.broker.image().version();
    let assigned = CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment {
            partition_index: 0,
            broker_ids: vec![9],
        }],
        ..topic("t")
    };
    let rows = create(&harness, 7, vec![assigned], true);
    assert_eq!(code(&rows["t"]), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(harness.broker.image().version(), version);
}

fn delete(harness: &Harness, topics: Vec<DeleteTopicState>) -> Vec<DeletableTopicResult> {
    let request = DeleteTopicsRequest {
        topics,
        timeout_ms: 1000,
        ..Default::default()
    };
    let Response::DeleteTopics(response) = harness.call(6, &Request::DeleteTopics(request)) else {
        unreachable!()
    };
    response.responses
}

#[test]
fn topics_are_deleted_by_name_or_id_and_may_be_made_again() {
    let harness = Harness::new();
    for name in ["a", "b"] {
        harness.create_topic(name, &[]);
    }
    let id = |name: &str| harness.broker.image().topic(name).map(|topic| topic.id);
    let (a, b) = (id("a").expect("there"), id("b").expect("there"));
    let by_name = DeleteTopicState {
        name: Some("a".into()),
        ..Default::default()
    };
    let by_id = DeleteTopicState {
        topic_id: b,
        ..Default::default()
    };
    let rows = delete(&harness, vec![by_name, by_id]);
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_deref(), row.topic_id, row.error_code))
        .collect();
    assert_eq!(told, [(Some("a"), a, 0), (Some("b"), b, 0)]);
    harness.create_topic("a", &[]);
    assert_ne!(id("a"), Some(a));
}

#[test]
fn what_cannot_be_deleted_is_told_a_row_each() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let id = harness.broker.image().topic("t").expect("there").id;
    let named = |name: &str| DeleteTopicState {
        name: Some(name.into()),
        ..Default::default()
    };
    let rows = delete(
        &harness,
        vec![
            named("none"),
            DeleteTopicState {
                topic_id: TopicId::from_bytes([9; 16]),
                ..Default::default()
            },
            DeleteTopicState::default(),
            DeleteTopicState {
                name: Some("t".into()),
                topic_id: id,
            },
            named("twice"),
            named("twice"),
        ],
    );
    let codes: Vec<_> = rows.iter().map(|row| row.error_code).collect();
    let expected = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
    ];
    assert_eq!(codes, expected.map(ErrorCode::code));
    assert!(harness.broker.image().topic("t").is_some());

    let request = DeleteTopicsRequest {
        topic_names: vec!["t".into(), "none".into()],
        timeout_ms: 1000,
        ..Default::default()
    };
    for version in 1..=5 {
        let response = harness.call(version, &Request::DeleteTopics(request.clone()));
        let Response::DeleteTopics(response) = response else {
            unreachable!()
        };
        let names: Vec<_> = response
            .responses
            .iter()
            .map(|row| row.name.as_deref())
            .collect();
        assert_eq!(names, [Some("t"), Some("none")]);
        let first = if version == 1 {
            0
        } else {
            ErrorCode::UnknownTopicOrPartition.code()
        };
        assert_eq!(response.responses[0].error_code, first);
    }
}

fn grow(harness: &Harness, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Vec<i16> {
    let request = CreatePartitionsRequest {
        topics,
        timeout_ms: 1000,
        validate_only,
    };
    let response = harness.call(3, &Request::CreatePartitions(request));
    let Response::CreatePartitions(response) = response else {
        unreachable!()
    };
    response.results.iter().map(|row| row.error_code).collect()
}

#[test]
fn partitions_are_added_with_a_row_for_each_topic() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let more = |name: &str, count| CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: None,
    };
    let assigned = CreatePartitionsTopic {
        assignments: Some(vec![CreatePartitionsAssignment {
            broker_ids: vec![1, 2],
        }]),
        ..more("t", 2)
    };
    assert_eq!(grow(&harness, vec![more("t", 3)], true), [0]);
    assert_eq!(
        grow(&harness, vec![assigned], false),
        [ErrorCode::InvalidReplicaAssignment.code()]
    );
    assert_eq!(harness.broker.image().partition_count(), 1);
    let codes = grow(&harness, vec![more("t", 3), more("none", 3)], false);
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(harness.broker.image().partition_count(), 3);
    assert_eq!(
        grow(&harness, vec![more("t", 3)], false),
        [ErrorCode::InvalidPartitions.code()]
    );
    let twice = grow(&harness, vec![more("t", 4), more("t", 5)], false);
    assert_eq!(twice, [ErrorCode::InvalidRequest.code()]);
    assert!(harness.broker.catalog().partition("t", 2).is_ok());
}

fn metadata(harness: &Harness, names: &[&str]) -> Vec<MetadataResponseTopic> {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).into()),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    match harness.call(9, &Request::Metadata(request)) {
        Response::Metadata(response) => response.topics,
        other => panic!("another response: {other:?}"),
    }
}

#[test]
fn no_client_makes_or_grows_a_topic_of_the_cluster() {
    let harness = Harness::new();
    for name in ["__consumer_offsets", "__transaction_state"] {
        let rows = create(&harness, 7, vec![topic(name)], false);
        assert_eq!(code(&rows[name]), ErrorCode::InvalidTopicException);
        assert!(harness.broker.image().topic(name).is_none());
    }
    assert_eq!(metadata(&harness, &["__consumer_offsets"])[0].error_code, 0);
    let more = CreatePartitionsTopic {
        name: "__consumer_offsets".into(),
        count: 100,
        assignments: None,
    };
    let refused = grow(&harness, vec![more], false);
    assert_eq!(refused, [ErrorCode::InvalidTopicException.code()]);
}

#[test]
fn the_offsets_topic_that_metadata_is_asked_for_is_the_groups_own() {
    let harness = Harness::new();
    let names = ["__consumer_offsets", "__transaction_state", "new"];
    let topics = metadata(&harness, &names);
    let told: Vec<_> = topics
        .iter()
        .map(|topic| (topic.error_code, topic.partitions.len(), topic.is_internal))
        .collect();
    let refused = ErrorCode::InvalidTopicException.code();
    assert_eq!(told, [(0, 4, true), (refused, 0, false), (0, 1, false)]);
    let image = harness.broker.image();
    let made = image.topic("__consumer_offsets").expect("made");
    let policy = made.configs.get("cleanup.policy").map(String::as_str);
    assert_eq!(policy, Some("compact"));
}

fn page(
    harness: &Harness,
    names: &[&str],
    limit: i32,
    cursor: Option<Cursor>,
) -> DescribeTopicPartitionsResponse {
    let topics = names
        .iter()
        .map(|name| TopicRequest {
            name: (*name).into(),
        })
        .collect();
    let request = DescribeTopicPartitionsRequest {
        topics,
        response_partition_limit: limit,
        cursor,
    };
    let response = harness.call(0, &Request::DescribeTopicPartitions(request));
    let Response::DescribeTopicPartitions(response) = response else {
        unreachable!()
    };
    response
}

#[test]
fn pages_of_partitions_cover_everything_once() {
    let harness = Harness::new();
    let topics = vec![
        CreatableTopic {
            num_partitions: 3,
            ..topic("b")
        },
        CreatableTopic {
            num_partitions: 5,
            ..topic("a")
        },
        topic("c"),
    ];
    create(&harness, 7, topics, false);
    for names in [&[][..], &["c", "b", "a"][..]] {
        for limit in [1, 2, 3, 4, 9, 10_000] {
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = page(&harness, names, limit, cursor);
                for topic in &page.topics {
                    assert_eq!(topic.error_code, 0);
                    let name = topic.name.as_deref().expect("named").to_owned();
                    let partitions = topic.partitions.iter();
                    seen.extend(partitions.map(|p| (name.clone(), p.partition_index, p.leader_id)));
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let of = |name: &str, count| (0..count).map(|p| (name.to_owned(), p, 1)).collect();
            let expected: Vec<Vec<_>> = vec![of("a", 5), of("b", 3), of("c", 1)];
            assert_eq!(seen, expected.concat(), "limit {limit}");
        }
    }
}

#[test]
fn unknown_topics_and_strange_cursors_have_rows() {
    let harness = Harness::new();
    let page_of = page(&harness, &["none", "a/b"], 10, None);
    let codes: Vec<_> = page_of
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    let expected = [
        ErrorCode::InvalidTopicException,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(codes, expected.map(ErrorCode::code));
    let strange = Cursor {
        topic_name: "other".into(),
        partition_index: 0,
    };
    let refused = page(&harness, &["none"], 10, Some(strange));
    assert_eq!(
        refused.topics[0].error_code,
        ErrorCode::InvalidRequest.code()
    );
}
