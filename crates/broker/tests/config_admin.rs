//! Describing and altering configs, and deleting records, as an admin client does.

mod support;

use plimsoll_wire::alter_configs::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
use plimsoll_wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResult,
};
use plimsoll_wire::incremental_alter_configs::{
    self as incremental, IncrementalAlterConfigsRequest,
};
use plimsoll_wire::{ErrorCode, Request, Response};
use support::Harness;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn describe_in(
    harness: &Harness,
    version: i16,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let response = harness.call(version, &Request::DescribeConfigs(request));
    let Response::DescribeConfigs(mut response) = response else {
        unreachable!()
    };
    response.results.remove(0)
}

fn describe(harness: &Harness, kind: i8, name: &str) -> DescribeConfigsResult {
    describe_in(harness, 4, kind, name, None)
}

fn config<'a>(told: &'a DescribeConfigsResult, name: &str) -> &'a DescribeConfigsResourceResult {
    told.configs
        .iter()
        .find(|config| &*config.name == name)
        .expect("told")
}

/// One change each, as (key, operation, value).
fn alter(harness: &Harness, kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    let configs = changes
        .iter()
        .map(|(key, operation, value)| incremental::AlterableConfig {
            name: (*key).into(),
            config_operation: *operation,
            value: value.map(Into::into),
        });
    let resource = incremental::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: false,
    };
    let response = harness.call(1, &Request::IncrementalAlterConfigs(request));
    let Response::IncrementalAlterConfigs(response) = response else {
        unreachable!()
    };
    let row = &response.responses[0];
    assert_eq!((row.resource_type, &*row.resource_name), (kind, name));
    assert_eq!(row.error_message.is_some(), row.error_code != 0);
    row.error_code
}

#[test]
fn a_topic_tells_every_config_with_its_source_synonyms_and_meaning() {
    let harness = Harness::new();
    harness.create_topic("t", &[("retention.ms", "7")]);
    let told = describe(&harness, TOPIC, "t");
    assert_eq!(told.error_code, 0);
    assert_eq!(
        told.configs.len(),
        plimsoll_controller::config::keys::KEYS.len()
    );
    let retention = config(&told, "retention.ms");
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("7"), 1)
    );
    let synonyms: Vec<_> = retention
        .synonyms
        .iter()
        .map(|synonym| (&*synonym.name, synonym.value.as_deref(), synonym.source))
        .collect();
    let expected = [
        ("retention.ms", Some("7"), 1),
        ("log.retention.ms", Some("604800000"), 5),
    ];
    assert_eq!(synonyms, expected);
    assert_eq!(retention.config_type, 5);
    assert!(
        retention
            .documentation
            .as_deref()
            .is_some_and(|text| text.contains("oldest"))
    );
    assert_eq!(config(&told, "cleanup.policy").config_source, 5);
    for version in 1..=4 {
        let told = describe_in(&harness, version, TOPIC, "t", None);
        assert_eq!(config(&told, "retention.ms").config_source, 1);
    }
}

#[test]
fn named_keys_alone_are_told_and_an_empty_list_names_none() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let some = describe_in(
        &harness,
        4,
        TOPIC,
        "t",
        Some(&["segment.ms", "no.such.key"]),
    );
    assert_eq!(some.configs.len(), 1);
    let none = describe_in(&harness, 4, TOPIC, "t", Some(&[]));
    assert!(none.configs.is_empty() && none.error_code == 0);
}

#[test]
fn resources_that_are_not_there_or_not_ours_are_refused() {
    let harness = Harness::new();
    let cases = [
        (TOPIC, "none", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "a/b", ErrorCode::InvalidTopicException),
        (BROKER, "2", ErrorCode::InvalidRequest),
        (BROKER, "one", ErrorCode::InvalidRequest),
        (8, "1", ErrorCode::InvalidRequest),
    ];
    for (kind, name, expected) in cases {
        let told = describe(&harness, kind, name);
        assert_eq!(told.error_code, expected.code(), "{kind} {name}");
        assert!(told.error_message.is_some() && told.configs.is_empty());
        let set = [("retention.ms", 0, Some("1"))];
        assert_eq!(
            alter(&harness, kind, name, &set),
            expected.code(),
            "{kind} {name}"
        );
    }
}

#[test]
fn defaults_of_the_node_and_of_every_node_reach_the_topics() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    assert_eq!(
        alter(&harness, BROKER, "", &[("log.retention.ms", 0, Some("3"))]),
        0
    );
    assert_eq!(
        config(&describe(&harness, TOPIC, "t"), "retention.ms").config_source,
        3
    );
    assert_eq!(describe(&harness, BROKER, "").configs.len(), 1);
    assert_eq!(
        alter(&harness, BROKER, "1", &[("log.retention.ms", 0, Some("2"))]),
        0
    );
    let node = describe(&harness, BROKER, "1");
    let retention = config(&node, "log.retention.ms");
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("2"), 2)
    );
    assert!(!retention.read_only);
    let topic = describe(&harness, TOPIC, "t");
    assert_eq!(config(&topic, "retention.ms").value.as_deref(), Some("2"));
    let policy = harness
        .broker
        .catalog()
        .topic("t")
        .expect("hosted")
        .policy
        .clone();
    assert_eq!(
        policy.config.retention,
        Some(std::time::Duration::from_millis(2))
    );
}

