//! Images, their records, and what differs between two.

mod common;

use common::{LIMITS, apply, cluster, create, node, registration, start, topic_id};
use plimsoll_controller::{Assignment, ConfigResource, Image, Misfit, Record, TopicChange, rules};
use plimsoll_types::{LeaderEpoch, PartitionEpoch, TopicName};
use proptest::prelude::*;

fn set(resource: ConfigResource, key: &str, value: &str) -> Record {
    Record::ConfigSet {
        resource,
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn named(name: &str) -> ConfigResource {
    ConfigResource::Topic(TopicName::new(name).expect("legal"))
}

#[test]
fn a_restarted_process_never_leads_in_an_epoch_it_led_before() {
    let mut image = cluster(2);
    create(&mut image, "t", 1, 4);
    let before = image.clone();
    start(&mut image, &registration(1, 2));
    for index in 0..4 {
        let (old, new) = (before.partition("t", index), image.partition("t", index));
        let (old, new) = (old.expect("there"), new.expect("there"));
        assert_eq!(old.leader, new.leader);
        let restarted = old.leader == Some(node(1));
        assert_eq!(new.leader_epoch > old.leader_epoch, restarted);
        assert_eq!(new.partition_epoch > old.partition_epoch, restarted);
    }
    let epoch = |image: &Image, id| image.node(node(id)).map(|node| node.broker_epoch);
    assert!(epoch(&image, 1) > epoch(&before, 1));
    assert!(epoch(&image, 1) > epoch(&image, 2));
}

#[test]
fn a_repeated_registration_of_one_process_changes_nothing() {
    let image = cluster(1);
    let records = rules::register_node(&image, &registration(1, 1));
    assert_eq!(records, Ok(vec![]));
}

#[test]
fn a_clone_stands_still() {
    let mut image = cluster(1);
    create(&mut image, "t", 1, 1);
    let kept = image.clone();
    create(&mut image, "u", 2, 1);
    image
        .apply(&set(named("t"), "retention.ms", "1"))
        .expect("fits");
    assert_eq!(kept.topic_count(), 1);
    assert!(
        kept.topic("t")
            .is_some_and(|topic| topic.configs.is_empty())
    );
    assert_eq!(kept.version() + 2, image.version());
}

#[test]
fn changes_name_each_topic_that_differs_and_no_other() {
    let mut before = cluster(1);
    for (name, id) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        create(&mut before, name, id, 1);
    }
    let mut after = before.clone();
    after
        .apply(&set(named("b"), "retention.ms", "1"))
        .expect("fits");
    let records = rules::delete_topic(&after, rules::TopicRef::Name("c"));
    apply(&mut after, records);
    create(&mut after, "c", 5, 1);
    create(&mut after, "e", 6, 1);

    let changes = after.changes_since(&before);
    let described: Vec<_> = changes.topics.iter().map(describe).collect();
    assert_eq!(
        described,
        ["changed b", "deleted c", "created c", "created e"]
    );
    assert!(!changes.node_configs_changed);
    after
        .apply(&set(ConfigResource::EveryNode, "log.retention.ms", "1"))
        .expect("fits");
    assert!(after.changes_since(&before).node_configs_changed);
}

fn describe(change: &TopicChange) -> String {
    match change {
        TopicChange::Created(topic) => format!("created {}", topic.name),
        TopicChange::Deleted(topic) => format!("deleted {}", topic.name),
        TopicChange::Changed { after, .. } => format!("changed {}", after.name),
    }
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    let mut image = cluster(1);
    create(&mut image, "t", 1, 1);
    let assignment = Assignment {
        replicas: vec![node(1)],
        isr: vec![node(1)],
        leader: Some(node(1)),
        ..Assignment::default()
    };
    let alien = Assignment {
        leader: Some(node(2)),
        ..assignment.clone()
    };
    let created = |name: &str, id, partitions| Record::TopicCreated {
        name: TopicName::new(name).expect("legal"),
        id: topic_id(id),
        partitions,
    };
    let changed = |isr, leader_epoch, partition_epoch| Record::PartitionChanged {
        id: topic_id(1),
        partition: 0,
        state: Assignment {
            replicas: vec![node(1)],
            leader: Some(node(1)),
            isr,
            leader_epoch: LeaderEpoch::new(leader_epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            ..Assignment::default()
        },
    };
    let moved = Record::PartitionChanged {
        id: topic_id(1),
        partition: 0,
        state: Assignment {
            replicas: vec![node(2)],
            partition_epoch: PartitionEpoch(1),
            ..Assignment::default()
        },
    };
    let id = topic_id(8);
    let misfits = [
        created("t", 2, vec![assignment.clone()]),
        created("u", 1, vec![assignment.clone()]),
        created("u", 2, vec![]),
        created("u", 2, vec![alien]),
        Record::PartitionsAdded {
            id: topic_id(1),
            first: 2,
            partitions: vec![assignment],
        },
        Record::TopicDeleted { id },
        moved,
        Record::NodeRemoved { node: node(9) },
        changed(vec![node(1)], 1, 0),
        changed(vec![node(1), node(2)], 1, 1),
        changed(vec![], 1, 1),
        Record::ProducerIdsReserved { next: 0 },
        set(named("none"), "retention.ms", "1"),
    ];
    let before = image.clone();
    for misfit in misfits {
        assert!(image.apply(&misfit).is_err(), "{misfit:?}");
        assert_eq!(image, before, "{misfit:?}");
    }
    let again = Record::TopicDeleted { id };
    assert_eq!(image.apply(&again), Err(Misfit::NoSuchTopic { id }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn records_made_one_by_one_a_snapshot_and_the_changes_agree(
        steps in prop::collection::vec((0_u8..6, 0_u8..40), 1..200),
    ) {
        let mut image = cluster(2);
        for (incarnation, (what, which)) in (2..).zip(steps) {
            let earlier = image.clone();
            let records = step(&image, what, which, incarnation);
            for record in &records {
                prop_assert_eq!(image.apply(record), Ok(()));
            }
            let restored = Image::restore(image.version(), image.to_records());
            prop_assert_eq!(restored.as_ref(), Ok(&image));
            let changed = !image.changes_since(&earlier).topics.is_empty();
            prop_assert_eq!(changed, !image.topics().eq(earlier.topics()));
        }
        let partitions: usize = image.topics().map(|topic| topic.partitions.len()).sum();
        prop_assert_eq!(image.partition_count(), partitions);
        let replicas: u32 = image.nodes().map(|node| image.replicas_on(node.id)).sum();
        prop_assert_eq!(usize::try_from(replicas), Ok(partitions));
    }
}

/// Some command's records; none when it is refused.
fn step(image: &Image, what: u8, which: u8, incarnation: u8) -> Vec<Record> {
    let name = format!("t.{which}");
    let records = match what {
        0 | 1 => {
            let mut wish = rules::CreateTopic::named(&name, topic_id(which + 1));
            wish.configs
                .push(("retention.ms".to_owned(), Some("1".to_owned())));
            rules::create_topic(image, &LIMITS, &wish)
        }
        2 => rules::delete_topic(image, rules::TopicRef::Name(&name)),
        3 => {
            let total = i32::from(which);
            let wish = rules::CreatePartitions {
                name,
                total,
                assignments: None,
            };
            rules::create_partitions(image, &LIMITS, &wish)
        }
        4 => rules::reserve_producer_ids(image, which.into()).map(|reserved| reserved.records),
        _ => rules::register_node(image, &registration(1 + u32::from(which % 2), incarnation)),
    };
    records.unwrap_or_default()
}
