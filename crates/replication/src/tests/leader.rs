//! The leader's decisions, one failure at a time.

use super::{at, epoch, key, ms, node, uptime};
use crate::leader::{
    Counts, Decision, Leader, LeaderAction, LeaderTerm, Lease, Marks, Proposal, ReplicaView,
    Sample, View,
};
use crate::session::{Attach, AttachOutcome, CloseWhy, LeaderLog, Nack, Refusal};
use crate::timing::Timing;
use plimsoll_types::{LeaderEpoch, Monotonic, Offset, PartitionEpoch};

pub(super) fn view(version: u32, isr: &[u32], min_isr: usize) -> View {
    let replica = |id: u32| ReplicaView {
        node: node(id),
        broker_epoch: Some(uptime(u64::from(id) * 10)),
        eligible: true,
    };
    View {
        partition_epoch: PartitionEpoch(version),
        replicas: (1..=3).map(replica).collect(),
        isr: isr.iter().copied().map(node).collect(),
        elr: Vec::new(),
        min_isr,
        counts: Counts::Written,
    }
}

/// A leader at offset 100 with two followers, and what it wanted last.
pub(super) struct Rig {
    pub(super) leader: Leader,
    pub(super) out: Vec<LeaderAction>,
    pub(super) now: u64,
    pub(super) high_watermark: u64,
    pub(super) log_end: u64,
    pub(super) ends: [u64; 2],
    pub(super) next_session: u64,
}

impl Rig {
    pub(super) fn new(isr: &[u32], min_isr: usize) -> Self {
        let term = LeaderTerm {
            key: key(),
            me: node(1),
            leader_epoch: LeaderEpoch::new(5),
            epoch_start: at(50),
            view: view(1, isr, min_isr),
        };
        Self {
            leader: Leader::new(term, Timing::DEFAULT, ms(0)),
            out: Vec::new(),
            now: 0,
            high_watermark: 100,
            log_end: 100,
            ends: [100; 2],
            next_session: 0,
        }
    }

    pub(super) fn now(&self) -> Monotonic {
        ms(self.now)
    }

    pub(super) fn attach_as(
        &mut self,
        id: u32,
        end: u64,
        broker: u64,
        leader_epoch: u32,
    ) -> AttachOutcome {
        self.next_session += 1;
        let attach = Attach {
            node: node(id),
            session: self.next_session,
            leader_epoch: LeaderEpoch::new(leader_epoch),
            broker_epoch: uptime(broker),
            log_start: Offset::ZERO,
            log_end: at(end),
            epochs: &[epoch(4, 0), epoch(5, 50)],
        };
        let log = LeaderLog {
            log_start: Offset::ZERO,
            reset_start: Offset::ZERO,
            log_end: at(self.log_end),
            high_watermark: at(self.high_watermark),
            epochs: &[epoch(4, 0), epoch(5, 50)],
        };
        let now = self.now();
        self.leader.attach(&attach, &log, now, &mut self.out)
    }

    /// Attaches and confirms; the session.
    pub(super) fn attach(&mut self, id: u32, end: u64) -> u64 {
        let outcome = self.attach_as(id, end, u64::from(id) * 10, 5);
        assert!(
            matches!(outcome, AttachOutcome::Attached { .. }),
            "{outcome:?}"
        );
        let session = self.next_session;
        let now = self.now();
        assert!(self.leader.first_ack(session, at(end), now, &mut self.out));
        self.ends[id as usize - 2] = end;
        session
    }

    pub(super) fn tick(&mut self) -> Vec<LeaderAction> {
        let now = self.now();
        let sample = |id: u32, end: u64| Sample {
            node: node(id),
            log_end: at(end),
            durable_end: at(end),
            sent_end: at(self.log_end),
            heard_at: Some(now),
            echo_sent_at: Some(now),
            busy: false,
        };
        let followers = [sample(2, self.ends[0]), sample(3, self.ends[1])];
        let marks = Marks {
            log_end: at(self.log_end),
            durable_end: at(self.log_end),
            high_watermark: at(self.high_watermark),
            followers: &followers,
        };
        for _ in 0..4 {
            self.leader.tick(&marks, now, &mut self.out);
        }
        std::mem::take(&mut self.out)
    }

