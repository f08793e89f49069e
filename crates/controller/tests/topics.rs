//! Creating, growing and deleting topics.

mod common;

use common::{LIMITS, apply, cluster, create, node, topic_id};
use plimsoll_controller::rules::{
    self, CreatePartitions, CreateTopic, ManualAssignment, TopicRef, create_internal_topic,
    create_partitions, create_topic, delete_topic,
};
use plimsoll_controller::{AssignmentFault, ConfigFault, Image, Record, Refusal};

fn wish(name: &str) -> CreateTopic {
    CreateTopic::named(name, topic_id(9))
}

fn refusal(image: &Image, wish: &CreateTopic) -> Refusal {
    create_topic(image, &LIMITS, wish).expect_err("refused")
}

fn manual(lists: &[(i32, &[i32])]) -> Vec<ManualAssignment> {
    let lists = lists.iter();
    lists
        .map(|&(partition, brokers)| ManualAssignment {
            partition,
            brokers: brokers.to_vec(),
        })
        .collect()
}

#[test]
fn open_counts_take_the_defaults() {
    let mut image = cluster(1);
    let records = create_topic(&image, &LIMITS, &wish("orders"));
    apply(&mut image, records);
    let topic = image.topic("orders").expect("created");
    assert_eq!(topic.partitions.len(), 2);
    for partition in &topic.partitions {
        assert_eq!(partition.replicas.as_ref(), [node(1)]);
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(partition.leader, Some(node(1)));
    }
    assert_eq!(image.topic_by_id(topic_id(9)), Some(topic));
    assert_eq!((image.topic_count(), image.partition_count()), (1, 2));
}

#[test]
fn names_that_are_no_names_are_refused() {
    let image = cluster(1);
    for name in ["", ".", "a/b", &"x".repeat(250)] {
        assert!(
            matches!(refusal(&image, &wish(name)), Refusal::InvalidName(_)),
            "{name}"
        );
    }
    let reserved = refusal(&image, &wish("__cluster_metadata"));
    assert!(matches!(reserved, Refusal::ReservedName { .. }));
}

#[test]
fn a_name_is_taken_once_until_its_topic_is_deleted() {
    let mut image = cluster(1);
    create(&mut image, "orders", 1, 1);
    assert!(matches!(
        refusal(&image, &wish("orders")),
        Refusal::TopicExists { .. }
    ));
    let records = delete_topic(&image, TopicRef::Name("orders"));
    apply(&mut image, records);
    assert_eq!(image.topic_by_id(topic_id(1)), None);
    create(&mut image, "orders", 2, 1);
}

#[test]
fn names_that_metrics_write_alike_collide_until_one_is_deleted() {
    let mut image = cluster(1);
    create(&mut image, "a.b_c", 1, 1);
    let refused = refusal(&image, &wish("a_b.c"));
    assert_eq!(
        refused.to_string(),
        "Topic 'a_b.c' collides with existing topic: a.b_c"
    );
    create(&mut image, "ab_c", 2, 1);
    let records = delete_topic(&image, TopicRef::Id(topic_id(1)));
    apply(&mut image, records);
    create(&mut image, "a_b.c", 3, 1);
}

#[test]
fn counts_that_are_none_are_refused() {
    let image = cluster(3);
    for count in [0, -2, i32::MIN] {
        let wish = CreateTopic {
            partitions: count,
            ..wish("t")
        };
        assert_eq!(refusal(&image, &wish), Refusal::PartitionCount { count });
    }
    for factor in [0, -2, i16::MIN] {
        let wish = CreateTopic {
            replication_factor: factor,
            ..wish("t")
        };
        assert_eq!(
            refusal(&image, &wish),
            Refusal::ReplicationFactor { factor }
        );
    }
    let wish = CreateTopic {
        replication_factor: 4,
        ..wish("t")
    };
    assert_eq!(
        refusal(&image, &wish),
        Refusal::NotEnoughNodes {
            factor: 4,
            nodes: 3
        }
    );
}

#[test]
fn more_partitions_than_nodes_hold_are_refused_before_any_is_made() {
    let mut image = cluster(1);
    create(&mut image, "first", 1, 45);
    for count in [6, i32::MAX] {
        let wish = CreateTopic {
            partitions: count,
            ..wish("t")
        };
        let refused = refusal(&image, &wish);
        assert!(matches!(
            refused,
            Refusal::TooManyPartitions {
                limit: 50,
                current: 45,
                ..
            }
        ));
    }
    create(&mut image, "second", 2, 5);
    let records = delete_topic(&image, TopicRef::Name("first"));
    apply(&mut image, records);
    assert_eq!(image.replicas_on(node(1)), 5);
    create(&mut image, "third", 3, 45);
}

