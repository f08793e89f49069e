//! What must be done before what, whoever is faster.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_replicator::{Decision, IsrProposal, Replicas, Report};
use plimsoll_types::{Offset, PartitionEpoch};

use super::common::{World, append, batch, key, node};
use super::{fill, small};

fn proposed(replicas: &Replicas) -> Vec<IsrProposal> {
    let mut cx = Context::from_waker(Waker::noop());
    match replicas.poll_proposals(&mut cx) {
        Poll::Ready(proposals) => proposals,
        Poll::Pending => Vec::new(),
    }
}

fn counted(world: &World, id: u32) -> bool {
    let leader = world.nodes[&1].partition.as_ref().unwrap();
    leader.watermarks().maximal_isr().contains(&node(id))
}

/// A leader alone with a follower that has caught up and is proposed: nobody has answered yet.
fn undecided() -> (World, IsrProposal) {
    let mut world = World::new(2, &[1], small());
    fill(&world, 1, 5, 100);
    world.pump();
    // No controller for the leader; the links stay.
    world.parted.insert(1);
    world.pass(1500);
    let proposal = proposed(&world.nodes[&1].replicas).pop().unwrap();
    assert!(
        proposal
            .new_isr
            .iter()
            .any(|(member, _)| *member == node(2))
    );
    (world, proposal)
}

#[test]
fn a_joiner_is_looked_at_only_while_it_counts() {
    let mut world = World::new(3, &[1], small());
    fill(&world, 1, 5, 100);
    world.pump();
    world.parted.insert(1);
    world.pass(1500);
    let leader = &world.nodes[&1];
    let first = proposed(&leader.replicas).pop().unwrap();
    let joins = |id| (first.new_isr.iter()).any(|(member, _)| *member == node(id));
    let (joined, next) = if joins(2) { (2, 3) } else { (3, 2) };
    // Just before the next one counts more is written, and the others have it at once.
    let partition = Arc::clone(leader.partition.as_ref().unwrap());
    let mut once = true;
    *leader.tricks.before_rule.lock() = Some(Box::new(move |rule| {
        if rule.maximal_isr.contains(&node(next)) && std::mem::take(&mut once) {
            append(&partition, batch(100, 9));
            let (marks, end) = (partition.watermarks(), partition.watermarks().log_end());
            marks.publish_follower(node(joined), end, end).unwrap();
            assert_eq!(marks.high_watermark(), end);
        }
    }));
    let committed = Decision::Committed(PartitionEpoch(2));
    leader.replicas.decided(&first, committed, world.now);
    assert!(counted(&world, next), "it is about to join");
    assert_eq!(world.high_watermark(1), 6);
    assert_eq!(proposed(&world.nodes[&1].replicas), [], "it lacks the last");
}

#[test]
fn a_proposal_that_was_refused_is_not_brought_again() {
    let (mut world, proposal) = undecided();
    // No answer for long: a copy waits to be brought.
    world.pass(1500);
    let replicas = &world.nodes[&1].replicas;
    replicas.decided(&proposal, Decision::NotAttempted, world.now);
    assert!(!counted(&world, 2));
    // It counts no more, so nothing that names it may reach the controller.
    assert_eq!(proposed(replicas), []);
}

#[test]
fn who_is_proposed_counts_though_the_log_is_opened_again() {
    let (world, _) = undecided();
    assert!(counted(&world, 2));
    world.nodes[&1].replicas.reopened(key(), world.now);
    assert!(counted(&world, 2), "the proposal may be committed still");
}

#[test]
fn a_log_that_was_looked_at_before_its_term_is_not_compared_by() {
    let mut world = World::new(3, &[1, 2, 3], small());
    fill(&world, 1, 10, 100);
    world.pass(100);
    world.held.insert(3);
    fill(&world, 1, 10, 100);
    world.pass(100);
    world.stop(2);
    world.start(2);
    // An attach that came while the leader was a follower still, and had less.
    let earlier = world.nodes[&3].partition.as_ref().unwrap().reader();
    *world.nodes[&1].tricks.earlier.lock() = Some(earlier);
    world.apply();
    world.pass(100);
    assert!(world.nodes[&1].tricks.earlier.lock().is_none());
    assert_eq!(world.counter(2, "truncations"), 0);
    assert_eq!(world.log_end(2), 20);
}

#[test]
fn nothing_keeps_a_replica_whose_links_are_gone() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 5, 100);
    world.pass(200);
    let kept = |id: &u32| Arc::downgrade(world.nodes[id].partition.as_ref().unwrap());
    let kept = [1, 2].map(|id| kept(&id));
    world.stop(2);
    world.stop(1);
    assert_eq!(kept.map(|partition| partition.strong_count()), [0, 0]);
}

#[test]
fn damage_is_told_until_the_controller_has_heard() {
    let mut world = World::new(2, &[1, 2], small());
    fill(&world, 1, 5, 100);
    world.pass(200);
    let damaged = |world: &World| {
        let told = world.nodes[&2].replicas.take_reports();
        told.iter()
            .any(|report| matches!(report, Report::Corrupt { .. }))
    };
    world.nodes[&2]
        .replicas
        .damaged(key(), Offset::ZERO, world.now);
    // The controller was away: that one is lost.
    assert!(damaged(&world));
    world.pass(1500);
    assert!(damaged(&world), "else it waits for ever");
    world.change(|view| view.isr.truncate(1));
    world.pass(3000);
    damaged(&world);
    world.pass(3000);
    assert!(!damaged(&world));
    world.assert_in_step();
}

#[test]
fn links_that_stay_keep_no_replica_that_went() {
    for id in [1, 2] {
        let mut world = World::new(2, &[1, 2], small());
        fill(&world, 1, 5, 100);
        world.pass(200);
        let gone = Arc::downgrade(world.nodes[&id].partition.as_ref().unwrap());
        world.unhost(id);
        assert_eq!(gone.strong_count(), 0, "of node {id}");
    }
}

#[test]
fn a_tick_passes_over_a_replica_whose_writer_hangs() {
    let (world, proposal) = undecided();
    let leader = &world.nodes[&1];
    let (entered, enters) = mpsc::sync_channel(1);
    let (disk, answers) = mpsc::sync_channel::<()>(1);
    *leader.tricks.before_rule.lock() = Some(Box::new(move |_| {
        let _ = entered.send(());
        let _ = answers.recv();
    }));
    let (replicas, now) = (Arc::clone(&leader.replicas), world.now);
    let hanging =
        std::thread::spawn(move || replicas.decided(&proposal, Decision::NotAttempted, now));
    enters.recv().unwrap();
    let (ticked, ticks) = mpsc::sync_channel(1);
    let replicas = Arc::clone(&leader.replicas);
    std::thread::spawn(move || {
        replicas.tick(now);
        ticked.send(())
    });
    let passed = ticks.recv_timeout(Duration::from_secs(10));
    drop(disk);
    hanging.join().unwrap();
    assert_eq!(passed, Ok(()));
    assert!(!counted(&world, 2));
}
