//! Making a follower fit its leader, and coming back after errors, on real directories.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::*;
use plimsoll_partition::{Durability, IsrRule, Partition, ReadError, RepairError, Role};
use plimsoll_segment_log::{FRONT_BYTES, Minimum};
use plimsoll_types::{LeaderEpoch, Offset, Timestamp};
use plimsoll_watermark::Mark;

const OS: Durability = Durability::Os;

fn epochs_of(partition: &Partition) -> Vec<(LeaderEpoch, Offset)> {
    let epochs = partition.epochs();
    let pair = |entry: &plimsoll_segment_log::EpochEntry| (entry.epoch, entry.start);
    epochs.entries().iter().map(pair).collect()
}

/// Both hold two records of epoch 1; the first went on alone in epoch 1, the second leads in 3.
fn diverged() -> (
    Bed,
    Bed,
    std::sync::Arc<Partition>,
    std::sync::Arc<Partition>,
) {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (old, new) = (one.open(config(OS)), two.open(config(OS)));
    lead(&old, 1, rule(&[1, 2], 1));
    new.become_follower(epoch(1), Some(node(1))).unwrap();
    append(&old, "k", &["a"]);
    append(&old, "k", &["b"]);
    ship(&old, &new, 1);
    append(&old, "k", &["lost"]);
    append(&old, "k", &["lost too", "and this"]);
    let rule = IsrRule {
        followers: vec![node(1)],
        maximal_isr: vec![node(1)],
        ..rule(&[1, 2], 1)
    };
    lead(&new, 3, rule);
    append(&new, "k", &["c"]);
    (one, two, old, new)
}

#[test]
fn a_former_leader_is_cut_to_where_the_logs_part_and_goes_on() {
    let (one, _two, old, new) = diverged();
    old.become_follower(epoch(3), Some(node(2))).unwrap();
    let cut = old
        .truncate_to(epoch(3), at(2), &epochs_of(&new), false)
        .unwrap();
    assert_eq!(cut, at(2));
    assert_eq!(epochs_of(&old), [(epoch(1), at(0)), (epoch(3), at(2))]);
    ship(&new, &old, 3);
    assert_eq!(
        bytes_from(&old, Offset::ZERO),
        bytes_from(&new, Offset::ZERO)
    );
    assert_eq!(old.watermarks().log_end(), at(3));
    let (bytes, epochs) = (bytes_from(&old, Offset::ZERO), old.epochs());
    drop(old);
    let old = one.open(config(OS));
    assert_eq!(
        (bytes_from(&old, Offset::ZERO), old.epochs()),
        (bytes, epochs)
    );
}

#[test]
fn what_is_known_to_be_committed_is_not_cut_unless_it_is_allowed() {
    let (one, _two, old, new) = diverged();
    let two = old.follower_position(node(2)).unwrap();
    old.acked(&two, at(5), at(5));
    assert_eq!(old.watermarks().high_watermark(), at(5));
    old.become_follower(epoch(3), Some(node(2))).unwrap();
    let leaders = epochs_of(&new);
    let refused = old.truncate_to(epoch(3), at(2), &leaders, false);
    assert!(matches!(
        refused,
        Err(RepairError::BelowHighWatermark { .. })
    ));
    assert_eq!(old.reader().log_end(), at(5));
    let kept = old.quarantine(at(2)).unwrap();
    assert_eq!(
        Bytes::from(std::fs::read(kept).unwrap()),
        bytes_from(&old, at(2))
    );
    old.truncate_to(epoch(3), at(2), &leaders, true).unwrap();
    assert_eq!(old.watermarks().high_watermark(), at(2));
    ship(&new, &old, 3);
    assert_eq!(one.files(".quarantine").len(), 1);
}

#[test]
fn a_term_without_records_is_forgotten_when_nothing_is_cut() {
    let (_one, _two, old, new) = diverged();
    old.become_follower(epoch(3), Some(node(2))).unwrap();
    old.truncate_to(epoch(3), at(2), &epochs_of(&new), false)
        .unwrap();
    ship(&new, &old, 3);
    lead(&old, 4, rule(&[1, 2], 1));
    assert_eq!(epochs_of(&old).last(), Some(&(epoch(4), at(3))));
    old.become_follower(epoch(6), Some(node(2))).unwrap();
    let mut leaders = epochs_of(&new);
    leaders.push((epoch(6), at(3)));
    leaders.push((epoch(7), at(9)));
    old.adopt_epochs(epoch(6), &leaders).unwrap();
    assert_eq!(epochs_of(&old), leaders[..3], "as far as the log reaches");
    let foreign = [(epoch(2), at(0)), (epoch(5), at(2))];
    let nothing = old.adopt_epochs(epoch(6), &foreign);
    assert!(
        matches!(nothing, Err(RepairError::Epochs(_))),
        "{nothing:?}"
    );
}

