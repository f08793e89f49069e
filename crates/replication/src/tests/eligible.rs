//! Whoever may be elected without loss, in the ISR or in the ELR, keeps what it holds.

use super::{at, epoch, key, ms, node, uptime};
use crate::follower::{
    Attached, Follower, FollowerAction, FollowerState, FollowerTerm, LocalFault, LocalLog,
};
use crate::leader::{Counts, Leader, LeaderAction, LeaderTerm, Marks, ReplicaView, Sample, View};
use crate::session::{Attach, AttachOutcome, LeaderLog, Refusal};
use crate::timing::Timing;
use plimsoll_types::{LeaderEpoch, Monotonic, Offset, PartitionEpoch};

/// Node 1 leads alone, below the two that have to be in sync; node 2 is in the ELR.
fn leader(isr: &[u32], elr: &[u32]) -> Leader {
    let replica = |id: u32| ReplicaView {
        node: node(id),
        broker_epoch: Some(uptime(u64::from(id) * 10)),
        eligible: true,
    };
    let view = View {
        partition_epoch: PartitionEpoch(1),
        replicas: (1..=3).map(replica).collect(),
        isr: isr.iter().copied().map(node).collect(),
        elr: elr.iter().copied().map(node).collect(),
        min_isr: 2,
        counts: Counts::Written,
    };
    let term = LeaderTerm {
        key: key(),
        me: node(1),
        leader_epoch: LeaderEpoch::new(5),
        epoch_start: at(50),
        view,
    };
    Leader::new(term, Timing::DEFAULT, ms(0))
}

/// Node `id` attaches with a log up to `end` of these epochs; the leader's goes from `start` to
/// 100, with a high watermark of 80.
fn attach(
    leader: &mut Leader,
    (id, session): (u32, u64),
    end: u64,
    epochs: &[crate::EpochStart],
    start: u64,
    now: Monotonic,
) -> AttachOutcome {
    let attach = Attach {
        node: node(id),
        session,
        leader_epoch: LeaderEpoch::new(5),
        broker_epoch: uptime(u64::from(id) * 10),
        log_start: Offset::ZERO,
        log_end: at(end),
        epochs,
    };
    let log = LeaderLog {
        log_start: at(start),
        reset_start: at(start),
        log_end: at(100),
        high_watermark: at(80),
        epochs: &[epoch(4, 0), epoch(5, 90)],
    };
    leader.attach(&attach, &log, now, &mut Vec::new())
}

/// Attaches again and again without ever moving; what the leader answered each time.
fn stand_still(leader: &mut Leader, id: u32) -> Vec<AttachOutcome> {
    let (mut outcomes, mut now) = (Vec::new(), 0);
    for session in 1..=12 {
        now += 3_000;
        let outcome = attach(leader, (id, session), 85, &[epoch(4, 0)], 0, ms(now));
        outcomes.push(outcome);
        let mut out = Vec::new();
        leader.first_ack(session, at(85), ms(now), &mut out);
        for _ in 0..25 {
            now += 100;
            let sample = Sample {
                node: node(id),
                log_end: at(85),
                durable_end: at(85),
                sent_end: at(100),
                heard_at: Some(ms(now)),
                echo_sent_at: Some(ms(now)),
                busy: false,
            };
            let marks = Marks {
                log_end: at(100),
                durable_end: at(100),
                high_watermark: at(80),
                followers: &[sample],
            };
            leader.tick(&marks, ms(now), &mut out);
        }
    }
    outcomes
}

fn is_reset(outcome: &AttachOutcome) -> bool {
    matches!(outcome, AttachOutcome::Reset { .. })
}

#[test]
pub(super) fn the_ladder_never_resets_who_may_be_elected() {
    let mut in_sync = leader(&[1, 2], &[]);
    assert!(!stand_still(&mut in_sync, 2).iter().any(is_reset));
    let mut eligible = leader(&[1], &[2]);
    assert!(!stand_still(&mut eligible, 2).iter().any(is_reset));
    let mut neither = leader(&[1], &[2]);
    assert!(stand_still(&mut neither, 3).iter().any(is_reset));
}