#[test]
fn single_configs_are_set_deleted_appended_to_and_subtracted_from() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let value = |key: &str| {
        let told = describe(&harness, TOPIC, "t");
        config(&told, key).value.as_deref().map(str::to_owned)
    };
    let changes = [
        ("segment.ms", 0, Some("9")),
        ("cleanup.policy", 2, Some("compact")),
    ];
    assert_eq!(alter(&harness, TOPIC, "t", &changes), 0);
    assert_eq!(value("segment.ms").as_deref(), Some("9"));
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete,compact"));
    let changes = [
        ("segment.ms", 1, None),
        ("cleanup.policy", 3, Some("delete")),
    ];
    assert_eq!(alter(&harness, TOPIC, "t", &changes), 0);
    assert_eq!(value("segment.ms").as_deref(), Some("604800000"));
    assert_eq!(value("cleanup.policy").as_deref(), Some("compact"));
}

#[test]
fn a_fault_in_one_config_keeps_all_of_its_resource_as_they_were() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let set = ("segment.ms", 0, Some("9"));
    let cases = [
        (("retention.ms", 0, Some("soon")), ErrorCode::InvalidConfig),
        (("no.such.key", 0, Some("1")), ErrorCode::InvalidConfig),
        (("preallocate", 0, Some("true")), ErrorCode::InvalidConfig),
        (("retention.ms", 2, Some("1")), ErrorCode::InvalidConfig),
        (("retention.ms", 0, None), ErrorCode::InvalidRequest),
        (("retention.ms", 4, Some("1")), ErrorCode::InvalidRequest),
        (set, ErrorCode::InvalidRequest),
    ];
    for (faulty, expected) in cases {
        assert_eq!(
            alter(&harness, TOPIC, "t", &[set, faulty]),
            expected.code(),
            "{faulty:?}"
        );
    }
    assert_eq!(
        config(&describe(&harness, TOPIC, "t"), "segment.ms").config_source,
        5
    );
}

#[test]
fn the_older_way_replaces_all_configs() {
    let harness = Harness::new();
    harness.create_topic("t", &[("segment.ms", "9"), ("retention.ms", "8")]);
    let replace = |validate_only, value: &str| {
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![AlterableConfig {
                name: "retention.ms".into(),
                value: Some(value.into()),
            }],
        };
        let request = AlterConfigsRequest {
            resources: vec![resource],
            validate_only,
        };
        let response = harness.call(2, &Request::AlterConfigs(request));
        let Response::AlterConfigs(response) = response else {
            unreachable!()
        };
        response.responses[0].error_code
    };
    assert_eq!(replace(true, "5"), 0);
    assert_eq!(replace(true, "five"), ErrorCode::InvalidConfig.code());
    let sources = || {
        let told = describe(&harness, TOPIC, "t");
        ["segment.ms", "retention.ms"].map(|key| config(&told, key).config_source)
    };
    assert_eq!(sources(), [1, 1]);
    assert_eq!(replace(false, "5"), 0);
    assert_eq!(sources(), [5, 1]);
}

#[test]
fn a_resource_named_twice_is_altered_in_neither_way() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configs: vec![],
    };
    let request = AlterConfigsRequest {
        resources: vec![resource.clone(), resource],
        validate_only: false,
    };
    let response = harness.call(0, &Request::AlterConfigs(request));
    let Response::AlterConfigs(response) = response else {
        unreachable!()
    };
    let codes: Vec<_> = response
        .responses
        .iter()
        .map(|row| row.error_code)
        .collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
}

#[test]
fn configs_outlive_a_restart() {
    let harness = Harness::new();
    harness.create_topic("t", &[("retention.ms", "7")]);
    assert_eq!(
        alter(
            &harness,
            BROKER,
            "",
            &[("log.segment.bytes", 0, Some("1048576"))]
        ),
        0
    );
    let harness = harness.restart();
    let told = describe(&harness, TOPIC, "t");
    assert_eq!(config(&told, "retention.ms").value.as_deref(), Some("7"));
    assert_eq!(
        config(&told, "segment.bytes").value.as_deref(),
        Some("1048576")
    );
}

#[test]
fn a_resource_asked_for_again_and_again_is_told_once() {
    let harness = Harness::new();
    harness.create_topic("t", &[]);
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource; 3],
        ..Default::default()
    };
    let response = harness.call(4, &Request::DescribeConfigs(request));
    let Response::DescribeConfigs(response) = response else {
        unreachable!()
    };
    let told = response
        .results
        .iter()
        .map(|row| (row.error_code, row.configs.is_empty()));
    let refused = (ErrorCode::InvalidRequest.code(), true);
    assert!(told.eq([(0, false), refused, refused]));
}
