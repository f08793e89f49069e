//! Who is fenced and who is trusted again, and when.

mod common;

use common::{
    KEY, apply, cluster, create_on, epoch, fence, node, partition, propose, registration,
};
use plimsoll_controller::liveness::{
    Decision, DiskState, FenceReason, HeartbeatFacts, Liveness, LivenessConfig,
};
use plimsoll_controller::{Image, rules};
use plimsoll_types::{Monotonic, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

fn at(ms: u64) -> Monotonic {
    Monotonic::from_start(Duration::from_millis(ms))
}

fn controller() -> Liveness {
    let mut liveness = Liveness::new(LivenessConfig::DEFAULT);
    liveness.became_controller(at(0));
    liveness
}

fn well(image: &Image) -> HeartbeatFacts {
    HeartbeatFacts {
        applied_version: image.version(),
        ready: true,
        ..HeartbeatFacts::default()
    }
}

/// Ticks up to `until`, with heartbeats of these nodes on the way.
fn run(
    liveness: &mut Liveness,
    image: &Image,
    from: u64,
    until: u64,
    alive: &[NodeId],
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for ms in (from..=until).step_by(100) {
        for &node in alive {
            liveness.heartbeat(node, epoch(image, node), at(ms), well(image));
        }
        decisions.extend(liveness.tick(at(ms), image));
    }
    decisions
}

#[test]
fn nobody_is_fenced_for_what_was_said_before_the_controller_listened() {
    let image = cluster(3);
    let mut liveness = controller();
    assert_eq!(run(&mut liveness, &image, 100, 2900, &[]), vec![]);
    let decisions = run(&mut liveness, &image, 3000, 3000, &[]);
    assert_eq!(decisions.len(), 3);
}

#[test]
fn a_silent_node_is_fenced_after_a_session_and_others_are_not() {
    let image = cluster(3);
    let mut liveness = controller();
    let alive = [node(1), node(2)];
    let decisions = run(&mut liveness, &image, 100, 3000, &alive);
    let why = FenceReason::Silent {
        silent: Duration::from_secs(3),
    };
    let expected = Decision::Fence {
        node: node(3),
        broker_epoch: epoch(&image, node(3)),
        why,
    };
    assert_eq!(decisions, [expected]);
}

#[test]
fn a_controller_that_stood_still_fences_nobody_for_its_own_silence() {
    let image = cluster(2);
    let mut liveness = controller();
    run(&mut liveness, &image, 100, 1000, &[node(1), node(2)]);
    assert_eq!(run(&mut liveness, &image, 9000, 11_000, &[]), vec![]);
}

#[test]
fn a_node_that_is_gone_is_fenced_at_once_unless_it_is_heard_of() {
    let image = cluster(2);
    let mut liveness = controller();
    run(&mut liveness, &image, 100, 500, &[node(1), node(2)]);
    liveness.suspect(node(1), at(510));
    liveness.suspect(node(2), at(510));
    let decisions = run(&mut liveness, &image, 600, 600, &[node(1)]);
    assert!(matches!(
        decisions[..],
        [Decision::Fence { node: fenced, why: FenceReason::Gone, .. }] if fenced == node(2)
    ));
}

#[test]
fn a_node_that_is_gone_is_trusted_again_only_when_it_is_heard_of() {
    let mut image = cluster(3);
    let mut liveness = controller();
    let others = [node(1), node(3)];
    assert_eq!(
        run(
            &mut liveness,
            &image,
            100,
            500,
            &[node(1), node(2), node(3)]
        ),
        vec![]
    );
    liveness.suspect(node(2), at(510));
    let decisions = run(&mut liveness, &image, 520, 520, &others);
    assert_eq!(decisions.len(), 1);
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert!(!image.is_alive(node(2)));
    // What it said shortly before it went says nothing of it now.
    assert_eq!(run(&mut liveness, &image, 600, 5000, &others), vec![]);
    let decisions = run(&mut liveness, &image, 5100, 5100, &[node(2)]);
    assert!(
        matches!(decisions[..], [Decision::Unfence { .. }]),
        "{decisions:?}"
    );
}

#[test]
fn a_suspicion_of_others_is_probed_first() {
    let image = cluster(2);
    let mut liveness = controller();
    let facts = HeartbeatFacts {
        suspects: vec![node(2), node(9)],
        ..well(&image)
    };
    liveness.heartbeat(node(1), epoch(&image, node(1)), at(100), facts);
    let decisions = liveness.tick(at(100), &image);
    assert_eq!(decisions, [Decision::Probe { node: node(2) }]);
    assert_eq!(liveness.tick(at(200), &image), vec![]);
}

#[test]
fn a_fenced_node_is_trusted_once_it_knows_of_its_registration() {
    let mut image = cluster(1);
    let records = rules::register_node(&image, &registration(1, 2));
    apply(&mut image, records);
    let mut liveness = controller();
    let facts = |image: &Image, behind| HeartbeatFacts {
        applied_version: image.version() - behind,
        ..well(image)
    };
    let mut decide = |behind, ready| {
        let facts = HeartbeatFacts {
            ready,
            ..facts(&image, behind)
        };
        liveness.heartbeat(node(1), epoch(&image, node(1)), at(10), facts);
        liveness.tick(at(10), &image)
    };
    assert_eq!(decide(1, true), vec![]);
    assert_eq!(decide(0, false), vec![]);
    let decisions = decide(0, true);
    assert!(matches!(decisions[..], [Decision::Unfence { .. }]));
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert!(image.is_usable(node(1)));
}

#[test]
fn an_earlier_process_is_told_and_does_not_count() {
    let mut image = cluster(1);
    let old = epoch(&image, node(1));
    fence(&mut image, node(1));
    let records = rules::register_node(&image, &registration(1, 2));
    apply(&mut image, records);
    let mut liveness = controller();
    liveness.heartbeat(node(1), old, at(10), well(&image));
    assert_eq!(liveness.tick(at(10), &image), vec![]);
    assert!(Liveness::standing(&image, node(1), old).stale_epoch);
    let standing = Liveness::standing(&image, node(1), epoch(&image, node(1)));
    assert!(standing.fenced && !standing.stale_epoch);
}

#[test]
fn a_sick_disk_costs_the_leaderships_and_a_failed_one_everything() {
    let mut image = cluster(2);
    create_on(&mut image, &[1, 2], &[]);
    let mut liveness = controller();
    let mut decide = |image: &Image, disk| {
        let facts = HeartbeatFacts {
            disk,
            ..well(image)
        };
        liveness.heartbeat(node(1), epoch(image, node(1)), at(10), facts);
        liveness.tick(at(10), image)
    };
    let decisions = decide(&image, DiskState::Slow);
    let ill = BTreeSet::from([node(1)]);
    let resign = Decision::Resign {
        node: node(1),
        broker_epoch: epoch(&image, node(1)),
        ill,
    };
    assert_eq!(decisions, [resign]);
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert_eq!(partition(&image).leader, Some(node(2)));
    assert_eq!(decide(&image, DiskState::Slow), vec![]);
    let decisions = decide(&image, DiskState::Failed);
    let failed = FenceReason::DiskFailed;
    assert!(matches!(decisions[..], [Decision::Fence { why, .. }] if why == failed));
}

#[test]
fn two_sick_disks_do_not_hand_leaderships_to_each_other() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[]);
    let mut liveness = controller();
    let beat = |liveness: &mut Liveness, image: &Image, of: u32, disk| {
        let facts = HeartbeatFacts {
            disk,
            ..well(image)
        };
        liveness.heartbeat(node(of), epoch(image, node(of)), at(10), facts);
    };
    beat(&mut liveness, &image, 1, DiskState::Full);
    beat(&mut liveness, &image, 2, DiskState::Slow);
    let decisions = liveness.tick(at(10), &image);
    assert_eq!(decisions.len(), 1);
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert_eq!(partition(&image).leader, Some(node(3)), "who is well");
    beat(&mut liveness, &image, 3, DiskState::Slow);
    assert_eq!(liveness.tick(at(10), &image), vec![], "nobody is better");
}