    /// Ticks until a time; what was proposed, and when first.
    pub(super) fn run(&mut self, until: u64) -> Option<(u64, Proposal)> {
        let mut first = None;
        while self.now < until {
            self.now += 100;
            for action in self.tick() {
                if let LeaderAction::Propose(proposal) = action {
                    first = first.or(Some((self.now, proposal)));
                }
            }
        }
        first
    }
}

pub(super) fn members(proposal: &Proposal) -> Vec<u32> {
    proposal
        .new_isr
        .iter()
        .map(|(node, _)| node.get())
        .collect()
}

#[test]
pub(super) fn scenario_19_a_follower_that_alone_holds_back_the_rest_leaves_after_a_second() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    assert_eq!(rig.run(3000), None);
    (rig.log_end, rig.ends[0]) = (200, 200);
    let (when, proposal) = rig.run(6000).unwrap();
    assert_eq!(members(&proposal), [1, 2]);
    assert!((4000..=4300).contains(&when), "{when}");
}

#[test]
pub(super) fn scenario_19_half_a_second_of_silence_changes_nothing() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    rig.run(3000);
    (rig.log_end, rig.ends[0]) = (200, 200);
    assert_eq!(rig.run(3500), None);
    rig.ends[1] = 200;
    assert_eq!(rig.run(9000), None);
}

#[test]
pub(super) fn a_stall_evicts_nobody_below_min_isr_and_the_long_clock_does() {
    let mut rig = Rig::new(&[1, 2], 2);
    let session = rig.attach(2, 100);
    rig.run(3000);
    rig.leader.session_lost(session, &mut rig.out);
    rig.log_end = 200;
    let (when, proposal) = rig.run(20_000).unwrap();
    assert_eq!(members(&proposal), [1]);
    assert!((13_000..13_500).contains(&when), "{when}");
}

#[test]
pub(super) fn scenario_24_a_slow_leader_evicts_no_healthy_follower() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    rig.run(2000);
    // The followers have what this node has; that its own disk lags is not their fault.
    rig.log_end = 150;
    rig.ends = [150, 150];
    rig.high_watermark = 100;
    assert_eq!(rig.run(9000), None);
}

#[test]
pub(super) fn scenario_15_a_shrink_counts_once_committed_and_is_asked_for_until_it_is_known() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    (rig.log_end, rig.ends[0]) = (200, 200);
    let (_, proposal) = rig.run(5000).unwrap();
    assert_eq!(rig.leader.rule().maximal_isr.len(), 3);
    let now = rig.now();
    rig.leader
        .decided(PartitionEpoch(1), Decision::Unknown, now, &mut rig.out);
    let again = rig.run(12_000).map(|(_, again)| again);
    assert_eq!(again, Some(proposal), "the same question");
    assert_eq!(rig.leader.rule().maximal_isr.len(), 3);
    let now = rig.now();
    rig.leader.decided(
        PartitionEpoch(1),
        Decision::Committed(PartitionEpoch(2)),
        now,
        &mut rig.out,
    );
    assert_eq!(rig.leader.rule().maximal_isr.len(), 3, "not seen yet");
    let now = rig.now();
    let seen = view(2, &[1, 2], 2);
    rig.leader.metadata(seen, now, &mut rig.out);
    assert_eq!(rig.leader.rule().maximal_isr, [node(1), node(2)]);
}

#[test]
pub(super) fn scenario_15_an_expansion_counts_before_it_is_proposed_and_while_its_fate_is_unknown()
{
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    let (_, proposal) = rig.run(3000).unwrap();
    assert_eq!(members(&proposal), [1, 2, 3]);
    assert!(rig.leader.rule().maximal_isr.contains(&node(3)));
    let now = rig.now();
    rig.leader
        .decided(PartitionEpoch(1), Decision::StaleVersion, now, &mut rig.out);
    assert!(rig.leader.rule().maximal_isr.contains(&node(3)));
    let refused = Decision::Ineligible(vec![node(3)]);
    rig.leader
        .decided(PartitionEpoch(1), refused, now, &mut rig.out);
    assert!(!rig.leader.rule().maximal_isr.contains(&node(3)));
}

