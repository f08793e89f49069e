//! What a leader and its followers do, on real directories.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::*;
use plimsoll_partition::{
    AppendError, Durability, IsrRule, LeaderTerm, Lease, ReadError, ReplicateError, Role,
    RoleError, Tap,
};
use plimsoll_segment_log::Minimum;
use plimsoll_types::{Monotonic, Offset};
use plimsoll_watermark::Mark;

const OS: Durability = Durability::Os;

#[test]
fn a_replica_without_a_role_takes_and_serves_nothing() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    assert_eq!(*partition.role(), Role::Idle);
    let refused = block_on(partition.append(batch("k", &["v"])));
    assert_eq!(refused, Err(AppendError::NotLeader { role: Role::Idle }));
    let read = partition.read(Offset::ZERO, 100, Minimum::OneBatch);
    assert_eq!(read.err(), Some(ReadError::Idle));
    assert!(!partition.is_settled());
}

#[test]
fn a_follower_holds_its_leaders_bytes() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 5, rule(&[1, 2], 1));
    follower.become_follower(epoch(5), Some(node(1))).unwrap();
    for n in 0..40 {
        append(&leader, "k", &["some value", &n.to_string()]);
        if n % 7 == 0 {
            ship(&leader, &follower, 5);
        }
    }
    ship(&leader, &follower, 5);
    let end = leader.reader().log_end();
    assert_eq!(
        bytes_from(&follower, Offset::ZERO),
        bytes_from(&leader, Offset::ZERO)
    );
    assert_eq!(follower.epochs(), leader.epochs());
    let digest = leader.digest(Offset::ZERO, end).unwrap().unwrap();
    assert_eq!(digest.batches, 40);
    assert_eq!(follower.digest(Offset::ZERO, end).unwrap(), Some(digest));
    assert_ne!(follower.digest(Offset::ZERO, at(78)).unwrap(), Some(digest));
    assert_eq!(follower.digest(at(1), end).unwrap(), None, "inside a batch");
    assert_eq!(follower.digest(Offset::ZERO, end + 2).unwrap(), None);
}

#[test]
fn a_batch_that_was_cut_or_changed_on_the_way_is_refused_and_comes_again() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 5, rule(&[1, 2], 1));
    follower.become_follower(epoch(5), Some(node(1))).unwrap();
    append(&leader, "k", &["first", "second"]);
    append(&leader, "k", &["third"]);
    let whole = bytes_from(&leader, Offset::ZERO);
    let give = |bytes: &[u8]| {
        follower.append_replicated(epoch(5), Offset::ZERO, &Bytes::copy_from_slice(bytes))
    };
    for length in 1..whole.len() {
        let first = leader.digest(Offset::ZERO, at(2)).unwrap().unwrap().bytes;
        if length as u64 != first {
            let refused = give(&whole[..length]);
            assert!(
                matches!(refused, Err(ReplicateError::Corrupt { .. })),
                "{length}: {refused:?}"
            );
        }
    }
    // The leader epoch (12..16) is outside of the checksum; above the sender's it is refused.
    for bit in (0..whole.len() * 8).filter(|bit| !(12..16).contains(&(bit / 8))) {
        let mut changed = whole.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let epoch_of_second = {
            let first = usize::try_from(leader.digest(Offset::ZERO, at(2)).unwrap().unwrap().bytes);
            let first = first.unwrap();
            (first + 12..first + 16).contains(&(bit / 8))
        };
        if !epoch_of_second {
            assert!(give(&changed).is_err(), "bit {bit}");
        }
    }
    assert_eq!(
        follower.reader().log_end(),
        Offset::ZERO,
        "nothing was taken"
    );
    assert_eq!(give(&whole), Ok(at(3)));
    assert_eq!(bytes_from(&follower, Offset::ZERO), whole);
}

