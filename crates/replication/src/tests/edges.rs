//! Guards that another guard stands behind, each on its own.

use super::follower::{OWN, answer, follower, head, log};
use super::leader::{Rig, members, view};
use super::{at, epoch, ms, node, uptime};
use crate::follower::{FollowerAction, FollowerState, Verdict};
use crate::leader::{Decision, LeaderAction, Lease};
use crate::session::CloseWhy;
use plimsoll_types::{LeaderEpoch, PartitionEpoch};

#[test]
pub(super) fn every_session_begins_with_a_position_of_nothing() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.out.clear();
    rig.attach(2, 100);
    let fresh = |action: &LeaderAction| matches!(action, LeaderAction::SetRule { fresh, .. } if *fresh == [node(2)]);
    assert!(rig.out.iter().any(fresh), "{:?}", rig.out);
}

#[test]
pub(super) fn scenario_17_a_joiner_that_restarted_since_is_not_proposed() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    rig.run(500);
    // The link of the process before still stands when the new one registers.
    let mut restarted = view(1, &[1, 2], 2);
    restarted.replicas[2].broker_epoch = Some(uptime(44));
    restarted.replicas[2].eligible = true;
    let now = rig.now();
    rig.leader.metadata(restarted, now, &mut rig.out);
    rig.out.clear();
    assert_eq!(rig.run(5000), None);
}

#[test]
pub(super) fn older_metadata_changes_nothing() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    let now = rig.now();
    rig.leader
        .metadata(view(4, &[1, 2, 3], 2), now, &mut rig.out);
    rig.leader.metadata(view(3, &[1], 1), now, &mut rig.out);
    assert_eq!(rig.leader.partition_epoch(), PartitionEpoch(4));
    assert_eq!(rig.leader.rule().maximal_isr.len(), 3);
}

#[test]
pub(super) fn scenario_48_a_leaver_counts_until_the_metadata_tells_by_which_min_isr_it_left() {
    let mut rig = Rig::new(&[1, 2], 1);
    rig.attach(2, 100);
    (rig.log_end, rig.ends[0]) = (200, 100);
    let (_, proposal) = rig.run(20_000).unwrap();
    assert_eq!(members(&proposal), [1]);
    // Min ISR was raised to 2 meanwhile, so 2 left into the ELR. The answer is here first.
    let (now, done) = (rig.now(), Decision::Committed(PartitionEpoch(2)));
    rig.leader
        .decided(PartitionEpoch(1), done, now, &mut rig.out);
    assert!(rig.leader.rule().maximal_isr.contains(&node(2)));
    let mut seen = view(2, &[1], 2);
    seen.elr = vec![node(2)];
    rig.leader.metadata(seen, now, &mut rig.out);
    let rule = rig.leader.rule();
    assert!(rule.committed_isr < rule.min_isr, "nothing is committed");
}

#[test]
pub(super) fn scenario_4_no_echo_is_a_lease_below_min_isr() {
    let mut rig = Rig::new(&[1, 2], 3);
    rig.attach(2, 100);
    rig.now = 5000;
    rig.tick();
    assert_eq!(rig.leader.lease(), Lease::Both(ms(5495)));
    // Alone it has nobody to grant it anything.
    let mut rig = Rig::new(&[1], 3);
    rig.tick();
    assert_eq!(rig.leader.lease(), Lease::Controller);
}

#[test]
fn acks_that_cross_a_reset_end_no_session() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    let session = rig.attach(3, 40);
    let now = rig.now();
    rig.leader
        .behind_log_start(session, at(70), now, &mut rig.out);
    rig.out.clear();
    assert!(!rig.leader.first_ack(session, at(45), now, &mut rig.out));
    assert_eq!(rig.out, [], "from before the reset");
    assert!(rig.leader.first_ack(session, at(70), now, &mut rig.out));
}

#[test]
pub(super) fn an_answer_of_another_epoch_is_turned_down() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    let mut other = answer(1, None, &OWN);
    other.leader_epoch = LeaderEpoch::new(7);
    follower.attached(&other, &log(70), ms(1), &mut out);
    assert!(out.contains(&FollowerAction::Detach { session: 1 }));
    assert!(matches!(follower.state(), FollowerState::Attaching { .. }));
}

