//! The follower's decisions, one failure at a time.

use super::{at, epoch, key, ms, node, uptime};
use crate::divergence::EpochStart;
use crate::follower::{
    AppendHead, Attached, Follower, FollowerAction, FollowerState, FollowerTerm, LocalFault,
    LocalLog, Reset, Verdict,
};
use crate::session::{Nack, Refusal};
use crate::timing::Timing;
use plimsoll_types::{LeaderEpoch, Offset};

pub(super) const OWN: [EpochStart; 2] = [
    EpochStart {
        epoch: LeaderEpoch::new(4),
        start: Offset::ZERO,
    },
    EpochStart {
        epoch: LeaderEpoch::new(5),
        start: Offset::new(80),
    },
];

pub(super) fn follower(out: &mut Vec<FollowerAction>) -> Follower {
    let term = FollowerTerm {
        key: key(),
        me: node(2),
        broker_epoch: uptime(20),
        leader: Some(node(1)),
        leader_epoch: LeaderEpoch::new(6),
        unclean_epoch: None,
    };
    Follower::new(term, Timing::DEFAULT, true, ms(0), out)
}

pub(super) fn log(high_watermark: u64) -> LocalLog<'static> {
    LocalLog {
        log_start: Offset::ZERO,
        log_end: at(100),
        high_watermark: at(high_watermark),
        epochs: &OWN,
    }
}

pub(super) fn answer(
    session: u64,
    truncate_to: Option<u64>,
    epochs: &[EpochStart],
) -> Attached<'_> {
    Attached {
        session,
        leader_epoch: LeaderEpoch::new(6),
        truncate_to: truncate_to.map(at),
        log_start: Offset::ZERO,
        high_watermark: at(70),
        log_end: at(200),
        epochs,
        unclean_epoch: None,
    }
}

pub(super) fn head(session: u64, from: u64) -> AppendHead {
    AppendHead {
        session,
        from: Some(at(from)),
        high_watermark: at(500),
        log_start: Offset::ZERO,
        log_end: at(500),
    }
}

#[test]
pub(super) fn scenario_9_it_cuts_forgets_its_own_epoch_and_then_acknowledges() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    out.clear();
    let leaders = [epoch(4, 0), epoch(6, 80)];
    follower.attached(&answer(1, Some(80), &leaders), &log(70), ms(1), &mut out);
    let cut = FollowerAction::Truncate {
        to: at(80),
        epochs: leaders.to_vec(),
        allow_below_high_watermark: false,
    };
    assert!(out.contains(&cut), "{out:?}");
    assert!(!out.contains(&FollowerAction::SendAck { session: 1 }));
    follower.worked(Ok(at(80)), ms(2), &mut out);
    assert!(out.contains(&FollowerAction::SendAck { session: 1 }));
    assert_eq!(
        follower.append(&head(1, 80), at(80), ms(3), &mut out),
        Verdict::Accept
    );
}

#[test]
pub(super) fn committed_records_are_not_cut_on_a_clean_chain() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    let leaders = [epoch(4, 0), epoch(6, 80)];
    follower.attached(&answer(1, Some(80), &leaders), &log(90), ms(1), &mut out);
    assert!(out.contains(&FollowerAction::Quarantine { from: at(80) }));
    assert!(
        !out.iter()
            .any(|action| matches!(action, FollowerAction::Truncate { .. }))
    );
    let FollowerState::Suspect { until } = follower.state() else {
        panic!("{:?}", follower.state());
    };
    assert!(
        until.since(ms(1)) <= Timing::DEFAULT.suspect_pause,
        "asks again"
    );
    out.clear();
    follower.tick(at(100), until, &mut out);
    follower.attached(&answer(2, Some(80), &leaders), &log(90), until, &mut out);
    let copies = out
        .iter()
        .filter(|a| matches!(a, FollowerAction::Quarantine { .. }))
        .count();
    assert_eq!(copies, 0, "one copy is enough");
}

#[test]
pub(super) fn scenario_49_an_unclean_election_on_the_way_lets_committed_records_go() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    let leaders = [epoch(4, 0), epoch(6, 80)];
    let mut unclean = answer(1, Some(80), &leaders);
    unclean.unclean_epoch = Some(LeaderEpoch::new(6));
    follower.attached(&unclean, &log(90), ms(1), &mut out);
    let cuts = |action: &FollowerAction| {
        matches!(
            action,
            FollowerAction::Truncate {
                allow_below_high_watermark: true,
                ..
            }
        )
    };
    assert!(out.iter().any(cuts));
}

#[test]
pub(super) fn an_append_that_does_not_continue_the_log_ends_the_session() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    follower.attached(&answer(1, None, &OWN), &log(70), ms(1), &mut out);
    assert_eq!(
        follower.append(&head(9, 100), at(100), ms(2), &mut out),
        Verdict::Drop
    );
    assert_eq!(
        follower.append(&head(1, 101), at(100), ms(2), &mut out),
        Verdict::Refuse
    );
    let why = Nack::Gap { expected: at(100) };
    assert!(out.contains(&FollowerAction::SendNack { session: 1, why }));
    assert_eq!(
        follower.append(&head(1, 100), at(100), ms(3), &mut out),
        Verdict::Drop
    );
}

