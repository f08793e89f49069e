//! Replicas of one partition on a few nodes come into step, whatever happens between them.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(missing_docs, reason = "tests say what they show by name")]

mod common;
#[path = "common/order.rs"]
mod order;
#[path = "common/safety.rs"]
mod safety;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use common::{World, batch, node};
use plimsoll_partition::Durability;
use plimsoll_replicator::{Config, Report, StreamFrame};
use plimsoll_types::LeaderEpoch;

/// Small windows and frames, so that little data meets every limit.
pub(crate) fn small() -> Config {
    Config {
        window_bytes: 16 << 10,
        chunk_bytes: 2 << 10,
        turn_bytes: 8 << 10,
        ..Config::agreed()
    }
}

pub(crate) fn fill(world: &World, leader: u32, batches: u8, bytes: usize) {
    for n in 0..batches {
        assert!(world.append(leader, batch(bytes, n)));
    }
}

#[test]
fn followers_take_what_is_appended() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 20, 300);
    world.pump();
    assert_eq!(world.log_end(3), 20);
    assert_eq!(world.high_watermark(1), 20);
    world.pass(100);
    world.assert_in_step();
    assert_eq!(world.counter(1, "missed_rings"), 0);
}

#[test]
fn a_replica_outside_the_isr_catches_up_and_joins() {
    let mut world = World::new(2, &[1], small());
    fill(&world, 1, 50, 1000);
    world.pass(2000);
    world.assert_in_step();
}

#[test]
fn a_batch_of_any_size_gets_through() {
    let window = small().window_bytes as usize;
    let mut world = World::new(3, &[1, 2, 3], small());
    for bytes in [
        window - 100,
        window,
        window + 1,
        10 * window,
        100,
        100 * window,
    ] {
        assert!(world.append(1, batch(bytes, 1)));
        assert!(world.append(1, batch(10, 2)));
    }
    world.pass(200);
    world.assert_in_step();
}

#[test]
fn limits_that_were_lowered_stop_nothing() {
    let mut world = World::new(2, &[1, 2], Config::agreed());
    fill(&world, 1, 3, 1 << 20);
    world.pass(100);
    world.stop(2);
    world.change(|view| view.isr.truncate(1));
    fill(&world, 1, 3, 1 << 20);
    world.config = small();
    world.config.window_bytes = 100;
    world.start(2);
    world.apply();
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_follower_that_restarts_goes_on() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(100);
    world.stop(2);
    world.change(|view| view.isr.retain(|node| node.get() != 2));
    fill(&world, 1, 10, 300);
    world.pass(100);
    assert_eq!(world.high_watermark(1), 20);
    world.start(2);
    world.apply();
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_follower_that_registers_anew_is_linked_anew() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(100);
    world.register_anew(2);
    // Its session ends, and it attaches again on a link that stands.
    world.elect(1, &[1, 2, 3]);
    fill(&world, 1, 10, 300);
    world.pass(300);
    assert_eq!(world.high_watermark(1), 20);
    world.assert_in_step();
}

#[test]
fn a_follower_with_a_new_disk_copies_all() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(100);
    world.stop(3);
    world.wipe(3);
    world.change(|view| view.isr.retain(|node| node.get() != 3));
    fill(&world, 1, 10, 300);
    world.start(3);
    world.apply();
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn an_old_leaders_uncommitted_tail_goes() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(100);
    // Node 1 leads on alone for a while, and what it takes is never committed.
    world.held.extend([2, 3]);
    fill(&world, 1, 7, 500);
    world.pump();
    assert_eq!(world.high_watermark(1), 10);
    world.held.clear();
    world.parted.insert(1);
    world.elect(2, &[2, 3]);
    fill(&world, 2, 4, 200);
    world.pass(300);
    world.parted.clear();
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(world.log_end(1), 14);
    assert_eq!(world.counter(1, "truncations"), 1);
}

#[test]
fn a_leader_that_may_be_alive_is_waited_for_and_a_dead_one_is_not() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(100);
    world.stop(1);
    world.elect_now(2, &[2, 3]);
    world.pass(100);
    assert!(!world.append(2, batch(300, 1)), "1 may count on its lease");
    world.refused(1);
    assert!(world.append(2, batch(300, 1)), "the dead count on nothing");
    // Those that die before the next is elected are not waited for either.
    world.pass(600);
    assert_eq!(world.high_watermark(2), 11);
    world.start(1);
    world.apply();
    world.pass(3000);
    world.change(|view| view.isr = [1, 2, 3].map(node).to_vec());
    world.pass(300);
    world.stop(2);
    world.refused(2);
    world.elect_now(3, &[1, 3]);
    assert!(world.append(3, batch(300, 1)), "the dead count on nothing");
    world.pass(300);
    assert_eq!(world.high_watermark(3), 12);
    // What was granted to the node's next process counts again.
    world.start(2);
    world.apply();
    world.pass(3000);
    world.elect(2, &[1, 2, 3]);
    world.pass(300);
    world.stop(2);
    world.elect_now(3, &[1, 3]);
    world.pass(100);
    assert!(!world.append(3, batch(300, 1)), "2 may count on its lease");
    world.pass(600);
    assert!(world.append(3, batch(300, 1)), "no longer");
}

#[test]
fn a_leader_whose_epoch_holds_no_record_is_followed() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 5, 300);
    world.pass(100);
    for round in 0..4 {
        world.elect(1 + round % 3, &[1, 2, 3]);
    }
    world.pass(500);
    fill(&world, 1, 5, 300);
    world.pass(2000);
    world.assert_in_step();
}