#[test]
pub(super) fn scenario_10_an_own_epoch_without_records_is_forgotten_though_nothing_is_cut() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    out.clear();
    // It led epoch 5 from its end on and wrote nothing; the leader never heard of that.
    let own = [epoch(4, 0), epoch(5, 100)];
    let mine = crate::follower::LocalLog {
        epochs: &own,
        ..log(70)
    };
    follower.attached(&answer(1, None, &[epoch(4, 0)]), &mine, ms(1), &mut out);
    let forgets = FollowerAction::Truncate {
        to: at(100),
        epochs: vec![epoch(4, 0)],
        allow_below_high_watermark: false,
    };
    assert!(out.contains(&forgets), "{out:?}");
}

#[test]
pub(super) fn it_cuts_where_its_own_epochs_part_whatever_it_is_told() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    out.clear();
    // Epoch 4 ended at 80 here; what is after that is of an epoch that the leader does not have.
    follower.attached(
        &answer(1, Some(95), &[epoch(4, 0)]),
        &log(70),
        ms(1),
        &mut out,
    );
    let cuts = |action: &FollowerAction| matches!(action, FollowerAction::Truncate { to, .. } if *to == at(80));
    assert!(out.iter().any(cuts), "{out:?}");
}

#[test]
pub(super) fn a_cut_that_ends_elsewhere_is_agreed_on_anew() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    let leaders = [epoch(4, 0), epoch(6, 80)];
    follower.attached(&answer(1, Some(80), &leaders), &log(70), ms(1), &mut out);
    out.clear();
    // A batch reached across 80.
    follower.worked(Ok(at(75)), ms(2), &mut out);
    assert!(out.contains(&FollowerAction::Detach { session: 1 }));
    assert!(!out.contains(&FollowerAction::SendAck { session: 1 }));
}

#[test]
pub(super) fn an_append_of_another_session_is_dropped() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    follower.attached(&answer(1, None, &OWN), &log(70), ms(1), &mut out);
    let verdict = follower.append(&head(9, 100), at(100), ms(2), &mut out);
    assert_eq!(verdict, Verdict::Drop);
}

#[test]
pub(super) fn a_session_that_confirms_another_end_is_closed() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach_as(2, 100, 20, 5);
    let (session, now) = (rig.next_session, rig.now());
    rig.out.clear();
    assert!(!rig.leader.first_ack(session, at(99), now, &mut rig.out));
    let closed = LeaderAction::CloseSession {
        node: node(2),
        session,
        why: CloseWhy::Disagreed,
    };
    assert!(rig.out.contains(&closed));
}

#[test]
fn scenario_38_who_comes_and_goes_waits_though_too_few_are_in_sync() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    let (mut version, mut waits) = (1, Vec::new());
    // The controller takes it out again and again, whatever the leader thinks of it.
    for _ in 0..4 {
        for isr in [&[1][..], &[1, 2][..]] {
            let from = rig.now;
            if isr.len() == 2 {
                let (when, _) = rig.run(from + 5000).unwrap();
                waits.push(when - from);
            }
            version += 1;
            let now = rig.now();
            rig.leader
                .metadata(view(version, isr, 2), now, &mut rig.out);
        }
    }
    assert!(waits[0] <= 100, "{waits:?}");
    assert!(waits[1..].iter().all(|wait| *wait >= 1000), "{waits:?}");
}

#[test]
pub(super) fn scenario_48_who_is_eligible_counts_until_the_metadata_tells_otherwise() {
    let mut rig = Rig::new(&[1], 2);
    let mut eligible = view(2, &[1], 2);
    eligible.elr = vec![node(3)];
    let now = rig.now();
    rig.leader.metadata(eligible, now, &mut rig.out);
    rig.attach(2, 100);
    let (_, proposal) = rig.run(500).unwrap();
    assert_eq!(members(&proposal), [1, 2]);
    // Committed after min ISR was raised to three, of which nobody has told here: replica 3 may be
    // elected still.
    let now = rig.now();
    let committed = Decision::Committed(PartitionEpoch(3));
    rig.leader
        .decided(PartitionEpoch(2), committed, now, &mut rig.out);
    let rule = rig.leader.rule();
    assert!(rule.committed_isr >= rule.min_isr, "it may commit");
    assert_eq!(rule.maximal_isr, [node(1), node(2), node(3)]);
    rig.leader.metadata(view(3, &[1, 2], 2), now, &mut rig.out);
    assert_eq!(rig.leader.rule().maximal_isr, [node(1), node(2)]);
}