#[test]
fn replicas_and_leaders_go_around_the_nodes() {
    let mut image = cluster(3);
    let wish = CreateTopic {
        partitions: 6,
        replication_factor: 2,
        ..wish("t")
    };
    let records = create_topic(&image, &LIMITS, &wish);
    apply(&mut image, records);
    for id in 1..=3 {
        assert_eq!(image.replicas_on(node(id)), 4);
        let topic = image.topic("t").expect("created");
        let led = topic
            .partitions
            .iter()
            .filter(|p| p.leader == Some(node(id)));
        assert_eq!(led.count(), 2);
    }
}

#[test]
fn a_manual_assignment_is_taken_as_it_is() {
    let mut image = cluster(3);
    let assignments = manual(&[(1, &[3, 1]), (0, &[2, 3])]);
    let records = create_topic(
        &image,
        &LIMITS,
        &CreateTopic {
            assignments,
            ..wish("t")
        },
    );
    apply(&mut image, records);
    let replicas = |index| image.partition("t", index).map(|p| p.replicas.to_vec());
    assert_eq!(replicas(0), Some(vec![node(2), node(3)]));
    assert_eq!(replicas(1), Some(vec![node(3), node(1)]));
}

#[test]
fn a_manual_assignment_that_does_not_hold_together_is_refused() {
    let image = cluster(2);
    let cases: [(&[(i32, &[i32])], AssignmentFault); 8] = [
        (&[(1, &[1])], AssignmentFault::Gap { partition: 0 }),
        (&[(-1, &[1])], AssignmentFault::Gap { partition: 0 }),
        (
            &[(0, &[1]), (2, &[1])],
            AssignmentFault::Gap { partition: 1 },
        ),
        (
            &[(0, &[1]), (0, &[1])],
            AssignmentFault::Repeated { partition: 0 },
        ),
        (&[(0, &[])], AssignmentFault::NoReplicas),
        (&[(0, &[1, 1])], AssignmentFault::NodeRepeated { node: 1 }),
        (&[(0, &[3])], AssignmentFault::NoSuchNode { node: 3 }),
        (
            &[(0, &[1, 2]), (1, &[1])],
            AssignmentFault::Uneven {
                replicas: 1,
                expected: 2,
            },
        ),
    ];
    for (lists, fault) in cases {
        let wish = CreateTopic {
            assignments: manual(lists),
            ..wish("t")
        };
        assert_eq!(refusal(&image, &wish), Refusal::Assignment(fault));
    }
    let assignments = manual(&[(0, &[1])]);
    let counted = CreateTopic {
        partitions: 1,
        assignments,
        ..wish("t")
    };
    assert!(matches!(
        refusal(&image, &counted),
        Refusal::AssignmentAndCount { value: 1, .. }
    ));
}

#[test]
fn configs_come_with_the_topic_or_keep_it_from_being() {
    let mut image = cluster(1);
    let configs = vec![("retention.ms".to_owned(), Some(" 100 ".to_owned()))];
    let records = create_topic(
        &image,
        &LIMITS,
        &CreateTopic {
            configs,
            ..wish("t")
        },
    );
    apply(&mut image, records);
    let topic = image.topic("t").expect("created");
    assert_eq!(
        topic.configs.get("retention.ms").map(String::as_str),
        Some("100")
    );

    let configs = vec![("flush.ms".to_owned(), Some("1".to_owned()))];
    let refused = refusal(
        &image,
        &CreateTopic {
            configs,
            ..wish("u")
        },
    );
    assert!(matches!(
        refused,
        Refusal::Config(ConfigFault::NotSupported {
            key: "flush.ms",
            ..
        })
    ));
    let configs = vec![("retention.ms".to_owned(), None)];
    let refused = refusal(
        &image,
        &CreateTopic {
            configs,
            ..wish("u")
        },
    );
    assert!(matches!(refused, Refusal::Config(ConfigFault::Null { .. })));
}

