//! Altering configs, and what then holds.

mod common;

use common::{apply, cluster, create, node};
use plimsoll_controller::config::{
    self, Cleanup, Durability, Source, TimestampSource, TopicCompression, keys,
};
use plimsoll_controller::rules::{AlterConfig, AlterOperation, alter_configs};
use plimsoll_controller::{ConfigFault, ConfigResource, Image, NodeDefaults, Record, Refusal};
use plimsoll_types::TopicName;
use std::time::Duration;

fn topic() -> ConfigResource {
    ConfigResource::Topic(TopicName::new("t").expect("legal"))
}

fn image() -> Image {
    let mut image = cluster(2);
    create(&mut image, "t", 1, 1);
    image
}

fn change(key: &str, operation: AlterOperation, value: &str) -> AlterConfig {
    AlterConfig {
        key: key.to_owned(),
        operation,
        value: Some(value.to_owned()),
    }
}

fn alter(
    image: &Image,
    resource: &ConfigResource,
    changes: &[AlterConfig],
) -> Result<Vec<Record>, Refusal> {
    alter_configs(image, &NodeDefaults::default(), node(1), resource, changes)
}

fn set(image: &mut Image, resource: &ConfigResource, key: &str, value: &str) {
    let records = alter(image, resource, &[change(key, AlterOperation::Set, value)]);
    apply(image, records);
}