#[test]
pub(super) fn scenario_25_a_full_disk_is_told_and_tried_again_by_itself() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    follower.attached(&answer(1, None, &OWN), &log(70), ms(1), &mut out);
    let head = head(1, 100);
    follower.append(&head, at(100), ms(2), &mut out);
    follower.appended(&head, Err(LocalFault::DiskFull), ms(2), &mut out);
    assert!(out.contains(&FollowerAction::SendNack {
        session: 1,
        why: Nack::DiskFull
    }));
    out.clear();
    follower.tick(at(100), ms(2100), &mut out);
    assert!(matches!(out[..], [FollowerAction::SendAttach { .. }]));
}

#[test]
pub(super) fn scenario_40_a_reset_in_the_middle_of_a_session_begins_a_new_log() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    follower.attached(&answer(1, None, &OWN), &log(70), ms(1), &mut out);
    let epochs = [epoch(5, 300), epoch(6, 400)];
    let reset = Reset {
        session: 1,
        leader_epoch: LeaderEpoch::new(6),
        start: at(300),
        log_start: at(310),
        epochs: &epochs,
    };
    follower.reset(&reset, ms(2), &mut out);
    follower.worked(Ok(at(300)), ms(3), &mut out);
    assert_eq!(follower.state(), FollowerState::Streaming { session: 1 });
    let begun = FollowerAction::ResetTo {
        start: at(300),
        log_start: at(310),
        epochs: vec![epoch(5, 300)],
    };
    assert!(out.contains(&begun));
    out.clear();
    follower.in_isr(true, &mut out);
    assert_eq!(out, [FollowerAction::DiscardAside]);
}

#[test]
pub(super) fn an_answer_to_an_older_attach_makes_it_agree_again() {
    let mut out = Vec::new();
    let mut follower = follower(&mut out);
    follower.attached(&answer(1, None, &OWN), &log(70), ms(1), &mut out);
    out.clear();
    follower.attached(&answer(2, None, &OWN), &log(70), ms(2), &mut out);
    assert!(out.contains(&FollowerAction::Detach { session: 2 }));
    assert!(matches!(follower.state(), FollowerState::Pausing { .. }));
}

#[test]
pub(super) fn every_state_has_an_exit_on_a_clock() {
    let states: [fn(&mut Follower, &mut Vec<FollowerAction>); 6] = [
        |_, _| {},
        |f, out| {
            f.refused(
                Refusal::Throttled {
                    after: std::time::Duration::MAX,
                },
                ms(1),
                out,
            )
        },
        |f, out| f.refused(Refusal::NotAReplica, ms(1), out),
        |f, out| f.attached(&answer(1, Some(80), &[epoch(4, 0)]), &log(70), ms(1), out),
        |f, out| f.attached(&answer(1, Some(80), &[epoch(4, 0)]), &log(90), ms(1), out),
        |f, out| f.attached(&answer(1, None, &OWN), &log(70), ms(1), out),
    ];
    for (number, enter) in states.into_iter().enumerate() {
        let mut out = Vec::new();
        let mut follower = follower(&mut out);
        enter(&mut follower, &mut out);
        out.clear();
        let asks = (1..700).any(|tick| {
            follower.tick(at(100), ms(tick * 100), &mut out);
            out.iter()
                .any(|action| matches!(action, FollowerAction::SendAttach { .. }))
        });
        assert!(asks, "state {number} is left");
    }
}

#[test]
fn follower_that_is_told_nothing_more_and_is_not_taken_in_agrees_anew() {
    let forgotten = Timing::DEFAULT.join_hold_max + Timing::DEFAULT.stall;
    let begun = ms(10);
    for in_isr in [false, true] {
        let mut out = Vec::new();
        let mut follower = follower(&mut out);
        let told = Attached {
            log_end: at(100),
            ..answer(7, None, &OWN)
        };
        follower.attached(&told, &log(70), begun, &mut out);
        assert_eq!(follower.state(), FollowerState::Streaming { session: 7 });
        follower.standing(in_isr, true, begun, &mut out);
        out.clear();
        follower.tick(at(100), begun, &mut out);
        follower.tick(at(100), begun + Timing::DEFAULT.join_hold_max, &mut out);
        assert_eq!(out, [], "it may be taken in yet");
        follower.tick(at(100), begun + forgotten, &mut out);
        let detached = out.contains(&FollowerAction::Detach { session: 7 });
        assert_eq!(detached, !in_isr, "{out:?}");
    }
}

#[test]
fn an_answer_that_is_long_on_its_way_is_waited_for() {
    for way in [900, 1500, 3000, 5000] {
        let mut out = Vec::new();
        let mut follower = follower(&mut out);
        // What is on its way to the follower: the session that each attach is given, and when.
        let (mut answers, mut session, mut now) = (Vec::new(), 0, 0);
        let mut streaming_since = None;
        while now < 60_000 {
            for action in std::mem::take(&mut out) {
                if matches!(action, FollowerAction::SendAttach { .. }) {
                    session += 1;
                    answers.push((now + way, session));
                }
            }
            now += 50;
            let due = |(at, _): &mut (u64, u64)| *at <= now;
            for (_, session) in answers.extract_if(.., due).collect::<Vec<_>>() {
                let answer = Attached {
                    log_end: at(100),
                    ..answer(session, None, &OWN)
                };
                follower.attached(&answer, &log(70), ms(now), &mut out);
            }
            follower.tick(at(100), ms(now), &mut out);
            match follower.state() {
                FollowerState::Streaming { session: of } if of == session => {
                    streaming_since.get_or_insert(now);
                }
                _ => streaming_since = None,
            }
        }
        let since = streaming_since.unwrap_or(now);
        assert!(
            since <= 30_000,
            "{way} ms on the way: streaming since {since}"
        );
    }
}
