//! What must not happen, whatever is lost, flipped or cut on the way.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use plimsoll_health::Disk;
use plimsoll_replicator::{Report, StreamFrame};

use super::common::{World, batch, key, node};
use super::{fill, small};

#[test]
fn nobody_leads_before_its_last_grant_has_run_out() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 1, 100);
    world.pass(300);
    // The leader of before is not heard of any more, and may count on what it was granted.
    world.held.insert(2);
    world.change(|view| {
        view.leader = Some(node(2));
        view.leader_epoch = view.leader_epoch.next();
    });
    world.pass(300);
    assert!(!world.append(2, batch(100, 1)));
    world.pass(400);
    assert!(world.append(2, batch(100, 1)));
    world.held.clear();
    world.pass(1000);
    world.assert_in_step();
}

#[test]
fn a_leader_that_is_there_gives_the_grant_back_and_nobody_waits() {
    // Whoever of the two hears of it first.
    for order in [[1, 2], [2, 1]] {
        let mut world = World::new(2, &[1, 2], small());
        fill(&world, 1, 1, 100);
        world.pass(300);
        let lease = |world: &World| world.nodes[&1].partition.as_ref().unwrap().lease().until;
        assert!(lease(&world) > world.now);
        world.view.leader = Some(node(2));
        world.view.leader_epoch = world.view.leader_epoch.next();
        world.view.partition_epoch.0 += 1;
        let began = world.now;
        for id in order {
            world.apply_at(id);
            world.pump();
        }
        assert!(
            lease(&world) <= world.now,
            "node 1 counts on nothing any more"
        );
        assert!(world.append(2, batch(100, 1)), "at once");
        assert_eq!(world.now, began, "no time has passed");
        world.pass(1000);
        world.assert_in_step();
    }
}

#[test]
fn a_flipped_bit_of_a_frame_is_never_appended() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 2, 20);
    world.pump();
    // Two batches a frame; every bit of their bytes once.
    let bits = {
        let bytes = world.bytes(1);
        bytes.len() * 8
    };
    for bit in 0..bits {
        let flip = std::cell::Cell::new(true);
        world.meddler = Box::new(move |frame| {
            if let StreamFrame::Append(append) = frame
                && flip.replace(false)
            {
                let mut bytes = append.records.to_bytes().to_vec();
                let at = bit % (bytes.len() * 8);
                bytes[at / 8] ^= 1 << (at % 8);
                append.records = Bytes::from(bytes).into();
            }
            true
        });
        fill(&world, 1, 2, 20);
        world.pump();
        let (ours, theirs) = (world.bytes(1), world.bytes(2));
        assert!(ours.starts_with(&theirs), "bit {bit}");
        world.pass(200);
    }
    world.meddler = Box::new(|_| true);
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(world.counter(1, "own_damage"), 0);
    assert!(world.counter(2, "bad_runs") >= bits as u64);
}

#[test]
fn a_part_of_a_batch_is_never_appended() {
    // A large batch, of which a piece is lost, doubled or of another run.
    for what in 0..4 {
        let mut world = World::new(2, &[1, 2], small());
        fill(&world, 1, 1, 100);
        world.pump();
        let mut left = 1;
        world.meddler = Box::new(move |frame| {
            if let StreamFrame::Append(append) = frame
                && append.at > 0
                && left > 0
            {
                left -= 1;
                match what {
                    0 => return false,
                    1 => append.at -= 1,
                    2 => append.total -= 1,
                    _ => append.seal ^= 1,
                }
            }
            true
        });
        assert!(world.append(1, batch(50_000, 1)));
        world.pump();
        assert!(world.log_end(2) <= 2);
        assert!(world.bytes(1).starts_with(&world.bytes(2)));
        world.pass(5000);
        world.assert_in_step();
    }
}

#[test]
fn a_damaged_replica_that_may_be_elected_keeps_its_log() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 20, 300);
    world.pass(200);
    world.view.min_isr = 2;
    let now = world.now;
    world.nodes[&3]
        .replicas
        .damaged(key(), plimsoll_types::Offset::new(3), now);
    let reports = world.nodes[&3].replicas.take_reports();
    assert!(
        matches!(reports.first(), Some(Report::Corrupt { .. })),
        "{reports:?}"
    );
    // It withdraws from its leader, so that nobody proposes it.
    world.pump();
    // Too few are in sync, and node 3 may be elected still.
    world.stop(2);
    world.change(|view| {
        view.isr = vec![node(1)];
        view.elr = vec![node(3)];
    });
    world.pass(500);
    assert_eq!(world.counter(3, "resets"), 0);
    assert_eq!(world.log_end(3), 20);
    world.change(|view| view.elr.clear());
    world.pass(500);
    assert_eq!(world.counter(3, "resets"), 1);
    world.start(2);
    world.apply();
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_member_that_lost_what_it_acknowledged_says_so_and_begins_anew() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 20, 300);
    world.pass(200);
    // Its disk is replaced, and nobody has noticed.
    world.stop(3);
    world.wipe(3);
    world.start(3);
    world.apply();
    world.pass(1000);
    let reports = world.nodes[&3].replicas.take_reports();
    assert!(
        matches!(reports.first(), Some(Report::Corrupt { .. })),
        "{reports:?}"
    );
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_replica_whose_log_was_opened_again_goes_on() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 300);
    world.pass(200);
    let now = world.now;
    world.nodes[&2].replicas.reopened(key(), now);
    fill(&world, 1, 10, 300);
    world.pass(1000);
    world.assert_in_step();
    // A leader does not lead twice in one term; in the next one it follows.
    let now = world.now;
    world.nodes[&1].replicas.reopened(key(), now);
    world.elect(2, &[1, 2, 3]);
    fill(&world, 2, 10, 300);
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_full_disk_keeps_its_replicas_away_until_there_is_room() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 5, 300);
    world.pass(200);
    world.nodes[&2].full.store(true, Relaxed);
    let full = Disk::Full {
        free_bytes: 10,
        needs_bytes: 1000,
    };
    let now = world.now;
    world.nodes[&2].replicas.set_disk(full.clone(), now);
    fill(&world, 1, 5, 300);
    world.pass(3000);
    assert_eq!(world.view.isr, [node(1)]);
    assert_eq!(world.counter(1, "nacks"), 1, "it does not try again");
    let told = world.status(2, 2).diagnosis.to_string();
    assert!(told.contains("10 B"), "{told}");
    world.nodes[&2].full.store(false, Relaxed);
    let now = world.now;
    world.nodes[&2].replicas.set_disk(Disk::Healthy, now);
    world.pass(5000);
    world.assert_in_step();
}