fn fault(image: &Image, resource: &ConfigResource, changed: AlterConfig) -> ConfigFault {
    match alter(image, resource, &[changed]) {
        Err(Refusal::Config(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn own(image: &Image, key: &str) -> Option<String> {
    image.topic("t")?.configs.get(key).cloned()
}

#[test]
fn built_in_defaults_are_kafkas() {
    let config = config::resolve(&image(), &NodeDefaults::default(), node(1), None);
    assert_eq!(
        config.cleanup,
        Cleanup {
            delete: true,
            compact: false
        }
    );
    assert_eq!(config.compression, TopicCompression::Producer);
    assert_eq!(config.durability, Durability::Fsync);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.min_insync_replicas, 1);
    assert_eq!(config.retention, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.max_compaction_lag, None);
    let hour = Some(Duration::from_secs(3600));
    let expected = TimestampSource::CreateTime {
        before_max: None,
        after_max: hour,
    };
    assert_eq!(config.timestamps, expected);
}

#[test]
fn the_innermost_value_holds_and_all_are_told() {
    let mut image = image();
    let defaults = NodeDefaults::new([("log.retention.ms", "4")]).expect("legal");
    let key = keys::topic_key("retention.ms").expect("known");
    let places = [
        (
            Source::DynamicEveryNode,
            ConfigResource::EveryNode,
            "log.retention.ms",
            "3",
        ),
        (
            Source::DynamicNode,
            ConfigResource::Node(node(1)),
            "log.retention.ms",
            "2",
        ),
        (Source::Topic, topic(), "retention.ms", "1"),
    ];
    let mut expected = vec![(Source::StaticNode, "4"), (Source::Default, "604800000")];
    for (source, resource, name, value) in places {
        set(&mut image, &resource, name, value);
        expected.insert(0, (source, value));
        let held = image.topic("t").map(AsRef::as_ref);
        let entry = config::entry(key, &image, &defaults, node(1), held);
        let told: Vec<_> = entry.synonyms.iter().map(|s| (s.source, s.value)).collect();
        assert_eq!(told, expected);
        assert_eq!((entry.source(), entry.value()), (source, value));
    }
    let other = config::resolve(&image, &NodeDefaults::default(), node(2), None);
    assert_eq!(other.retention, Some(Duration::from_millis(3)));
}

#[test]
fn set_and_delete_touch_only_what_they_name() {
    let mut image = image();
    set(&mut image, &topic(), "retention.ms", "5");
    set(&mut image, &topic(), "segment.ms", "6");
    let delete = change("retention.ms", AlterOperation::Delete, "");
    let records = alter(&image, &topic(), &[delete]);
    apply(&mut image, records);
    assert_eq!(own(&image, "retention.ms"), None);
    assert_eq!(own(&image, "segment.ms").as_deref(), Some("6"));
}

#[test]
fn what_changes_nothing_makes_no_record() {
    let mut image = image();
    set(&mut image, &topic(), "retention.ms", "5");
    let same = change("retention.ms", AlterOperation::Set, "05");
    assert_eq!(alter(&image, &topic(), &[same]), Ok(vec![]));
    let absent = change("segment.ms", AlterOperation::Delete, "");
    assert_eq!(alter(&image, &topic(), &[absent]), Ok(vec![]));
}

#[test]
fn append_and_subtract_work_on_the_list_that_holds() {
    let mut image = image();
    let append = change("cleanup.policy", AlterOperation::Append, "compact,delete");
    let records = alter(&image, &topic(), &[append]);
    apply(&mut image, records);
    assert_eq!(
        own(&image, "cleanup.policy").as_deref(),
        Some("delete,compact")
    );
    let subtract = change("cleanup.policy", AlterOperation::Subtract, "delete");
    let records = alter(&image, &topic(), std::slice::from_ref(&subtract));
    apply(&mut image, records);
    assert_eq!(own(&image, "cleanup.policy").as_deref(), Some("compact"));

    let last = change("cleanup.policy", AlterOperation::Subtract, "compact");
    assert!(matches!(
        fault(&image, &topic(), last),
        ConfigFault::Value { .. }
    ));
    let number = change("retention.ms", AlterOperation::Append, "1");
    assert!(matches!(
        fault(&image, &topic(), number),
        ConfigFault::NotAList { .. }
    ));
}

#[test]
fn replacing_all_takes_away_what_is_not_named() {
    let mut image = image();
    set(&mut image, &topic(), "retention.ms", "5");
    set(&mut image, &topic(), "segment.ms", "6");
    let values = [("segment.ms".to_owned(), Some("7".to_owned()))];
    let changes = AlterConfig::replace_all(&image, &topic(), &values);
    let records = alter(&image, &topic(), &changes);
    apply(&mut image, records);
    let configs = &image.topic("t").expect("there").configs;
    let expected = [("segment.ms".to_owned(), "7".to_owned())];
    assert!(configs.clone().into_iter().eq(expected));
}

#[test]
fn unknown_and_unsupported_keys_are_refused_with_a_hint() {
    let image = image();
    let cases = [
        ("no.such.key", "Unknown topic config name: no.such.key"),
        ("log.retention.ms", "Did you mean retention.ms?"),
        ("Retention_MS", "Did you mean retention.ms?"),
        ("flush.messages", "durability (fsync or os)"),
        ("compression.zstd.level", "default level"),
    ];
    for (key, expected) in cases {
        let told = fault(&image, &topic(), change(key, AlterOperation::Set, "1")).to_string();
        assert!(told.contains(expected), "{told}");
    }
    let node = ConfigResource::Node(node(1));
    let told = fault(
        &image,
        &node,
        change("retention.ms", AlterOperation::Set, "1"),
    );
    assert!(told.to_string().contains("Did you mean log.retention.ms?"));
}

#[test]
fn null_repeated_and_contradicting_values_are_refused() {
    let image = image();
    let null = AlterConfig {
        value: None,
        ..change("segment.ms", AlterOperation::Set, "")
    };
    assert!(matches!(
        fault(&image, &topic(), null),
        ConfigFault::Null { .. }
    ));
    let once = change("segment.ms", AlterOperation::Set, "1");
    let twice = alter(&image, &topic(), &[once.clone(), once]);
    assert!(matches!(
        twice,
        Err(Refusal::Config(ConfigFault::Repeated { .. }))
    ));
    let lags = [
        change("min.compaction.lag.ms", AlterOperation::Set, "5"),
        change("max.compaction.lag.ms", AlterOperation::Set, "4"),
    ];
    let refused = alter(&image, &topic(), &lags);
    assert!(matches!(
        refused,
        Err(Refusal::Config(ConfigFault::Contradiction(_)))
    ));
}

#[test]
fn what_counts_as_committed_is_the_same_on_every_node() {
    let mut image = image();
    for (key, value) in [("min.insync.replicas", "2"), ("log.durability", "os")] {
        let one = ConfigResource::Node(node(1));
        let refused = fault(&image, &one, change(key, AlterOperation::Set, value));
        assert!(matches!(refused, ConfigFault::ClusterWide { .. }));
        assert!(NodeDefaults::new([(key, value)]).is_err());
        set(&mut image, &ConfigResource::EveryNode, key, value);
    }
    let config = config::resolve(&image, &NodeDefaults::default(), node(2), None);
    assert_eq!(
        (config.min_insync_replicas, config.durability),
        (2, Durability::Os)
    );
}

#[test]
fn resources_that_are_not_there_have_no_configs() {
    let image = image();
    let set = change("retention.ms", AlterOperation::Set, "1");
    let none = ConfigResource::Topic(TopicName::new("none").expect("legal"));
    let refused = alter(&image, &none, std::slice::from_ref(&set));
    assert!(matches!(refused, Err(Refusal::UnknownTopic { .. })));
    let refused = alter(&image, &ConfigResource::Node(node(9)), &[set]);
    assert_eq!(refused, Err(Refusal::UnknownNode { node: node(9) }));
}

#[test]
fn configs_die_with_their_topic() {
    let mut image = image();
    set(&mut image, &topic(), "retention.ms", "5");
    let records = plimsoll_controller::rules::delete_topic(
        &image,
        plimsoll_controller::rules::TopicRef::Name("t"),
    );
    apply(&mut image, records);
    create(&mut image, "t", 2, 1);
    assert_eq!(own(&image, "retention.ms"), None);
}