#[test]
pub(super) fn who_may_be_elected_and_lacks_what_is_committed_is_told_so_and_not_reset() {
    for (isr, elr) in [(&[1, 2][..], &[][..]), (&[1], &[2])] {
        // It ends below the high watermark, below the log's start, or in another history.
        let strange = [epoch(3, 0)];
        let kept = [epoch(4, 0)];
        for (end, epochs, start) in [(70, &kept, 0), (60, &kept, 75), (85, &strange, 0)] {
            let mut leader = leader(isr, elr);
            let outcome = attach(&mut leader, (2, 1), end, epochs, start, ms(0));
            assert_eq!(outcome, AttachOutcome::Refused(Refusal::LostLog), "{end}");
        }
    }
    let mut leader = leader(&[1], &[2]);
    let outcome = attach(&mut leader, (3, 1), 60, &[epoch(4, 0)], 75, ms(0));
    assert_eq!(outcome, AttachOutcome::Reset { start: at(75) });
}

#[test]
pub(super) fn retention_resets_no_member_of_the_elr() {
    for (id, spared) in [(2, true), (3, false)] {
        let mut leader = leader(&[1], &[2]);
        attach(&mut leader, (id, 1), 85, &[epoch(4, 0)], 0, ms(0));
        let mut out = Vec::new();
        assert!(leader.first_ack(1, at(85), ms(0), &mut out));
        out.clear();
        leader.behind_log_start(1, at(90), ms(10), &mut out);
        let reset = |a: &LeaderAction| matches!(a, LeaderAction::ResetFollower { .. });
        assert_eq!(out.iter().any(reset), !spared, "node {id}");
    }
}

fn follower(out: &mut Vec<FollowerAction>) -> Follower {
    let term = FollowerTerm {
        key: key(),
        me: node(2),
        broker_epoch: uptime(20),
        leader: Some(node(1)),
        leader_epoch: LeaderEpoch::new(5),
        unclean_epoch: None,
    };
    Follower::new(term, Timing::DEFAULT, true, ms(0), out)
}

fn begins_anew(out: &[FollowerAction]) -> bool {
    let anew = |action: &FollowerAction| matches!(action, FollowerAction::ResetTo { start, .. } if *start == Offset::ZERO);
    out.iter().any(anew)
}

#[test]
pub(super) fn a_damaged_log_stays_until_its_replica_is_out_of_isr_and_elr() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    out.clear();
    follower.damaged(ms(10), &mut out);
    assert_eq!(out, [FollowerAction::Withdraw]);
    follower.standing(true, true, ms(20), &mut out);
    follower.standing(false, true, ms(30), &mut out);
    // The leader has proposed it, or not heard that it is out.
    follower.released(true, ms(35), &mut out);
    follower.standing(false, false, ms(40), &mut out);
    follower.tick(at(10), ms(900), &mut out);
    assert!(!begins_anew(&out), "{out:?}");
    // It asks again, and does not attach meanwhile.
    out.clear();
    follower.tick(at(10), ms(2_000), &mut out);
    assert_eq!(out, [FollowerAction::Withdraw]);
    follower.standing(false, true, ms(2_010), &mut out);
    follower.released(false, ms(2_020), &mut out);
    assert!(!begins_anew(&out), "the leader alone does not decide");
    follower.standing(false, false, ms(2_030), &mut out);
    assert!(begins_anew(&out));
    // It fails once, and is tried again.
    out.clear();
    follower.worked(Err(LocalFault::IoError), ms(2_050), &mut out);
    follower.tick(Offset::ZERO, ms(5_000), &mut out);
    assert!(begins_anew(&out));
    out.clear();
    follower.worked(Ok(Offset::ZERO), ms(5_010), &mut out);
    assert!(matches!(follower.state(), FollowerState::Attaching { .. }));
    follower.standing(false, false, ms(5_020), &mut out);
    assert!(!begins_anew(&out), "once is enough");
}

#[test]
pub(super) fn who_is_told_that_it_lacks_what_is_committed_says_so() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    out.clear();
    follower.refused(Refusal::LostLog, ms(10), &mut out);
    assert!(out.contains(&FollowerAction::ReportLoss));
}

#[test]
pub(super) fn a_session_moves_to_another_link_by_a_new_attach() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    let epochs = [epoch(5, 0)];
    let log = LocalLog {
        log_start: Offset::ZERO,
        log_end: at(10),
        high_watermark: at(10),
        epochs: &epochs,
    };
    let answer = Attached {
        session: 7,
        leader_epoch: LeaderEpoch::new(5),
        truncate_to: None,
        log_start: Offset::ZERO,
        high_watermark: at(10),
        log_end: at(10),
        epochs: &epochs,
        unclean_epoch: None,
    };
    follower.attached(&answer, &log, ms(5), &mut out);
    assert!(follower.is_quiet(at(10)) && follower.session() == Some(7));
    out.clear();
    follower.reattach(ms(10), &mut out);
    assert!(matches!(out[..], [FollowerAction::SendAttach { .. }]));
    assert_eq!(follower.session(), None);
}
