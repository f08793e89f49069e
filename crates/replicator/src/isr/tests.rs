//! The rules of joining and leaving, one sentence a test.

use super::*;
use plimsoll_types::TopicId;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

fn at(ms: u64) -> Monotonic {
    Monotonic::from_start(Duration::from_millis(ms))
}

fn isr(members: &[u32]) -> Isr {
    let key = PartitionKey {
        topic: TopicId::from_bytes([1; 16]),
        index: 0,
    };
    let members = members.iter().map(|id| node(*id)).collect();
    Isr::new(key, LeaderEpoch::new(1), PartitionEpoch(1), members, at(0))
}

fn own(high_watermark: u64, position: u64) -> Own {
    Own {
        node: node(1),
        broker_epoch: BrokerEpoch(10),
        high_watermark: Offset::new(high_watermark),
        position: Offset::new(position),
        leso: Offset::ZERO,
        min_isr: 2,
    }
}

fn fact(id: u32, position: u64, caught_up: Option<u64>) -> Facts {
    Facts {
        node: node(id),
        broker_epoch: BrokerEpoch(u64::from(id) * 10),
        attached: true,
        fit: true,
        fenced: false,
        faulted: false,
        position: Offset::new(position),
        log_end: Offset::new(position),
        caught_up: caught_up.map(at),
    }
}

fn proposed(steps: &[Step]) -> Option<Vec<u32>> {
    steps.iter().find_map(|step| match step {
        Step::Propose(proposal) => Some(
            proposal
                .new_isr
                .iter()
                .map(|(node, _)| node.get())
                .collect(),
        ),
        Step::Rule | Step::Event(_) => None,
    })
}

#[test]
fn who_is_caught_up_and_stable_counts_first_and_is_proposed_then() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2]));
    let facts = |now| [fact(2, 9, Some(now)), fact(3, 9, Some(now))];
    assert_eq!(isr.tick(&config, at(100), &own(9, 9), &facts(100)), vec![]);
    let steps = isr.tick(&config, at(1100), &own(9, 9), &facts(1100));
    assert_eq!(steps, vec![Step::Rule]);
    assert_eq!(isr.maximal(), vec![node(1), node(2), node(3)]);
    let steps = isr.tick(&config, at(1200), &own(9, 9), &facts(1200));
    assert_eq!(proposed(&steps), Some(vec![1, 2, 3]));
    assert!(isr.decided(Decision::Changed(PartitionEpoch(2))));
    assert_eq!(isr.committed(), [node(1), node(2), node(3)]);
}

#[test]
fn a_joiner_that_does_not_come_up_to_the_high_watermark_is_let_go() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2]));
    let facts = |now| [fact(2, 9, Some(now)), fact(3, 8, Some(now))];
    isr.tick(&config, at(0), &own(9, 9), &facts(0));
    assert_eq!(
        isr.tick(&config, at(1000), &own(9, 9), &facts(1000)),
        [Step::Rule]
    );
    assert_eq!(isr.tick(&config, at(1100), &own(9, 9), &facts(1100)), []);
    assert_eq!(
        isr.tick(&config, at(1300), &own(9, 9), &facts(1300)),
        [Step::Rule]
    );
    assert_eq!(isr.maximal(), vec![node(1), node(2)]);
}

#[test]
fn who_alone_holds_back_the_high_watermark_leaves_after_a_second() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2, 3]));
    let facts = [fact(2, 20, Some(0)), fact(3, 9, Some(0))];
    isr.tick(&config, at(0), &own(9, 20), &facts);
    assert_eq!(isr.tick(&config, at(1000), &own(9, 20), &facts), []);
    let steps = isr.tick(&config, at(1001), &own(9, 20), &facts);
    assert_eq!(proposed(&steps), Some(vec![1, 2]));
    assert_eq!(
        isr.maximal().len(),
        3,
        "a shrink counts once it is committed"
    );
}

#[test]
fn nobody_leaves_for_a_commit_stall_if_too_few_would_stay() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2]));
    let facts = [fact(2, 9, Some(0))];
    isr.tick(&config, at(0), &own(9, 20), &facts);
    assert_eq!(isr.tick(&config, at(5000), &own(9, 20), &facts), []);
    let steps = isr.tick(&config, at(10_001), &own(9, 20), &facts);
    assert_eq!(proposed(&steps), Some(vec![1]));
}

#[test]
fn an_unknown_outcome_keeps_the_joiner_counting_and_asks_again() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2]));
    let facts = |now| [fact(2, 9, Some(now)), fact(3, 9, Some(now))];
    isr.tick(&config, at(0), &own(9, 9), &facts(0));
    isr.tick(&config, at(1000), &own(9, 9), &facts(1000));
    isr.tick(&config, at(1100), &own(9, 9), &facts(1100));
    assert!(!isr.decided(Decision::Unknown));
    assert_eq!(isr.maximal().len(), 3);
    let steps = isr.tick(&config, at(2100), &own(9, 9), &facts(2100));
    assert_eq!(proposed(&steps), Some(vec![1, 2, 3]));
    assert!(isr.decided(Decision::Rejected));
    assert_eq!(isr.maximal().len(), 2);
    assert!(!isr.is_pending());
}

#[test]
fn newer_metadata_decides_what_was_pending() {
    let (config, mut isr) = (Config::agreed(), isr(&[1, 2, 3]));
    let mut faulted = fact(3, 9, Some(0));
    faulted.faulted = true;
    let steps = isr.tick(&config, at(0), &own(9, 9), &[fact(2, 9, Some(0)), faulted]);
    assert_eq!(proposed(&steps), Some(vec![1, 2]));
    assert!(!isr.metadata(PartitionEpoch(0), &[node(1)]), "old");
    assert!(isr.metadata(PartitionEpoch(2), &[node(1), node(2)]));
    assert!(!isr.is_pending());
}
