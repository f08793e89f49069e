//! Nodes that come, go, stop in good order and come back with less than they had.

mod common;

use common::{
    KEY, LIMITS, apply, cluster, create_on, epoch, fence, node, nodes, partition, propose,
    registration, start, topic_id, unfence,
};
use plimsoll_controller::rules::{self, RegisterNode, Shutdown};
use plimsoll_controller::{Image, Refusal};
use plimsoll_types::BrokerEpoch;

/// A node's process, started again after its earlier one ended like this.
fn restart(image: &mut Image, id: u32, incarnation: u8, shutdown: Shutdown) {
    let wish = RegisterNode {
        shutdown,
        ..registration(id, incarnation)
    };
    let records = rules::register_node(image, &wish);
    apply(image, records);
}

fn members(image: &Image) -> (Vec<u32>, Vec<u32>, Option<u32>) {
    let partition = partition(image);
    let ids = |nodes: &[plimsoll_types::NodeId]| nodes.iter().map(|n| n.get()).collect();
    let leader = partition.leader.map(plimsoll_types::NodeId::get);
    (ids(&partition.isr), ids(&partition.elr), leader)
}

const MIN_2: (&str, &str) = ("min.insync.replicas", "2");
const OS: (&str, &str) = ("durability", "os");

#[test]
fn a_fenced_node_leads_nothing_and_is_in_no_isr() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    fence(&mut image, node(1));
    assert_eq!(members(&image), (vec![2, 3], vec![], Some(2)));
    assert_eq!(partition(&image).leader_epoch.get(), 1);
    assert_eq!(image.in_sync_on(node(1)), 0);
    let again = rules::fence_node(&image, node(1), epoch(&image, node(1)));
    assert_eq!(again, Ok(vec![]));
}

#[test]
fn a_follower_that_is_fenced_begins_no_new_term() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    fence(&mut image, node(3));
    assert_eq!(members(&image), (vec![1, 2], vec![], Some(1)));
    assert_eq!(partition(&image).leader_epoch.get(), 0);
}

#[test]
fn whoever_leaves_below_min_isr_may_still_lead() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    for id in [3, 2, 1] {
        fence(&mut image, node(id));
    }
    assert_eq!(members(&image), (vec![], vec![2, 1], None));
    // The third one left while two were in sync, and may lack what they committed since.
    unfence(&mut image, node(3));
    assert_eq!(members(&image), (vec![], vec![2, 1], None));
    unfence(&mut image, node(2));
    assert_eq!(members(&image), (vec![2], vec![1], Some(2)));
    unfence(&mut image, node(1));
    propose(&mut image, &[2, 1]);
    assert_eq!(members(&image), (vec![2, 1], vec![], Some(2)));
}

#[test]
fn the_only_replica_leads_again_in_a_new_epoch() {
    for shutdown in [Shutdown::Clean, Shutdown::CrashSameBoot, Shutdown::Lossy] {
        let mut image = cluster(1);
        create_on(&mut image, &[1], &[]);
        restart(&mut image, 1, 2, shutdown);
        assert_eq!(members(&image), (vec![], vec![1], None));
        unfence(&mut image, node(1));
        assert_eq!(members(&image), (vec![1], vec![], Some(1)));
        assert_eq!(partition(&image).leader_epoch.get(), 2);
        assert_eq!(partition(&image).unclean_epoch, None);
    }
}

#[test]
fn the_only_replica_of_a_topic_that_does_not_sync_leads_again_uncleanly() {
    let mut image = cluster(1);
    create_on(&mut image, &[1], &[OS]);
    restart(&mut image, 1, 2, Shutdown::Lossy);
    assert_eq!(members(&image), (vec![], vec![], None));
    unfence(&mut image, node(1));
    assert_eq!(members(&image), (vec![1], vec![], Some(1)));
    let partition = partition(&image);
    assert_eq!(partition.unclean_epoch, Some(partition.leader_epoch));
}

#[test]
fn the_only_replica_in_another_directory_waits_for_a_person() {
    let mut image = cluster(1);
    create_on(&mut image, &[1], &[]);
    fence(&mut image, node(1));
    let wish = RegisterNode {
        dir_id: [99; 16],
        ..registration(1, 2)
    };
    start(&mut image, &wish);
    assert_eq!(members(&image), (vec![], vec![], None));
    assert_eq!(rules::settle(&image), vec![]);
    let records = rules::elect(&image, KEY, rules::Election::Unclean, &[]);
    apply(&mut image, records);
    assert_eq!(members(&image), (vec![1], vec![], Some(1)));
}