#[test]
fn a_follower_takes_only_what_continues_its_log_in_its_epoch() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 5, rule(&[1, 2], 1));
    append(&leader, "k", &["a"]);
    append(&leader, "k", &["b"]);
    let whole = bytes_from(&leader, Offset::ZERO);
    let early = follower.append_replicated(epoch(5), Offset::ZERO, &whole);
    assert!(matches!(early, Err(ReplicateError::NotFollower { .. })));
    follower.become_follower(epoch(4), Some(node(1))).unwrap();
    let newer = follower.append_replicated(epoch(4), Offset::ZERO, &whole);
    assert!(matches!(newer, Err(ReplicateError::Epoch { .. })));
    follower.become_follower(epoch(5), Some(node(1))).unwrap();
    let second = bytes_from(&leader, at(1));
    let gap = Err(ReplicateError::Gap {
        expected: at(0),
        got: at(1),
    });
    assert_eq!(follower.append_replicated(epoch(5), at(1), &second), gap);
    assert_eq!(follower.append_replicated(epoch(5), at(0), &second), gap);
    ship(&leader, &follower, 5);
    let again = follower.append_replicated(epoch(5), Offset::ZERO, &whole);
    assert_eq!(
        again,
        Err(ReplicateError::Gap {
            expected: at(2),
            got: at(0)
        })
    );
    // Epochs never go back in a log.
    let three = Bed::new(3);
    let other = three.open(config(OS));
    lead(&other, 3, rule(&[1, 2], 1));
    append(&other, "k", &["x"]);
    append(&other, "k", &["y"]);
    append(&other, "k", &["z"]);
    let old = bytes_from(&other, at(2));
    let back = follower.append_replicated(epoch(5), at(2), &old);
    assert!(
        matches!(back, Err(ReplicateError::Epoch { .. })),
        "{back:?}"
    );
}

#[test]
fn nobody_leads_twice_in_one_epoch_or_in_an_old_one() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    assert_eq!(lead(&partition, 5, IsrRule::alone()), Offset::ZERO);
    append(&partition, "k", &["a"]);
    // Asked again in the same term, the term goes on.
    assert_eq!(lead(&partition, 5, IsrRule::alone()), Offset::ZERO);
    partition.become_follower(epoch(5), None).unwrap();
    let again = |in_epoch| {
        partition.become_leader(LeaderTerm {
            leader_epoch: epoch(in_epoch),
            rule: IsrRule::alone(),
        })
    };
    assert!(matches!(again(5), Err(RoleError::StaleEpoch { .. })));
    assert!(matches!(again(4), Err(RoleError::StaleEpoch { .. })));
    let late = block_on(partition.append(batch("k", &["late"])));
    assert!(matches!(late, Err(AppendError::NotLeader { .. })));
    assert_eq!(again(6), Ok(at(1)));
    assert!(partition.become_follower(epoch(5), None).is_err());
    assert!(partition.set_rule(IsrRule::alone()).is_ok());
}

#[test]
fn a_leader_commits_what_all_in_sync_replicas_have() {
    let bed = Bed::new(1);
    let leader = bed.open(config(OS));
    lead(&leader, 1, rule(&[1, 2], 2));
    append(&leader, "k", &["a", "b", "c"]);
    assert!(
        leader.is_settled(),
        "an empty log has nothing that is not known"
    );
    let two = leader.follower_position(node(2)).unwrap();
    assert_eq!(leader.watermarks().high_watermark(), at(0));
    assert!(leader.acked(&two, at(2), at(0)));
    assert_eq!(leader.watermarks().high_watermark(), at(2));
    // A follower that attaches anew counts from zero, and its old session not at all.
    let fresh = IsrRule {
        fresh: vec![node(2)],
        ..rule(&[1, 2], 2)
    };
    leader.set_rule(fresh).unwrap();
    assert!(!leader.acked(&two, at(3), at(3)));
    assert_eq!(leader.watermarks().high_watermark(), at(2));
    let two = leader.follower_position(node(2)).unwrap();
    assert!(leader.acked(&two, at(3), at(3)));
    // Below min ISR nothing is committed.
    leader.set_rule(rule(&[1], 2)).unwrap();
    append(&leader, "k", &["d"]);
    assert_eq!(leader.watermarks().high_watermark(), at(3));
    leader.set_rule(rule(&[1], 1)).unwrap();
    assert_eq!(leader.watermarks().high_watermark(), at(4));
}

#[test]
fn a_leader_with_fsync_counts_what_is_synced() {
    let bed = Bed::new(1);
    let leader = bed.open(config(Durability::Fsync));
    lead(&leader, 1, rule(&[1, 2], 2));
    append(&leader, "k", &["a", "b"]);
    block_on(leader.watermarks().wait(Mark::DurableEnd, at(2))).unwrap();
    let two = leader.follower_position(node(2)).unwrap();
    assert!(!leader.acked(&two, at(2), at(0)));
    assert!(leader.acked(&two, at(2), at(2)));
}

#[test]
fn a_leader_is_settled_once_it_has_committed_what_it_began_with() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    lead(&partition, 1, rule(&[1, 2], 1));
    append(&partition, "k", &["a", "b"]);
    let leso = lead(&partition, 2, rule(&[1, 2], 1));
    assert_eq!(leso, at(2));
    assert!(!partition.is_settled());
    let two = partition.follower_position(node(2)).unwrap();
    partition.acked(&two, at(2), at(2));
    assert!(partition.is_settled());
}

