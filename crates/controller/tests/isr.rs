//! What leaders propose, and what min ISR does to who may lead.

mod common;

use std::collections::BTreeSet;

use common::{
    KEY, apply, cluster, create_on, epoch, fence, node, nodes, partition, proposal, propose,
    registration, start, unfence,
};
use plimsoll_controller::rules::{
    self, AlterConfig, AlterOperation, AlterRefusal, Election, alter_partition,
};
use plimsoll_controller::{ConfigResource, Image, NodeDefaults, Refusal};
use plimsoll_types::{LeaderEpoch, PartitionEpoch, TopicName};

const MIN_2: (&str, &str) = ("min.insync.replicas", "2");

fn three() -> Image {
    let mut image = cluster(4);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    image
}

fn refusal(image: &Image, wish: &rules::AlterPartition) -> AlterRefusal {
    let altered = alter_partition(image, wish).expect("current");
    assert_eq!(altered.records, vec![]);
    altered.outcomes[0].clone().expect_err("refused")
}

#[test]
fn a_leader_shrinks_and_grows_its_isr() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    assert_eq!(partition(&image).isr.to_vec(), nodes(&[1, 2]));
    assert!(partition(&image).elr.is_empty());
    propose(&mut image, &[1]);
    assert_eq!(partition(&image).elr.to_vec(), nodes(&[2]));
    propose(&mut image, &[1, 3]);
    assert!(partition(&image).elr.is_empty());
    assert_eq!(partition(&image).leader_epoch, LeaderEpoch::ZERO);
    assert_eq!(partition(&image).partition_epoch, PartitionEpoch(3));
}

#[test]
fn a_proposal_of_another_time_does_nothing() {
    let mut image = three();
    let delayed = proposal(&image, &[1, 2]);
    propose(&mut image, &[1, 3]);
    assert_eq!(refusal(&image, &delayed), AlterRefusal::StaleVersion);
    let mut newer = proposal(&image, &[1, 2]);
    newer.changes[0].leader_epoch = LeaderEpoch::new(9);
    assert_eq!(refusal(&image, &newer), AlterRefusal::StaleVersion);
    let zombie = proposal(&image, &[1, 2]);
    let records =
        rules::resign_leaderships(&image, node(1), epoch(&image, node(1)), &BTreeSet::new());
    apply(&mut image, records);
    assert_eq!(refusal(&image, &zombie), AlterRefusal::Fenced);
    start(&mut image, &registration(1, 2));
    let stale = alter_partition(&image, &zombie);
    assert!(matches!(stale, Err(Refusal::StaleBrokerEpoch { .. })));
}

#[test]
fn a_rebooted_follower_does_not_join_by_what_it_was() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    let before = proposal(&image, &[1, 2, 3]);
    start(&mut image, &registration(3, 2));
    assert_eq!(
        refusal(&image, &before),
        AlterRefusal::Ineligible(nodes(&[3]))
    );
    propose(&mut image, &[1, 2, 3]);
    assert_eq!(partition(&image).isr.len(), 3);
}

#[test]
fn fenced_and_stopping_nodes_do_not_come_in() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    let records = rules::stop_node(&image, node(3), epoch(&image, node(3)));
    apply(&mut image, records);
    let wish = proposal(&image, &[1, 2, 3]);
    assert_eq!(
        refusal(&image, &wish),
        AlterRefusal::Ineligible(nodes(&[3]))
    );
    fence(&mut image, node(3));
    assert_eq!(
        refusal(&image, &wish),
        AlterRefusal::Ineligible(nodes(&[3]))
    );
}

#[test]
fn a_node_that_a_person_drained_comes_in_and_leads_nothing() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    let records = rules::drain_node(&image, node(3));
    apply(&mut image, records);
    start(&mut image, &registration(3, 2));
    propose(&mut image, &[1, 2, 3]);
    assert_eq!(partition(&image).isr.len(), 3);
    fence(&mut image, node(1));
    assert_eq!(partition(&image).leader, Some(node(2)));
}

#[test]
fn a_set_that_is_no_isr_is_not_attempted() {
    let image = three();
    for isr in [&[2, 3][..], &[1, 4], &[1, 1], &[]] {
        let wish = proposal(&image, isr);
        assert_eq!(
            refusal(&image, &wish),
            AlterRefusal::NotAttempted,
            "{isr:?}"
        );
    }
}

#[test]
fn one_partition_named_twice_is_changed_once() {
    let mut image = three();
    let mut wish = proposal(&image, &[1, 2]);
    wish.changes.push(wish.changes[0].clone());
    let altered = alter_partition(&image, &wish).expect("current");
    assert_eq!(
        altered.outcomes,
        [Ok(PartitionEpoch(1)), Err(AlterRefusal::StaleVersion)]
    );
    apply(&mut image, Ok(altered.records));
}