#[test]
fn only_the_leader_that_is_followed_can_cut() {
    let (_one, _two, old, new) = diverged();
    let leaders = epochs_of(&new);
    let leads = old.truncate_to(epoch(1), at(2), &leaders, false);
    assert!(matches!(leads, Err(RepairError::NotFollower { .. })));
    old.become_follower(epoch(3), Some(node(2))).unwrap();
    let late = old.truncate_to(epoch(1), at(2), &leaders, false);
    assert!(matches!(late, Err(RepairError::NotFollower { .. })));
    assert_eq!(old.reader().log_end(), at(5));
}

#[test]
fn a_replica_that_was_reset_begins_where_its_leader_does() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 1, rule(&[1], 1));
    for _ in 0..20 {
        append(&leader, "k", &["some", "longer", "value"]);
    }
    // In the middle of a batch.
    leader.delete_records(Some(at(31))).unwrap();
    lead(&leader, 4, rule(&[1], 1));
    append(&leader, "k", &["last"]);
    // It holds something else altogether.
    lead(&follower, 2, IsrRule::alone());
    append(&follower, "k", &["foreign"]);
    follower.become_follower(epoch(4), Some(node(1))).unwrap();
    follower
        .reset(epoch(4), at(30), at(31), &epochs_of(&leader))
        .unwrap();
    assert_eq!(follower.watermarks().snapshot().log_end, at(30));
    assert_eq!(two.files(".aside").len(), 1, "the old file is kept");
    drop(follower);
    let follower = two.open(config(OS));
    assert_eq!(follower.reader().log_end(), at(30), "after a restart, too");
    follower.become_follower(epoch(4), Some(node(1))).unwrap();
    let reader = leader.reader();
    let slices = reader
        .read(at(31), reader.log_end(), 1 << 20, Minimum::OneBatch)
        .unwrap();
    let all: Vec<u8> = slices.chunks.concat();
    let end = follower
        .append_replicated(epoch(4), at(30), &all.into())
        .unwrap();
    follower.learned(epoch(4), end, at(31));
    follower
        .maintain(
            plimsoll_types::Monotonic::default(),
            Timestamp::from_millis(1),
        )
        .unwrap();
    assert_eq!(follower.reader().log_start(), at(31));
    assert_eq!(bytes_from(&follower, at(31)), bytes_from(&leader, at(31)));
    assert_eq!(follower.discard_aside().unwrap(), 1);
    assert_eq!(two.files(".aside").len(), 0);
    follower.close().unwrap();
    let follower = two.open(config(OS));
    assert_eq!(follower.reader().log_start(), at(31));
    assert_eq!(epochs_of(&follower), epochs_of(&leader));
}

#[test]
fn a_compacted_log_can_be_copied_whole() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let mut compacting = config(OS);
    compacting.cleanup.compact = true;
    compacting.cleanup.delete = false;
    let (leader, follower) = (one.open(compacting), two.open(config(OS)));
    lead(&leader, 1, rule(&[1], 1));
    for n in 0..60 {
        if n == 30 {
            lead(&leader, 2, rule(&[1], 1));
        }
        append(&leader, &format!("k{}", n % 3), &["one", "two"]);
    }
    let before = leader.reader().size_bytes();
    leader
        .maintain(
            plimsoll_types::Monotonic::from_start(std::time::Duration::from_secs(61)),
            Timestamp::from_millis(5),
        )
        .unwrap();
    block_on(leader.watermarks().wait(Mark::DurableEnd, at(120))).unwrap();
    assert!(
        leader
            .compact(Timestamp::from_millis(1_000_000))
            .unwrap()
            .is_some()
    );
    assert!(leader.reader().size_bytes() < before / 2);
    follower.become_follower(epoch(2), Some(node(1))).unwrap();
    follower
        .adopt_epochs(epoch(2), &epochs_of(&leader))
        .unwrap();
    ship(&leader, &follower, 2);
    assert_eq!(follower.reader().log_end(), leader.reader().log_end());
    assert_eq!(
        bytes_from(&follower, Offset::ZERO),
        bytes_from(&leader, Offset::ZERO)
    );
    assert_eq!(epochs_of(&follower), epochs_of(&leader));
    drop(follower);
    let follower = two.open(config(OS));
    assert_eq!(
        bytes_from(&follower, Offset::ZERO),
        bytes_from(&leader, Offset::ZERO)
    );
}