#[test]
fn who_alone_is_left_and_lost_its_tail_begins_another_term() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[]);
    let of_1 = epoch(&image, node(1));
    let begun = |image: &Image| rules::begin_again(image, node(1), of_1, KEY);
    assert_eq!(begun(&image), Ok(vec![]), "others have what it lost");
    propose(&mut image, &[1]);
    let before = partition(&image).leader_epoch;
    let records = begun(&image);
    apply(&mut image, records);
    let after = partition(&image);
    assert_eq!(after.leader, Some(node(1)));
    assert!(after.leader_epoch > before);
    assert_eq!(after.unclean_epoch, Some(after.leader_epoch));
}

#[test]
fn a_node_that_stops_is_drained_and_told_when_it_may_go() {
    let mut image = cluster(2);
    create_on(&mut image, &[1, 2], &[]);
    let mut liveness = controller();
    let facts = HeartbeatFacts {
        drain: true,
        ..well(&image)
    };
    let of_1 = epoch(&image, node(1));
    liveness.heartbeat(node(1), of_1, at(10), facts);
    let decisions = liveness.tick(at(10), &image);
    let drain = Decision::Drain {
        node: node(1),
        broker_epoch: of_1,
    };
    assert_eq!(decisions, [drain]);
    assert!(!Liveness::standing(&image, node(1), of_1).drained);
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert!(Liveness::standing(&image, node(1), of_1).drained);
    assert_eq!(liveness.tick(at(10), &image), vec![]);
}

