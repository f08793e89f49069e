//! Partitions moved between nodes.

mod common;

use common::{
    KEY, LIMITS, apply, cluster, create_on, fence, node, nodes, partition, proposal, propose,
};
use plimsoll_controller::rules::{self, AlterRefusal, Reassign, reassign};
use plimsoll_controller::{Image, Record, Refusal};

fn to(image: &Image, replicas: &[i32]) -> Result<Vec<Record>, Refusal> {
    let replicas = Some(replicas.to_vec());
    reassign(image, &LIMITS, &Reassign { key: KEY, replicas })
}

fn cancel(image: &Image) -> Result<Vec<Record>, Refusal> {
    let wish = Reassign {
        key: KEY,
        replicas: None,
    };
    reassign(image, &LIMITS, &wish)
}

fn moving() -> Image {
    let mut image = cluster(5);
    create_on(&mut image, &[1, 2, 3], &[("min.insync.replicas", "2")]);
    let records = to(&image, &[4, 5, 3]);
    apply(&mut image, records);
    image
}

#[test]
fn a_move_grows_waits_and_shrinks_in_one_record() {
    let mut image = moving();
    let grown = partition(&image);
    assert_eq!(grown.replicas.to_vec(), nodes(&[4, 5, 3, 1, 2]));
    assert_eq!(grown.adding.to_vec(), nodes(&[4, 5]));
    assert_eq!(grown.removing.to_vec(), nodes(&[1, 2]));
    assert_eq!(grown.leader_epoch.get(), 0);
    assert_eq!(image.reassigning().count(), 1);
    propose(&mut image, &[1, 2, 3, 4]);
    assert!(partition(&image).is_reassigning());
    let wish = proposal(&image, &[1, 2, 3, 4, 5]);
    let altered = rules::alter_partition(&image, &wish).expect("current");
    assert_eq!(altered.outcomes, [Err(AlterRefusal::NewLeader)]);
    apply(&mut image, Ok(altered.records));
    let moved = partition(&image);
    assert_eq!(moved.replicas.to_vec(), nodes(&[4, 5, 3]));
    assert_eq!(moved.isr.len(), 3);
    assert_eq!(moved.leader, Some(node(4)));
    assert_eq!(moved.leader_epoch.get(), 1);
    assert!(!moved.is_reassigning());
    assert_eq!(image.replicas_on(node(1)), 0);
}

#[test]
fn a_cancelled_move_takes_out_what_it_brought_in() {
    let mut image = moving();
    propose(&mut image, &[1, 2, 3, 4]);
    let records = cancel(&image);
    apply(&mut image, records);
    let back = partition(&image);
    assert_eq!(back.replicas.len(), 3);
    assert_eq!(back.isr.to_vec(), nodes(&[1, 2, 3]));
    assert_eq!(back.leader, Some(node(1)));
    assert_eq!(back.leader_epoch.get(), 1);
    assert!(matches!(
        cancel(&image),
        Err(Refusal::NoReassignmentInProgress { .. })
    ));
}

#[test]
fn a_replica_taken_out_and_put_back_is_told_by_the_term() {
    let mut image = moving();
    let before = partition(&image).leader_epoch;
    let records = to(&image, &[1, 2, 3]);
    apply(&mut image, records);
    let records = to(&image, &[4, 5, 3]);
    apply(&mut image, records);
    assert_eq!(partition(&image).adding.to_vec(), nodes(&[4, 5]));
    assert!(partition(&image).leader_epoch > before);
}

#[test]
fn a_move_that_leaves_too_few_in_sync_is_refused() {
    let mut image = moving();
    propose(&mut image, &[1, 4, 5]);
    // The third one of the target is not in sync, two are: enough.
    assert!(!partition(&image).is_reassigning());
    let records = to(&image, &[1, 2]);
    apply(&mut image, records);
    propose(&mut image, &[4, 5, 1]);
    fence(&mut image, node(5));
    fence(&mut image, node(1));
    let refused = cancel(&image);
    assert!(refused.is_ok(), "it is below min ISR as it is: {refused:?}");
}

#[test]
fn a_shrink_waits_until_enough_of_the_rest_are_in_sync() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[("min.insync.replicas", "2")]);
    propose(&mut image, &[1, 2]);
    let records = to(&image, &[1, 3]);
    apply(&mut image, records);
    assert!(partition(&image).is_reassigning());
    propose(&mut image, &[1, 2, 3]);
    assert_eq!(partition(&image).replicas.to_vec(), nodes(&[1, 3]));
}

#[test]
fn replicas_that_are_none_are_refused() {
    let image = moving();
    for replicas in [&[][..], &[9], &[-1], &[1, 1]] {
        assert!(matches!(to(&image, replicas), Err(Refusal::Assignment(_))));
    }
}

#[test]
fn growing_a_single_replica_asks_for_no_more_than_it_had() {
    let mut image = cluster(3);
    create_on(&mut image, &[1], &[("min.insync.replicas", "2")]);
    let records = to(&image, &[1, 2, 3]);
    apply(&mut image, records);
    assert_eq!(image.min_isr(KEY), 1);
    propose(&mut image, &[1, 2, 3]);
    assert_eq!(image.min_isr(KEY), 2);
    assert!(!partition(&image).is_reassigning());
}
