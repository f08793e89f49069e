//! Disks that are slow, full, failing or wrong, under one node of three.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_broker::Hosted;
use plimsoll_health::Disk;
use plimsoll_partition::Partition;
use plimsoll_segment_log::FRONT_BYTES;
use plimsoll_types::{NodeId, Offset};

use crate::replication::{in_sync, produce_somewhere, same_everywhere};
use crate::world::{World, id};
use crate::{create, leader, produce};

const TOPIC: &str = "orders";

fn all() -> [NodeId; 3] {
    [id(1), id(2), id(3)]
}

/// A cluster with a topic that has some records in partition 0, and who leads that.
fn with_records(records: u64) -> (World, NodeId) {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), TOPIC), 0);
    for _ in 0..records {
        produce_somewhere(&world, TOPIC, 0);
    }
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(records));
    let led_by = leader(&world, TOPIC, 0).unwrap();
    (world, led_by)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "not in time: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    begun.elapsed()
}

fn replica(world: &World, node: NodeId) -> std::sync::Arc<Partition> {
    let topic = world.broker(node).catalog().topic(TOPIC).unwrap();
    match topic.partitions[0].clone() {
        Hosted::Online(partition) => partition,
        Hosted::Offline(why) => panic!("{why}"),
    }
}

fn log_dir(world: &World, node: NodeId) -> PathBuf {
    let id = replica(world, node).id().topic_id;
    world.broker(node).data_dir().join(format!("{id}-0"))
}

fn segment(dir: &Path) -> std::fs::File {
    let file = dir.join(format!("{:020}.log", 0));
    let options = std::fs::File::options().read(true).write(true).open(file);
    options.unwrap()
}

fn flip_bit(file: &std::fs::File, at: u64) {
    let (mut byte, at) = ([0], FRONT_BYTES + at);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 8], at).unwrap();
}

#[test]
fn leader_with_a_slow_disk_resigns_and_evicts_nobody() {
    let (world, slow) = with_records(3);
    world.faults(slow).slow_down(Duration::from_millis(1_500));
    let begun = Instant::now();
    while leader(&world, TOPIC, 0) == Some(slow) {
        let isr = world.image().partition(TOPIC, 0).unwrap().isr.clone();
        assert!(
            all().iter().all(|node| *node == slow || isr.contains(node)),
            "a healthy follower was evicted: {isr:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15), "it leads on");
        let _late = produce(&world, slow, TOPIC, 0, -1);
    }
    let health = world.broker(slow).device().health();
    assert!(matches!(health, Disk::Slow { .. }), "{health:?}");
    produce_somewhere(&world, TOPIC, 0);
    world.faults(slow).mend();
    in_sync(&world, TOPIC, 0, 3);
    until("the disk is taken for well again", || {
        world.broker(slow).device().health() == Disk::Healthy
    });
    assert_ne!(leader(&world, TOPIC, 0), Some(slow), "not at once");
}

#[test]
fn full_disk_costs_the_leadership_and_all_resumes_once_there_is_room() {
    let (world, full) = with_records(3);
    world.faults(full).fill(true);
    until("another leads", || leader(&world, TOPIC, 0) != Some(full));
    for _ in 0..5 {
        produce_somewhere(&world, TOPIC, 0);
    }
    assert!(matches!(
        world.broker(full).device().health(),
        Disk::Full { .. }
    ));
    world.faults(full).mend();
    in_sync(&world, TOPIC, 0, 3);
    let end = replica(&world, leader(&world, TOPIC, 0).unwrap())
        .watermarks()
        .high_watermark();
    same_everywhere(&world, TOPIC, 0, &all(), end);
}

#[test]
fn replica_whose_sync_failed_gives_way_and_comes_back_by_itself() {
    let (world, failed) = with_records(3);
    let before = replica(&world, failed);
    world.faults(failed).fail_syncs(1);
    let code = produce(&world, failed, TOPIC, 0, -1);
    assert_ne!(code, 0, "what was not synced is not acknowledged");
    assert!(before.offline().is_some());
    let took = until("another leads", || leader(&world, TOPIC, 0) != Some(failed));
    assert!(took < Duration::from_secs(4), "took {took:?}");
    produce_somewhere(&world, TOPIC, 0);
    until("its log is opened again", || before.offline().is_none());
    in_sync(&world, TOPIC, 0, 3);
    produce_somewhere(&world, TOPIC, 0);
    let end = replica(&world, leader(&world, TOPIC, 0).unwrap())
        .watermarks()
        .high_watermark();
    same_everywhere(&world, TOPIC, 0, &all(), end);
}

#[test]
fn who_is_alone_keeps_what_it_has_after_a_failed_sync_and_serves_on() {
    let world = World::of(1);
    let request = crate::create_replicated(&world, id(1), TOPIC, 1);
    assert_eq!(request, 0);
    produce_somewhere(&world, TOPIC, 0);
    let alone = replica(&world, id(1));
    world.faults(id(1)).fail_syncs(1);
    assert_ne!(produce(&world, id(1), TOPIC, 0, -1), 0);
    until("its log is opened again", || alone.offline().is_none());
    produce_somewhere(&world, TOPIC, 0);
    let marks = alone.watermarks().snapshot();
    assert_eq!(marks.high_watermark, Offset::new(3), "nothing was given up");
}

#[test]
fn damaged_leader_gives_way_and_copies_its_log_again() {
    let (world, damaged) = with_records(20);
    let before = replica(&world, damaged).digest(Offset::ZERO, Offset::new(20));
    flip_bit(&segment(&log_dir(&world, damaged)), 70);
    world.broker(damaged).scrub();
    let counters = world.broker(damaged).counters();
    let found = counters
        .scrub_damage
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(found, 1);
    until("another leads", || {
        leader(&world, TOPIC, 0) != Some(damaged)
    });
    in_sync(&world, TOPIC, 0, 3);
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(20));
    let after = replica(&world, damaged).digest(Offset::ZERO, Offset::new(20));
    assert_eq!(after.unwrap(), before.unwrap());
}