/// Twelve synced records, then three whose sync failed.
fn with_a_failed_sync(bed: &Bed, partition: &Partition, append: impl Fn(&str)) {
    (0..12).for_each(|_| append("synced"));
    block_on(partition.watermarks().wait(Mark::DurableEnd, at(12))).unwrap();
    bed.broken.store(true, Ordering::SeqCst);
    let failed = partition.watermarks().wait(Mark::DurableEnd, at(15));
    (0..3).for_each(|_| append("not synced"));
    assert!(
        block_on(failed).is_err(),
        "the course ends with the failure"
    );
    assert!(partition.offline().is_some());
}

#[test]
fn a_follower_writes_anew_what_could_not_be_synced() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let leader = one.open(config(Durability::Fsync));
    let follower = two.open(config(Durability::Fsync));
    lead(&leader, 1, rule(&[1, 2], 1));
    follower.become_follower(epoch(1), Some(node(1))).unwrap();
    // The third append may meet the poison of the first already.
    let copy = |value: &str| {
        append(&leader, "k", &[value]);
        let from = follower.reader().log_end();
        let _offline = follower.append_replicated(epoch(1), from, &bytes_from(&leader, from));
    };
    with_a_failed_sync(&two, &follower, copy);
    let written_to = follower.reader().log_end();
    assert!(written_to > at(12));
    assert!(!follower.log_info().trusted);
    assert!(follower.reopen(false).is_err(), "the disk is still broken");
    assert!(follower.offline().is_some());
    two.broken.store(false, Ordering::SeqCst);
    let reopened = follower.reopen(false).unwrap();
    assert_eq!((reopened.log_end, reopened.given_up), (written_to, 0));
    assert_eq!(follower.reader().durable_end(), written_to);
    assert!(reopened.damage.is_empty());
    assert!(follower.log_info().trusted);
    assert!(follower.reopen(false).unwrap().was_online);
    ship(&leader, &follower, 1);
    block_on(follower.watermarks().wait(Mark::DurableEnd, at(15))).unwrap();
    follower.learned(epoch(1), at(15), at(0));
    assert_eq!(follower.watermarks().high_watermark(), at(15));
    assert_eq!(
        bytes_from(&follower, Offset::ZERO),
        bytes_from(&leader, Offset::ZERO)
    );
}

#[test]
fn who_is_alone_writes_anew_what_could_not_be_synced_and_leads_on() {
    let bed = Bed::new(1);
    let partition = bed.open(config(Durability::Fsync));
    lead(&partition, 1, IsrRule::alone());
    let write = |value: &str| {
        let _offline = block_on(partition.append(batch("k", &[value])));
    };
    with_a_failed_sync(&bed, &partition, write);
    let written = bytes_from(&partition, Offset::ZERO);
    bed.broken.store(false, Ordering::SeqCst);
    let reopened = partition.reopen(true).unwrap();
    assert_eq!(reopened.given_up, 0);
    assert_eq!(bytes_from(&partition, Offset::ZERO), written);
    assert!(matches!(*partition.role(), Role::Leader { .. }));
    let appended = append(&partition, "k", &["after"]);
    block_on(
        partition
            .watermarks()
            .wait(Mark::HighWatermark, appended.end),
    )
    .unwrap();
}

#[test]
fn who_led_others_does_not_lead_on_after_a_failed_sync() {
    let bed = Bed::new(1);
    let partition = bed.open(config(Durability::Fsync));
    lead(&partition, 1, rule(&[1, 2], 1));
    let write = |value: &str| {
        let _offline = block_on(partition.append(batch("k", &[value])));
    };
    with_a_failed_sync(&bed, &partition, write);
    bed.broken.store(false, Ordering::SeqCst);
    let reopened = partition.reopen(false).unwrap();
    assert_eq!(reopened.given_up, 0, "others may have lost it");
    assert_eq!(*partition.role(), Role::Idle);
    assert!(
        partition
            .become_leader(plimsoll_partition::LeaderTerm {
                leader_epoch: epoch(1),
                rule: IsrRule::alone(),
            })
            .is_err()
    );
}