#[test]
pub(super) fn scenario_16_an_answer_to_an_older_proposal_says_nothing() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    rig.run(3000).unwrap();
    let now = rig.now();
    rig.leader
        .decided(PartitionEpoch(0), Decision::NotAttempted, now, &mut rig.out);
    assert!(rig.leader.pending().is_some());
}

#[test]
pub(super) fn scenario_17_a_follower_of_another_uptime_is_neither_fed_nor_proposed() {
    let mut rig = Rig::new(&[1, 2], 2);
    let stale = rig.attach_as(3, 100, 29, 5);
    assert_eq!(stale, AttachOutcome::Refused(Refusal::StaleBrokerEpoch));
    let early = rig.attach_as(3, 100, 31, 5);
    assert_eq!(early, AttachOutcome::Refused(Refusal::UnknownEpoch));
    rig.attach(2, 100);
    rig.attach(3, 100);
    let mut restarted = view(1, &[1, 2], 2);
    restarted.replicas[2].broker_epoch = Some(uptime(44));
    let now = rig.now();
    rig.leader.metadata(restarted, now, &mut rig.out);
    let closed = |action: &LeaderAction| {
        matches!(
            action,
            LeaderAction::CloseSession {
                why: CloseWhy::BrokerEpoch,
                ..
            }
        )
    };
    assert!(rig.out.iter().any(closed));
    assert_eq!(rig.run(5000), None);
}

#[test]
pub(super) fn scenario_11_an_attach_of_another_epoch_is_refused() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    let current = LeaderEpoch::new(5);
    let old = rig.attach_as(2, 100, 20, 4);
    assert_eq!(
        old,
        AttachOutcome::Refused(Refusal::FencedEpoch { current })
    );
    let newer = rig.attach_as(2, 100, 20, 6);
    assert_eq!(newer, AttachOutcome::Refused(Refusal::UnknownEpoch));
}

#[test]
pub(super) fn scenario_17_a_member_without_what_it_acknowledged_leaves_before_it_is_fed() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    let outcome = rig.attach_as(3, 60, 30, 5);
    assert_eq!(outcome, AttachOutcome::Refused(Refusal::LostLog));
    let (_, proposal) = rig.run(500).unwrap();
    assert_eq!(members(&proposal), [1, 2]);
}

#[test]
pub(super) fn scenario_25_a_follower_with_a_full_disk_leaves_at_once_and_comes_back() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    let session = rig.attach(3, 100);
    let now = rig.now();
    rig.leader.nack(session, Nack::DiskFull, now, &mut rig.out);
    let (when, proposal) = rig.run(300).unwrap();
    assert_eq!((when, members(&proposal)), (100, vec![1, 2]));
    let now = rig.now();
    rig.leader.decided(
        PartitionEpoch(1),
        Decision::Committed(PartitionEpoch(2)),
        now,
        &mut rig.out,
    );
    assert_eq!(rig.run(4000), None);
    rig.attach(3, 100);
    let (_, proposal) = rig.run(7000).unwrap();
    assert_eq!(members(&proposal), [1, 2, 3]);
}

#[test]
pub(super) fn scenario_38_every_eviction_makes_the_next_join_wait_longer() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    let mut version = 1;
    let mut waits = Vec::new();
    for _ in 0..4 {
        for isr in [&[1, 2][..], &[1, 2, 3][..]] {
            let from = rig.now;
            if isr.len() == 3 {
                let (when, _) = rig.run(from + 20_000).unwrap();
                waits.push(when - from);
            }
            version += 1;
            let now = rig.now();
            rig.leader
                .metadata(view(version, isr, 2), now, &mut rig.out);
        }
    }
    assert!(waits.is_sorted() && waits[3] >= 4 * waits[0], "{waits:?}");
}

#[test]
pub(super) fn scenario_4_a_joiner_without_the_start_of_the_epoch_stays_out_below_min_isr() {
    let mut rig = Rig::new(&[1], 2);
    (rig.high_watermark, rig.log_end) = (20, 60);
    rig.attach(2, 40);
    // It has all below the high watermark, which may be older than what is committed.
    assert_eq!(rig.run(5000), None);
    rig.attach(2, 60);
    let (_, proposal) = rig.run(9000).unwrap();
    assert_eq!(members(&proposal), [1, 2]);
}