#[test]
fn who_lost_unsynced_records_leaves_the_elr() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2, OS]);
    for id in [3, 2, 1] {
        fence(&mut image, node(id));
    }
    restart(&mut image, 2, 2, Shutdown::Lossy);
    assert_eq!(members(&image), (vec![], vec![1], None));
    assert_eq!(partition(&image).last_known_elr.to_vec(), nodes(&[2]));
    unfence(&mut image, node(2));
    assert_eq!(members(&image), (vec![], vec![1], None));
    restart(&mut image, 1, 2, Shutdown::CrashSameBoot);
    unfence(&mut image, node(1));
    assert_eq!(members(&image), (vec![1], vec![], Some(1)));
}

#[test]
fn damage_counts_as_loss_whatever_the_end() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    fence(&mut image, node(3));
    fence(&mut image, node(1));
    restart(&mut image, 2, 2, Shutdown::Clean);
    // It says so before it is unfenced.
    let records = rules::report_corrupt(&image, node(2), epoch(&image, node(2)), &[KEY]);
    apply(&mut image, records);
    unfence(&mut image, node(2));
    assert_eq!(members(&image), (vec![], vec![1], None));
    unfence(&mut image, node(1));
    assert_eq!(members(&image), (vec![1], vec![], Some(1)));
}

#[test]
fn a_second_process_of_a_live_node_is_refused_unless_it_holds_the_directory() {
    let mut image = cluster(2);
    let other = RegisterNode {
        dir_id: [99; 16],
        ..registration(1, 2)
    };
    let refused = rules::register_node(&image, &other);
    assert_eq!(refused, Err(Refusal::DuplicateNode { node: node(1) }));
    let old = epoch(&image, node(1));
    start(&mut image, &registration(1, 2));
    assert!(epoch(&image, node(1)) > old);
    let stale = rules::fence_node(&image, node(1), old);
    assert!(matches!(stale, Err(Refusal::StaleBrokerEpoch { .. })));
    fence(&mut image, node(1));
    start(&mut image, &other);
}

#[test]
fn a_broker_epoch_is_the_version_of_its_registration() {
    let mut image = cluster(2);
    create_on(&mut image, &[1, 2], &[]);
    let records = rules::register_node(&image, &registration(1, 2));
    apply(&mut image, records);
    assert_eq!(epoch(&image, node(1)), BrokerEpoch(image.version()));
}

#[test]
fn a_draining_node_hands_its_leaderships_over_and_goes_on_following() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    let records = rules::drain_node(&image, node(1));
    apply(&mut image, records);
    assert_eq!(members(&image), (vec![1, 2, 3], vec![], Some(2)));
    assert!(rules::is_drained(&image, node(1)));
    fence(&mut image, node(2));
    assert_eq!(members(&image), (vec![1, 3], vec![], Some(3)));
    fence(&mut image, node(3));
    // Rather one that drains than nobody.
    assert_eq!(members(&image), (vec![1], vec![3], Some(1)));
    unfence(&mut image, node(3));
    propose(&mut image, &[1, 3]);
    let records = rules::settle(&image);
    apply(&mut image, Ok(records));
    assert_eq!(members(&image), (vec![1, 3], vec![], Some(3)));
    let records = rules::resume_node(&image, node(1));
    apply(&mut image, records);
    assert!(image.is_usable(node(1)));
}

#[test]
fn what_was_decided_of_a_process_that_stops_does_not_reach_the_next() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    let old = epoch(&image, node(1));
    let records = rules::stop_node(&image, node(1), old);
    apply(&mut image, records);
    assert!(image.node(node(1)).is_some_and(|node| node.drain.stopping));
    // Nobody resumes a process that is about to stop.
    assert_eq!(rules::resume_node(&image, node(1)), Ok(vec![]));
    start(&mut image, &registration(1, 2));
    assert!(image.is_usable(node(1)), "the next process takes part");
    let late = rules::stop_node(&image, node(1), old);
    assert!(matches!(late, Err(Refusal::StaleBrokerEpoch { .. })));
    let ill = std::collections::BTreeSet::new();
    let late = rules::resign_leaderships(&image, node(1), old, &ill);
    assert!(matches!(late, Err(Refusal::StaleBrokerEpoch { .. })));
}