#[test]
fn who_alone_is_in_sync_leads_on_in_its_epoch_when_nothing_was_given_up() {
    let bed = Bed::new(1);
    let partition = bed.open(config(Durability::Fsync));
    lead(&partition, 1, rule(&[1], 1));
    let write = |value: &str| {
        let _offline = block_on(partition.append(batch("k", &[value])));
    };
    with_a_failed_sync(&bed, &partition, write);
    let written = bytes_from(&partition, Offset::ZERO);
    bed.broken.store(false, Ordering::SeqCst);
    let reopened = partition.reopen(true).unwrap();
    assert_eq!(reopened.given_up, 0);
    assert_eq!(bytes_from(&partition, Offset::ZERO), written);
    assert!(matches!(*partition.role(), Role::Leader { .. }));
}

#[test]
fn what_cannot_be_verified_after_a_failed_sync_is_given_up() {
    let bed = Bed::new(1);
    let partition = bed.open(config(Durability::Fsync));
    lead(&partition, 1, rule(&[1], 1));
    let write = |value: &str| {
        let _offline = block_on(partition.append(batch("k", &[value])));
    };
    with_a_failed_sync(&bed, &partition, write);
    let bytes = bytes_from(&partition, at(12)).len() as u64;
    let written_to = partition.reader().log_end();
    let last = partition.reader().segments().pop().unwrap();
    assert!(last.bytes >= bytes, "it is all in the last segment");
    flip(bed.files(".log").last().unwrap(), last.bytes - bytes + 65);
    bed.broken.store(false, Ordering::SeqCst);
    let reopened = partition.reopen(false).unwrap();
    assert_eq!(reopened.log_end, at(12));
    assert_eq!(reopened.given_up, written_to.since(at(12)));
    assert!(reopened.damage.is_empty(), "nobody was promised it");
}

fn flip(file: &std::path::Path, at: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let (mut byte, at) = ([0], FRONT_BYTES + at);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[test]
fn scrubbing_finds_a_changed_bit_wherever_it_is_in_the_last_segment() {
    let bytes = {
        let bed = Bed::new(1);
        let partition = bed.open(config(OS));
        lead(&partition, 1, IsrRule::alone());
        append(&partition, "k", &["first"]);
        append(&partition, "k", &["second"]);
        partition.reader().size_bytes()
    };
    for at in 0..bytes {
        let bed = Bed::new(1);
        let partition = bed.open(config(OS));
        lead(&partition, 1, IsrRule::alone());
        append(&partition, "k", &["first"]);
        append(&partition, "k", &["second"]);
        assert!(partition.scrub(1 << 20).damage.is_empty());
        flip(&bed.files(".log")[0], at);
        let mut found = 0;
        for _ in 0..4 {
            found += partition.scrub(1 << 20).damage.len();
        }
        assert!(found > 0, "byte {at}");
    }
}

#[test]
fn scrubbing_finds_a_changed_bit_that_nobody_read() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    lead(&partition, 1, IsrRule::alone());
    for _ in 0..40 {
        append(&partition, "k", &["some longer value"]);
    }
    let round = || {
        let mut damage = Vec::new();
        for _ in 0..1_000 {
            let scrubbed = partition.scrub(300);
            damage.extend(scrubbed.damage);
            if scrubbed.wrapped {
                return damage;
            }
        }
        panic!("a round ends");
    };
    assert!(round().is_empty());
    flip(&bed.files(".log")[1], 75);
    let found = round();
    assert_eq!(found.len(), 1);
    let read = partition.read(found[0].from, 1 << 20, Minimum::OneBatch);
    assert!(
        matches!(read, Err(ReadError::Damaged { .. })),
        "it is not served any more"
    );
    partition.become_follower(epoch(2), Some(node(2))).unwrap();
    partition.reset(epoch(2), at(0), at(0), &[]).unwrap();
    assert!(partition.log_info().trusted, "it went with the old log");
}