#[test]
fn a_damaged_run_is_refused_and_sent_again() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 5, 300);
    world.pass(100);
    let mut left = 1;
    world.meddler = Box::new(move |frame| {
        if let StreamFrame::Append(append) = frame
            && left > 0
        {
            left -= 1;
            let mut bytes = append.records.to_bytes().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            append.records = Bytes::from(bytes).into();
        }
        true
    });
    fill(&world, 1, 5, 300);
    world.pass(500);
    world.assert_in_step();
    assert_eq!(world.counter(2, "bad_runs"), 1);
    assert_eq!(world.counter(1, "nacks"), 1);
    assert_eq!(world.counter(1, "own_damage"), 0);
}

#[test]
fn a_follower_that_hangs_leaves_the_isr_and_comes_back() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 5, 300);
    // A leader gives its followers a moment to find it.
    world.pass(1200);
    world.held.insert(3);
    fill(&world, 1, 5, 300);
    world.pass(500);
    assert_eq!(world.high_watermark(1), 5);
    let row = world.status(1, 3);
    assert_eq!((row.in_isr, row.behind), (true, 5));
    world.pass(1000);
    let row = world.status(1, 3);
    assert!(!row.in_isr);
    assert!(row.diagnosis.cause.is_some(), "{}", row.diagnosis);
    assert_eq!(world.high_watermark(1), 10);
    assert_eq!(world.view.isr.len(), 2);
    world.held.clear();
    world.pass(5000);
    world.assert_in_step();
    assert_eq!(world.status(1, 3).diagnosis.cause, None);
}

#[test]
fn a_connection_may_break_at_any_frame() {
    for cut in 0..60 {
        let mut world = World::new(3, &[1, 2, 3], small());
        let seen = Arc::new(AtomicU64::new(0));
        world.meddler = Box::new(move |_| seen.fetch_add(1, Relaxed) != cut);
        for bytes in [300, 5000, 40_000, 100] {
            assert!(world.append(1, batch(bytes, 3)));
            world.pump();
        }
        world.pass(3000);
        world.assert_in_step();
    }
}

#[test]
fn a_follower_below_the_leaders_log_start_begins_anew() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 5, 300);
    world.pass(100);
    world.stop(2);
    world.change(|view| view.isr.truncate(1));
    fill(&world, 1, 15, 300);
    let leader = world.nodes[&1].partition.clone().unwrap();
    leader
        .delete_records(Some(plimsoll_types::Offset::new(12)))
        .unwrap();
    world.start(2);
    world.apply();
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(world.counter(2, "resets"), 1);
}

#[test]
fn a_ring_that_is_missed_is_healed_by_the_tick() {
    let deaf = BTreeSet::from([1]);
    let mut world = World::with(2, &[1, 2], small(), Durability::Os, deaf);
    world.pass(200);
    fill(&world, 1, 5, 300);
    world.pump();
    assert_eq!(world.log_end(2), 0, "nobody was told");
    world.pass(500);
    world.assert_in_step();
    assert!(world.counter(1, "missed_rings") > 0);
}

#[test]
fn what_counts_once_synced_is_committed_once_synced_everywhere() {
    let mut world = World::with(3, &[1, 2, 3], small(), Durability::Fsync, BTreeSet::new());
    fill(&world, 1, 20, 300);
    for _ in 0..1_000_000 {
        world.pump();
        if world.high_watermark(1) == 20 {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(world.high_watermark(1), 20);
    world.pass(200);
    world.assert_in_step();
}

#[test]
fn committed_records_are_not_cut_without_an_unclean_election() {
    let mut world = World::new(3, &[1, 2], small());
    world.held.insert(3);
    fill(&world, 1, 10, 300);
    world.pass(100);
    assert_eq!(world.high_watermark(2), 10);
    world.held.clear();
    world.parted.extend([1, 2]);
    world.elect(3, &[3]);
    fill(&world, 3, 2, 300);
    world.parted.clear();
    world.pass(1000);
    assert_eq!(world.log_end(2), 10, "kept");
    let reports = world.nodes[&2].replicas.take_reports();
    assert!(
        matches!(reports.first(), Some(Report::Diverged { .. })),
        "{reports:?}"
    );
    // A person decides that what node 3 has is the truth.
    world.change(|view| view.unclean_epoch = Some(LeaderEpoch::new(2)));
    world.pass(35_000);
    world.assert_in_step();
    assert_eq!(world.log_end(1), 2);
}

#[test]
fn a_flipped_bit_on_a_follower_is_found_and_copied_over() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 20, 300);
    world.pass(200);
    world.check(2);
    assert_eq!(world.nodes[&2].replicas.take_reports(), []);
    assert!(world.counter(2, "checks") > 0);
    world.flip(3);
    world.check(3);
    let reports = world.nodes[&3].replicas.take_reports();
    assert!(
        matches!(
            reports.first(),
            Some(Report::Corrupt { leading: false, .. })
        ),
        "{reports:?}"
    );
    world.change(|view| view.isr.retain(|node| node.get() != 3));
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(world.counter(3, "resets"), 1);
}

#[test]
fn a_flipped_bit_on_the_leader_is_never_shipped() {
    let mut world = World::new(3, &[1, 2], small());
    world.held.insert(3);
    fill(&world, 1, 20, 300);
    world.pass(200);
    world.flip(1);
    // It asks with a digest, and the leader finds its own damage.
    world.check(2);
    let reports = world.nodes[&1].replicas.take_reports();
    assert!(
        matches!(reports.first(), Some(Report::Corrupt { leading: true, .. })),
        "{reports:?}"
    );
    world.elect(2, &[2]);
    world.held.clear();
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(world.counter(1, "resets"), 1);
}