#[test]
fn a_drain_that_a_person_asked_for_outlives_the_process() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[MIN_2]);
    let records = rules::drain_node(&image, node(1));
    apply(&mut image, records);
    let records = rules::stop_node(&image, node(1), epoch(&image, node(1)));
    apply(&mut image, records);
    start(&mut image, &registration(1, 2));
    let known = image.node(node(1)).expect("registered");
    assert_eq!((known.drain.kept, known.drain.stopping), (true, false));
    let restored = Image::restore(image.version(), image.to_records()).expect("fits");
    assert_eq!(restored.node(node(1)), image.node(node(1)));
    let records = rules::resume_node(&image, node(1));
    apply(&mut image, records);
    assert!(image.is_usable(node(1)));
}

#[test]
fn a_node_is_removed_only_when_it_is_down_and_empty() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2], &[]);
    assert_eq!(
        rules::remove_node(&image, node(3)),
        Err(Refusal::NodeAlive { node: node(3) })
    );
    fence(&mut image, node(1));
    let holds = rules::remove_node(&image, node(1));
    assert!(matches!(
        holds,
        Err(Refusal::NodeHoldsReplicas { replicas: 1, .. })
    ));
    fence(&mut image, node(3));
    let records = rules::remove_node(&image, node(3));
    apply(&mut image, records);
    assert_eq!(image.node(node(3)), None);
}

#[test]
fn very_many_partitions_are_fenced_in_steps_that_end() {
    let limits = plimsoll_controller::Limits {
        max_partitions_per_node: 100_000,
        ..LIMITS
    };
    let mut image = cluster(2);
    let wish = rules::CreateTopic {
        partitions: 20_000,
        replication_factor: 2,
        ..rules::CreateTopic::named("t", topic_id(1))
    };
    let records = rules::create_topic(&image, &limits, &wish);
    apply(&mut image, records);
    let mut fenced = image.clone();
    fence(&mut fenced, node(1));
    assert!(fenced.in_sync_on(node(1)) > 0);
    let early = rules::unfence_node(&fenced, node(1), epoch(&fenced, node(1)));
    assert!(matches!(early, Err(Refusal::NotSettled { .. })));
    loop {
        let records = rules::settle(&fenced);
        if records.is_empty() {
            break;
        }
        assert!(records.len() <= rules::MAX_CHANGES);
        apply(&mut fenced, Ok(records));
    }
    assert_eq!(fenced.in_sync_on(node(1)), 0);

    let mut steps = 0;
    loop {
        let wish = registration(1, 2);
        let records = rules::register_node(&image, &wish).expect("allowed");
        if records.is_empty() {
            break;
        }
        assert!(records.len() <= rules::MAX_CHANGES + 2);
        apply(&mut image, Ok(records));
        let early = rules::unfence_node(&image, node(1), epoch(&image, node(1)));
        assert_eq!(early.is_ok(), image.in_sync_on(node(1)) == 0);
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert_eq!(image.leaderships_of(node(2)), 20_000);
    assert_eq!(image.in_sync_on(node(1)), 0);
}

#[test]
fn a_corrupt_replica_leaves_and_the_last_one_stays() {
    let mut image = cluster(2);
    create_on(&mut image, &[1, 2], &[]);
    let report = |image: &Image, id| {
        rules::report_corrupt(image, node(id), epoch(image, node(id)), &[KEY, KEY])
    };
    let records = report(&image, 1);
    apply(&mut image, records);
    assert_eq!(members(&image), (vec![2], vec![], Some(2)));
    assert_eq!(report(&image, 2), Ok(vec![]));
}

#[test]
fn who_lost_its_end_alone_gives_way_to_those_who_may_have_it() {
    let mut image = cluster(2);
    create_on(&mut image, &[1, 2], &[MIN_2]);
    fence(&mut image, node(2));
    assert_eq!(members(&image), (vec![1], vec![2], Some(1)));
    let records = rules::begin_again(&image, node(1), epoch(&image, node(1)), KEY);
    apply(&mut image, records);
    assert_eq!(members(&image), (vec![], vec![2], None));
    assert_eq!(partition(&image).last_known_elr.to_vec(), nodes(&[1]));
    unfence(&mut image, node(2));
    assert_eq!(members(&image), (vec![2], vec![], Some(2)));
    assert_eq!(partition(&image).unclean_epoch, None);
}
