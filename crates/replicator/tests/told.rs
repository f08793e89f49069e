//! What is told of a replica while it is out of sync is what is the matter with it.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(missing_docs, reason = "tests say what they show by name")]
#![allow(dead_code, reason = "the world can do more than is asked of it here")]

mod common;

use std::time::Duration;

use common::{World, batch, key, node};
use plimsoll_health::{Cause, Diagnosis, ReplicaState};
use plimsoll_replicator::Config;
use plimsoll_types::Offset;

fn world(isr: &[u32]) -> World {
    World::new(3, isr, Config::agreed())
}

fn fill(world: &World, batches: u8) {
    for n in 0..batches {
        assert!(world.append(1, batch(300, n)));
    }
}

fn told(world: &World, by: u32, of: u32) -> (Option<Cause>, Diagnosis) {
    let told = world.status(by, of).diagnosis;
    (told.cause, told)
}

/// Node 3 is not among those in sync any more.
fn leaves(world: &mut World) {
    world.change(|view| view.isr.retain(|member| *member != node(3)));
}

#[test]
fn a_flipped_bit_is_the_cause_until_the_replica_is_back_in_sync() {
    let mut world = world(&[1, 2, 3]);
    fill(&world, 20);
    world.pass(200);
    world.flip(3);
    world.check(3);
    let (cause, words) = told(&world, 3, 3);
    assert_eq!(cause, Some(Cause::CorruptRange), "{words}");
    assert!(words.action.starts_with("leaving those in sync"), "{words}");
    leaves(&mut world);
    let mut copied = 0;
    for _ in 0..100 {
        let (cause, words) = told(&world, 3, 3);
        if world.status(3, 3).in_isr {
            assert_eq!(cause, None, "{words}");
            break;
        }
        assert_eq!(cause, Some(Cause::CorruptRange), "{words}");
        assert_eq!(words.state, ReplicaState::Repairing);
        copied += u32::from(world.log_end(3) == 20);
        world.pass(100);
    }
    assert!(copied > 0, "it was told of a replica that has all again");
    world.assert_in_step();
}

#[test]
fn a_log_that_is_gone_is_the_cause_until_the_replica_is_back_in_sync() {
    let mut world = world(&[1, 2, 3]);
    fill(&world, 20);
    world.pass(200);
    world.stop(3);
    world.wipe(3);
    leaves(&mut world);
    world.start(3);
    // Before it is hosted, as the node registers.
    world.nodes[&3].replicas.lost(key(), Offset::ZERO);
    world.apply();
    world.pass(500);
    let (cause, words) = told(&world, 3, 3);
    assert_eq!(cause, Some(Cause::LostLog), "{words}");
    assert_eq!(words.state, ReplicaState::Rebuilding);
    assert!(words.evidence.contains("copied to 20"), "{words}");
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(told(&world, 3, 3).0, None);
    // The next time it is another matter.
    leaves(&mut world);
    world.pass(200);
    assert_eq!(told(&world, 3, 3).0, Some(Cause::CatchingUp));
}

#[test]
fn who_came_and_went_is_told_to_be_held_back() {
    let mut world = world(&[1, 2, 3]);
    fill(&world, 20);
    world.pass(200);
    leaves(&mut world);
    world.pass(400);
    let (cause, words) = told(&world, 1, 3);
    assert_eq!(cause, Some(Cause::CatchingUp), "once is nothing: {words}");
    world.pass(3000);
    world.assert_in_step();
    leaves(&mut world);
    world.pass(400);
    let (cause, words) = told(&world, 1, 3);
    assert_eq!(cause, Some(Cause::JoinHold), "{words}");
    assert!(words.evidence.contains("2 times"), "{words}");
    let left = words.next_attempt.unwrap();
    assert!(left > Duration::from_millis(500), "{left:?}");
    world.pass(5000);
    world.assert_in_step();
}

#[test]
fn a_controller_that_does_not_answer_is_told_of() {
    let mut world = world(&[1, 2]);
    fill(&world, 20);
    world.pass(300);
    // Nobody takes what the leader proposes.
    world.parted.insert(1);
    world.pass(5000);
    let (cause, words) = told(&world, 1, 3);
    assert_eq!(cause, Some(Cause::IsrChangePending), "{words}");
    world.parted.clear();
    world.pass(3000);
    world.assert_in_step();
}

#[test]
fn a_process_that_stood_still_says_so_unless_it_kept_its_place() {
    let mut world = world(&[1, 2, 3]);
    fill(&world, 20);
    world.pass(200);
    world.now = world.now + Duration::from_secs(4);
    world.pass(100);
    assert_eq!(told(&world, 3, 3).0, None, "it kept its place");
    leaves(&mut world);
    let (cause, words) = told(&world, 3, 3);
    assert_eq!(cause, Some(Cause::PausedProcess), "{words}");
    assert!(words.evidence.contains("stood still for 4.0 s"), "{words}");
    world.pass(3000);
    world.assert_in_step();
    assert_eq!(told(&world, 3, 3).0, None);
}