#[test]
fn a_node_is_stable_when_it_was_well_for_long() {
    let image = cluster(1);
    let mut liveness = controller();
    run(&mut liveness, &image, 100, 299_900, &[node(1)]);
    assert!(liveness.stable(at(299_900)).is_empty());
    run(&mut liveness, &image, 300_000, 300_200, &[node(1)]);
    assert_eq!(liveness.stable(at(300_200)).len(), 1);
}

#[test]
fn who_comes_back_with_a_log_it_cannot_use_leaves_it_to_others_first() {
    let mut image = cluster(3);
    let min_2 = ("min.insync.replicas", "2");
    create_on(&mut image, &[1, 2], &[min_2]);
    for id in [1, 2] {
        fence(&mut image, node(id));
    }
    assert_eq!(partition(&image).elr.len(), 2);
    let mut liveness = controller();
    let mut decide = |image: &Image, id| {
        let facts = HeartbeatFacts {
            offline: vec![KEY],
            ..well(image)
        };
        liveness.heartbeat(node(id), epoch(image, node(id)), at(10), facts);
        liveness.tick(at(10), image)
    };
    let decisions = decide(&image, 1);
    assert!(
        matches!(decisions[..], [Decision::Offline { .. }]),
        "{decisions:?}"
    );
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    let decisions = decide(&image, 1);
    assert!(
        matches!(decisions[..], [Decision::Unfence { .. }]),
        "{decisions:?}"
    );
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert_eq!(partition(&image).leader, None);
    // What the last one has left is all there is.
    let decisions = decide(&image, 2);
    let of = |d: &Decision| matches!(d, Decision::Unfence { node: id, .. } if *id == node(2));
    assert!(decisions.iter().any(of), "{decisions:?}");
}

#[test]
fn a_replica_that_cannot_be_used_is_taken_out_once_for_each_word_of_it() {
    let mut image = cluster(3);
    create_on(&mut image, &[1, 2, 3], &[("min.insync.replicas", "2")]);
    let mut liveness = controller();
    let facts = HeartbeatFacts {
        offline: vec![KEY],
        ..well(&image)
    };
    let of_3 = epoch(&image, node(3));
    liveness.heartbeat(node(3), of_3, at(100), facts.clone());
    let decisions = liveness.tick(at(100), &image);
    assert!(matches!(decisions[..], [Decision::Offline { .. }]));
    let records = decisions[0].records(&image);
    apply(&mut image, records);
    assert_eq!(partition(&image).isr.len(), 2);
    // Its log is in order again, and its leader takes it in before it is heard of again.
    propose(&mut image, &[1, 2, 3]);
    assert_eq!(liveness.tick(at(200), &image), vec![]);
    assert_eq!(liveness.tick(at(300), &image), vec![]);
    liveness.heartbeat(node(3), of_3, at(400), facts);
    let decisions = liveness.tick(at(400), &image);
    assert!(matches!(decisions[..], [Decision::Offline { .. }]));
}