#[test]
fn an_epoch_without_records_is_durable_before_it_is_served() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    lead(&partition, 1, rule(&[1, 2], 1));
    append(&partition, "k", &["a"]);
    lead(&partition, 3, rule(&[1, 2], 1));
    let epochs = partition.epochs();
    drop(partition);
    let partition = bed.open(config(OS));
    assert_eq!(partition.epochs(), epochs);
    assert_eq!(partition.log_info().last_epoch, Some(epoch(3)));
}

#[test]
fn a_followers_high_watermark_is_its_leaders_as_far_as_it_has_the_log() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 1, rule(&[1, 2], 1));
    follower.become_follower(epoch(1), Some(node(1))).unwrap();
    append(&leader, "k", &["a", "b"]);
    follower.learned(epoch(1), at(2), at(0));
    assert_eq!(follower.watermarks().high_watermark(), at(0));
    ship(&leader, &follower, 1);
    assert_eq!(follower.watermarks().high_watermark(), at(2));
    append(&leader, "k", &["c", "d"]);
    ship(&leader, &follower, 1);
    follower.learned(epoch(0), at(4), at(0));
    assert_eq!(
        follower.watermarks().high_watermark(),
        at(2),
        "another leader's word"
    );
    follower.learned(epoch(1), at(3), at(0));
    follower.learned(epoch(1), at(1), at(0));
    assert_eq!(follower.watermarks().high_watermark(), at(3), "never back");
    follower.become_follower(epoch(2), None).unwrap();
    follower.learned(epoch(2), at(4), at(0));
    assert_eq!(
        follower.watermarks().high_watermark(),
        at(3),
        "nobody leads"
    );
    let read = follower
        .read(Offset::ZERO, 1 << 20, Minimum::OneBatch)
        .unwrap();
    assert_eq!(
        read.slices.next,
        at(2),
        "whole batches below the high watermark"
    );
}

#[test]
fn a_followers_log_start_follows_its_leaders() {
    let (one, two) = (Bed::new(1), Bed::new(2));
    let (leader, follower) = (one.open(config(OS)), two.open(config(OS)));
    lead(&leader, 1, rule(&[1], 1));
    follower.become_follower(epoch(1), Some(node(1))).unwrap();
    for _ in 0..20 {
        append(&leader, "k", &["some longer value"]);
    }
    ship(&leader, &follower, 1);
    let now = Monotonic::default();
    let wall = plimsoll_types::Timestamp::from_millis(1);
    follower.learned(epoch(1), at(10), at(15));
    follower.maintain(now, wall).unwrap();
    assert_eq!(
        follower.reader().log_start(),
        at(10),
        "only what is committed goes"
    );
    follower.learned(epoch(1), at(20), at(15));
    follower.maintain(now, wall).unwrap();
    assert_eq!(follower.reader().log_start(), at(15));
    assert!(
        follower.delete_records(None).is_err(),
        "a follower deletes by itself nothing"
    );
}

#[test]
fn taps_ring_when_something_moved_until_they_are_taken_away() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Tap for Count {
        fn moved(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let bed = Bed::new(1);
    let leader = bed.open(config(OS));
    lead(&leader, 1, rule(&[1, 2], 1));
    let count = Arc::new(Count::default());
    let tap: Arc<dyn Tap> = Arc::clone(&count) as Arc<dyn Tap>;
    let guard = leader.tap(&tap);
    let rings = || count.0.swap(0, Ordering::SeqCst);
    append(&leader, "k", &["a"]);
    assert!(rings() > 0, "the log end moved");
    let two = leader.follower_position(node(2)).unwrap();
    leader.acked(&two, at(1), at(1));
    assert!(rings() > 0, "the high watermark moved");
    leader.acked(&two, at(1), at(1));
    assert_eq!(rings(), 0);
    leader.become_follower(epoch(2), None).unwrap();
    assert!(rings() > 0, "the role changed");
    drop(guard);
    leader.become_follower(epoch(3), None).unwrap();
    assert_eq!(rings(), 0);
}

#[test]
fn a_lease_ends_with_its_role() {
    let bed = Bed::new(1);
    let partition = bed.open(config(OS));
    lead(&partition, 1, IsrRule::alone());
    let until = Monotonic::from_start(std::time::Duration::from_millis(77));
    partition.set_lease(Lease::granted(until));
    assert_eq!(partition.lease(), Lease::granted(until));
    partition.become_follower(epoch(2), None).unwrap();
    assert_eq!(partition.lease(), Lease::NONE);
}