fn set_min_isr(image: &mut Image, value: &str) {
    let resource = ConfigResource::Topic(TopicName::new("t").expect("legal"));
    let change = AlterConfig {
        key: "min.insync.replicas".into(),
        operation: AlterOperation::Set,
        value: Some(value.into()),
    };
    let defaults = NodeDefaults::default();
    let records = rules::alter_configs(image, &defaults, node(1), &resource, &[change]);
    apply(image, records);
}

#[test]
fn lowering_min_isr_to_what_is_in_sync_ends_the_elr() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    set_min_isr(&mut image, "3");
    propose(&mut image, &[1]);
    assert_eq!(partition(&image).elr.to_vec(), nodes(&[2]));
    set_min_isr(&mut image, "2");
    assert_eq!(partition(&image).elr.to_vec(), nodes(&[2]));
    set_min_isr(&mut image, "1");
    assert!(partition(&image).elr.is_empty());
}

#[test]
fn raising_min_isr_leaves_the_elr_as_it_is() {
    let mut image = three();
    propose(&mut image, &[1, 2]);
    propose(&mut image, &[1]);
    let mut leaderless = image.clone();
    set_min_isr(&mut image, "3");
    assert_eq!(partition(&image).elr.to_vec(), nodes(&[2]));
    // The leader goes, and who has all that was committed leads.
    fence(&mut image, node(1));
    assert_eq!(partition(&image).leader, Some(node(2)));
    fence(&mut leaderless, node(2));
    fence(&mut leaderless, node(1));
    set_min_isr(&mut leaderless, "3");
    assert_eq!(partition(&leaderless).elr.to_vec(), nodes(&[2, 1]));
    unfence(&mut leaderless, node(2));
    assert_eq!(partition(&leaderless).leader, Some(node(2)));
}

#[test]
fn min_isr_is_no_more_than_there_are_replicas() {
    let mut image = cluster(1);
    create_on(&mut image, &[1], &[("min.insync.replicas", "3")]);
    assert_eq!(image.min_isr(KEY), 1);
    assert_eq!(image.under_min_isr().count(), 0);
}

#[test]
fn the_preferred_leader_is_elected_when_it_is_in_sync() {
    let mut image = three();
    let elect = |image: &Image| rules::elect(image, KEY, Election::Preferred, &[]);
    assert!(matches!(
        elect(&image),
        Err(Refusal::ElectionNotNeeded { .. })
    ));
    fence(&mut image, node(1));
    unfence(&mut image, node(1));
    assert!(matches!(
        elect(&image),
        Err(Refusal::PreferredLeaderNotAvailable { .. })
    ));
    let stable = [node(1), node(2)].into();
    assert_eq!(rules::balance_leaders(&image, &stable), vec![]);
    propose(&mut image, &[2, 3, 1]);
    let balanced = rules::balance_leaders(&image, &stable);
    let elected = elect(&image);
    assert_eq!(elected.as_ref(), Ok(&balanced));
    apply(&mut image, elected);
    assert_eq!(partition(&image).leader, Some(node(1)));
    assert_eq!(rules::balance_leaders(&image, &stable), vec![]);
}

#[test]
fn leaders_of_a_fallen_node_go_around_the_others() {
    let mut image = cluster(3);
    let wish = rules::CreateTopic {
        partitions: 12,
        replication_factor: 3,
        ..rules::CreateTopic::named("t", common::topic_id(1))
    };
    let records = rules::create_topic(&image, &common::LIMITS, &wish);
    apply(&mut image, records);
    fence(&mut image, node(1));
    assert_eq!(image.leaderships_of(node(2)), 6);
    assert_eq!(image.leaderships_of(node(3)), 6);
}

#[test]
fn a_partition_made_while_a_node_is_down_begins_without_it() {
    let mut image = cluster(3);
    fence(&mut image, node(1));
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    assert_eq!(partition(&image).isr.to_vec(), nodes(&[2, 3]));
    assert_eq!(partition(&image).leader, Some(node(2)));
    let wish = rules::CreateTopic {
        assignments: vec![rules::ManualAssignment {
            partition: 0,
            brokers: vec![1],
        }],
        ..rules::CreateTopic::named("u", common::topic_id(2))
    };
    let refused = rules::create_topic(&image, &common::LIMITS, &wish);
    assert!(refused.expect_err("refused").to_string().contains("fenced"));
    let epoch = epoch(&image, node(1));
    let left = rules::unfence_node(&image, node(1), epoch);
    assert_eq!(left.map(|records| records.len()), Ok(1));
}