#[test]
pub(super) fn a_joiner_behind_the_high_watermark_freezes_it_for_a_moment_only() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    rig.attach(3, 100);
    // Always a step behind, so it is fit, and never at the high watermark.
    let (mut frozen, mut longest) = (0, 0);
    for step in 0..100 {
        rig.now += 100;
        rig.log_end = 110 + step * 10;
        rig.high_watermark = rig.log_end;
        rig.ends = [rig.log_end, rig.log_end - 10];
        assert!(
            !rig.tick()
                .iter()
                .any(|action| matches!(action, LeaderAction::Propose(_)))
        );
        let holds = rig.leader.rule().maximal_isr.contains(&node(3));
        frozen = if holds { frozen + 1 } else { 0 };
        longest = longest.max(frozen);
    }
    assert!((1..=3).contains(&longest), "{longest}");
}

#[test]
pub(super) fn scenario_35_the_ladder_leads_from_a_new_session_to_one_batch_to_a_new_log() {
    let mut rig = Rig::new(&[1, 2], 2);
    rig.attach(2, 100);
    (rig.log_end, rig.ends) = (200, [200, 100]);
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let now = rig.now();
        if rig
            .leader
            .peers(now)
            .any(|peer| peer.node == node(3) && peer.session.is_some())
        {
            rig.run(rig.now + 100);
            continue;
        }
        match rig.attach_as(3, 100, 30, 5) {
            AttachOutcome::Attached {
                one_batch, expects, ..
            } => {
                seen.push(if one_batch { "one batch" } else { "window" });
                let (session, now) = (rig.next_session, rig.now());
                assert!(rig.leader.first_ack(session, expects, now, &mut rig.out));
            }
            AttachOutcome::Reset { .. } => seen.push("reset"),
            AttachOutcome::Refused(_) => {}
        }
        rig.run(rig.now + 500);
    }
    assert_eq!(
        seen,
        [
            "window",
            "window",
            "window",
            "one batch",
            "one batch",
            "reset"
        ]
    );
    assert!(rig.now < 15_000, "{}", rig.now);
}

#[test]
pub(super) fn scenario_31_a_batch_refused_twice_is_looked_at_on_the_leaders_own_disk() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    let scrubs = |rig: &Rig| rig.out.contains(&LeaderAction::Scrub { at: at(70) });
    for expected in [false, true] {
        rig.now += 3000;
        let session = rig.attach(3, 100);
        let now = rig.now();
        rig.leader
            .nack(session, Nack::Corrupt { at: at(70) }, now, &mut rig.out);
        assert_eq!(scrubs(&rig), expected);
    }
}

#[test]
pub(super) fn an_ack_of_an_older_session_confirms_nothing() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach_as(2, 100, 20, 5);
    rig.attach_as(2, 100, 20, 5);
    let now = rig.now();
    assert!(!rig.leader.first_ack(1, at(100), now, &mut rig.out));
    assert!(
        !rig.leader.first_ack(2, at(99), now, &mut rig.out),
        "another end"
    );
    assert!(
        !rig.leader.first_ack(2, at(100), now, &mut rig.out),
        "closed by that"
    );
}

#[test]
pub(super) fn scenario_11_the_lease_is_as_old_as_the_oldest_echo_of_whoever_counts() {
    let mut rig = Rig::new(&[1, 2, 3], 2);
    rig.attach(2, 100);
    rig.tick();
    assert_eq!(
        rig.leader.lease(),
        Lease::Until(ms(0)),
        "replica 3 granted nothing"
    );
    rig.attach(3, 100);
    rig.now = 5000;
    rig.tick();
    assert_eq!(rig.leader.lease(), Lease::Until(ms(5495)));
}

#[test]
pub(super) fn scenario_48_members_of_the_elr_count_while_the_high_watermark_may_move() {
    let mut rig = Rig::new(&[1], 2);
    let mut lowered = view(1, &[1], 1);
    lowered.elr = vec![node(2)];
    let now = rig.now();
    rig.leader.metadata(lowered, now, &mut rig.out);
    assert_eq!(rig.leader.rule().maximal_isr, [node(1), node(2)]);
    let (_, nudge) = rig.run(500).unwrap();
    assert_eq!(members(&nudge), [1], "asks the controller to clear it");
}
