//! Elections when nobody known to be complete is left.

mod common;

use common::{
    KEY, apply, cluster, create_on, epoch, fence, node, partition, registration, unfence,
};
use plimsoll_controller::Image;
use plimsoll_controller::config::UncleanRecovery;
use plimsoll_controller::rules::{
    self, LogAnswer, RecoverUnclean, RegisterNode, Shutdown, recover_unclean, recoveries_wanted,
};
use plimsoll_types::{LeaderEpoch, Offset};

/// Nodes 1 and 2 lost what they had not synced, node 3 fell behind before.
fn lost(policy: (&str, &str)) -> Image {
    let mut image = cluster(3);
    let configs = [("min.insync.replicas", "2"), ("durability", "os"), policy];
    create_on(&mut image, &[1, 2, 3], &configs);
    for id in [3, 2, 1] {
        fence(&mut image, node(id));
    }
    for id in [1, 2] {
        let wish = RegisterNode {
            shutdown: Shutdown::Lossy,
            ..registration(id, 2)
        };
        let records = rules::register_node(&image, &wish);
        apply(&mut image, records);
    }
    image
}

fn answer(image: &Image, id: u32, last_epoch: u32, log_end: u64) -> LogAnswer {
    LogAnswer {
        node: node(id),
        broker_epoch: epoch(image, node(id)),
        last_epoch: Some(LeaderEpoch::new(last_epoch)),
        log_end: Offset::new(log_end),
        durable_end: Offset::new(log_end),
        trusted: false,
    }
}

fn recover(
    image: &Image,
    answers: Vec<LogAnswer>,
    timed_out: bool,
) -> Vec<plimsoll_controller::Record> {
    let wish = RecoverUnclean {
        key: KEY,
        answers,
        timed_out,
    };
    recover_unclean(image, &wish).expect("there")
}

#[test]
fn by_default_it_waits_for_a_person() {
    let mut image = lost(("retention.ms", "-1"));
    unfence(&mut image, node(1));
    unfence(&mut image, node(2));
    assert_eq!(recoveries_wanted(&image).count(), 0);
    let answers = vec![answer(&image, 1, 0, 9), answer(&image, 2, 0, 10)];
    assert_eq!(recover(&image, answers.clone(), true), vec![]);
    let records = rules::elect(&image, KEY, rules::Election::Unclean, &answers);
    apply(&mut image, records);
    assert_eq!(partition(&image).leader, Some(node(2)));
    assert!(partition(&image).recovering);
}

#[test]
fn balanced_waits_for_all_and_takes_the_best() {
    let mut image = lost(("unclean.recovery.strategy", "balanced"));
    unfence(&mut image, node(1));
    let wanted: Vec<_> = recoveries_wanted(&image).collect();
    assert_eq!(wanted[0].policy, UncleanRecovery::Balanced);
    assert_eq!(wanted[0].ask.len(), 2);
    let first = answer(&image, 1, 1, 5);
    let second = answer(&image, 2, 0, 9);
    assert_eq!(recover(&image, vec![first.clone()], true), vec![]);
    // The second one is still fenced, so its answer may be that of a process on its way out.
    let both = vec![first, second];
    assert_eq!(recover(&image, both.clone(), true), vec![]);
    unfence(&mut image, node(2));
    let mut earlier = both.clone();
    earlier[1].broker_epoch.0 -= 1;
    assert_eq!(recover(&image, earlier, true), vec![]);
    let records = recover(&image, both, false);
    apply(&mut image, Ok(records));
    let partition = partition(&image);
    assert_eq!(partition.leader, Some(node(1)));
    assert_eq!(partition.unclean_epoch, Some(partition.leader_epoch));
}

#[test]
fn proactive_takes_the_best_of_those_who_answer_in_time() {
    for policy in [
        ("unclean.recovery.strategy", "proactive"),
        ("unclean.leader.election.enable", "true"),
    ] {
        let mut image = lost(policy);
        unfence(&mut image, node(3));
        let third = vec![answer(&image, 3, 0, 1)];
        assert_eq!(recover(&image, third.clone(), false), vec![]);
        let records = recover(&image, third, true);
        apply(&mut image, Ok(records));
        assert_eq!(partition(&image).leader, Some(node(3)));
    }
}

#[test]
fn nothing_is_recovered_that_is_led() {
    let mut image = cluster(1);
    create_on(
        &mut image,
        &[1],
        &[("unclean.recovery.strategy", "proactive")],
    );
    let answers = vec![answer(&image, 1, 0, 1)];
    assert_eq!(recover(&image, answers, true), vec![]);
    image = cluster(1);
    assert_eq!(recoveries_wanted(&image).count(), 0);
}

#[test]
fn who_went_down_at_the_same_time_is_remembered_and_the_best_of_all_leads() {
    let mut image = cluster(3);
    let configs = [
        ("min.insync.replicas", "1"),
        ("durability", "os"),
        ("unclean.recovery.strategy", "balanced"),
    ];
    create_on(&mut image, &[1, 2, 3], &configs);
    // All machines lose power at once; the controller hears of them one by one.
    for id in [1, 2, 3] {
        let wish = RegisterNode {
            shutdown: Shutdown::Lossy,
            ..registration(id, 2)
        };
        let records = rules::register_node(&image, &wish);
        apply(&mut image, records);
    }
    let after = partition(&image);
    assert!(after.isr.is_empty() && after.elr.is_empty());
    assert_eq!(after.last_known_elr.to_vec(), common::nodes(&[1, 2, 3]));
    for id in [2, 3] {
        unfence(&mut image, node(id));
    }
    let two = vec![answer(&image, 2, 0, 5), answer(&image, 3, 0, 6)];
    assert_eq!(recover(&image, two.clone(), true), vec![], "one is away");
    unfence(&mut image, node(1));
    let mut all = two;
    all.push(answer(&image, 1, 0, 9));
    let records = recover(&image, all, false);
    apply(&mut image, Ok(records));
    assert_eq!(partition(&image).leader, Some(node(1)));
}

#[test]
fn who_is_there_is_asked_too_and_may_have_the_best_log() {
    let mut image = lost(("unclean.recovery.strategy", "balanced"));
    for id in [1, 2, 3] {
        unfence(&mut image, node(id));
    }
    let wanted: Vec<_> = recoveries_wanted(&image).collect();
    assert_eq!(wanted[0].ask.len(), 3);
    let two = vec![answer(&image, 1, 0, 5), answer(&image, 2, 0, 6)];
    assert_eq!(recover(&image, two.clone(), false), vec![], "it is asked");
    let mut all = two;
    all.push(answer(&image, 3, 0, 7));
    let records = recover(&image, all, false);
    apply(&mut image, Ok(records));
    assert_eq!(partition(&image).leader, Some(node(3)));
}