#[test]
fn damaged_follower_is_found_and_copies_its_log_again() {
    let (world, led_by) = with_records(20);
    let follower = all().into_iter().find(|node| *node != led_by).unwrap();
    flip_bit(&segment(&log_dir(&world, follower)), 70);
    world.broker(follower).scrub();
    until("it begins anew", || {
        replica(&world, follower)
            .digest(Offset::ZERO, Offset::new(20))
            .is_ok_and(|digest| digest.is_some())
    });
    in_sync(&world, TOPIC, 0, 3);
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(20));
    assert_eq!(
        leader(&world, TOPIC, 0),
        Some(led_by),
        "it led all the while"
    );
}

#[test]
fn log_that_is_gone_at_a_start_is_told_and_copied_again() {
    let (mut world, led_by) = with_records(20);
    let gone = all().into_iter().find(|node| *node != led_by).unwrap();
    let dir = log_dir(&world, gone);
    until("its logs are written down", || {
        dir.parent().unwrap().join("logs.known").exists()
    });
    let kept = world.stop(gone);
    std::fs::remove_dir_all(&dir).unwrap();
    produce_somewhere(&world, TOPIC, 0);
    world.start(gone, kept);
    in_sync(&world, TOPIC, 0, 3);
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(21));
}

#[test]
fn damage_found_at_a_start_is_told_before_the_node_is_trusted() {
    let (mut world, led_by) = with_records(20);
    let damaged = all().into_iter().find(|node| *node != led_by).unwrap();
    let dir = log_dir(&world, damaged);
    let kept = world.stop(damaged);
    // What was synced and never checkpointed is read at a start.
    flip_bit(&segment(&dir), 70);
    world.start(damaged, kept);
    in_sync(&world, TOPIC, 0, 3);
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(20));
}

#[test]
fn directory_that_cannot_be_used_is_set_aside_and_copied_again() {
    let (mut world, led_by) = with_records(5);
    let broken = all().into_iter().find(|node| *node != led_by).unwrap();
    let dir = log_dir(&world, broken);
    let kept = world.stop(broken);
    std::fs::remove_file(dir.join("partition.meta")).unwrap();
    world.start(broken, kept);
    in_sync(&world, TOPIC, 0, 3);
    same_everywhere(&world, TOPIC, 0, &all(), Offset::new(5));
}