#[test]
fn what_is_not_there_cannot_be_deleted_and_the_clusters_own_stays() {
    let mut image = cluster(1);
    let by_name = delete_topic(&image, TopicRef::Name("none"));
    assert!(matches!(by_name, Err(Refusal::UnknownTopic { .. })));
    let by_id = delete_topic(&image, TopicRef::Id(topic_id(7)));
    assert_eq!(by_id, Err(Refusal::UnknownTopicId { id: topic_id(7) }));
    let records = create_internal_topic(&image, &LIMITS, &wish("__consumer_offsets"));
    apply(&mut image, records);
    let internal = delete_topic(&image, TopicRef::Id(topic_id(9)));
    assert!(matches!(internal, Err(Refusal::InternalTopic { .. })));
}

#[test]
fn the_clusters_own_topics_are_made_and_grown_by_no_client() {
    let mut image = cluster(1);
    for name in rules::INTERNAL_TOPICS {
        let refused = refusal(&image, &wish(name));
        assert!(matches!(refused, Refusal::InternalTopic { .. }), "{name}");
    }
    let records = create_internal_topic(&image, &LIMITS, &wish("__consumer_offsets"));
    apply(&mut image, records);
    let again = wish("__consumer_offsets");
    for refused in [
        refusal(&image, &again),
        create_internal_topic(&image, &LIMITS, &again).expect_err("refused"),
    ] {
        assert!(matches!(refused, Refusal::TopicExists { .. }));
    }
    let grow = CreatePartitions {
        name: "__consumer_offsets".to_owned(),
        ..more(7, None)
    };
    let refused = create_partitions(&image, &LIMITS, &grow);
    assert!(matches!(refused, Err(Refusal::InternalTopic { .. })));
}

fn more(total: i32, assignments: Option<Vec<Vec<i32>>>) -> CreatePartitions {
    CreatePartitions {
        name: "t".to_owned(),
        total,
        assignments,
    }
}

#[test]
fn partitions_are_added_behind_those_there_are() {
    let mut image = cluster(2);
    create(&mut image, "t", 1, 2);
    let records = create_partitions(&image, &LIMITS, &more(4, Some(vec![vec![2], vec![1]])));
    apply(&mut image, records);
    assert_eq!(
        image.partition("t", 2).map(|p| p.leader),
        Some(Some(node(2)))
    );
    let records = create_partitions(&image, &LIMITS, &more(5, None));
    apply(&mut image, records);
    assert_eq!(image.topic("t").map(|t| t.partitions.len()), Some(5));
    assert_eq!(image.partition_count(), 5);
}

#[test]
fn partitions_are_never_taken_away() {
    let mut image = cluster(2);
    create(&mut image, "t", 1, 2);
    for asked in [2, 1, 0, -1] {
        let refused = create_partitions(&image, &LIMITS, &more(asked, None));
        assert!(matches!(
            refused,
            Err(Refusal::PartitionsNotMore { current: 2, .. })
        ));
    }
    let too_many = create_partitions(&image, &LIMITS, &more(i32::MAX, None));
    assert!(matches!(too_many, Err(Refusal::TooManyPartitions { .. })));
}

#[test]
fn added_partitions_must_have_the_topics_shape() {
    let mut image = cluster(2);
    create(&mut image, "t", 1, 2);
    let refused = |assignments| create_partitions(&image, &LIMITS, &more(3, Some(assignments)));
    let fault = AssignmentFault::WrongCount {
        added: 1,
        assigned: 2,
    };
    assert_eq!(
        refused(vec![vec![1], vec![2]]),
        Err(Refusal::Assignment(fault))
    );
    let fault = AssignmentFault::Uneven {
        replicas: 2,
        expected: 1,
    };
    assert_eq!(refused(vec![vec![1, 2]]), Err(Refusal::Assignment(fault)));
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut image = cluster(1);
    let first = rules::reserve_producer_ids(&image, 1000).expect("some are left");
    assert_eq!(first.ids, 0..1000);
    apply(&mut image, Ok(first.records));
    let second = rules::reserve_producer_ids(&image, 5).expect("some are left");
    assert_eq!(second.ids, 1000..1005);
    let next = i64::MAX.unsigned_abs() - 1;
    image
        .apply(&Record::ProducerIdsReserved { next })
        .expect("it grows");
    let last = rules::reserve_producer_ids(&image, 5).expect("one is left");
    assert_eq!(last.ids, next..next + 1);
    apply(&mut image, Ok(last.records));
    let none = rules::reserve_producer_ids(&image, 5);
    assert_eq!(none, Err(Refusal::ProducerIdsExhausted));
}
