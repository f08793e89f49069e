//! Divergence: the known bad traces, and random histories of three replicas.

use proptest::prelude::*;

use super::{at, epoch};
use crate::divergence::{Agreement, EpochStart, LogShape, adopted, divergence, is_vector};
use plimsoll_types::LeaderEpoch;

fn shape(log_start: u64, log_end: u64, epochs: &[EpochStart]) -> LogShape<'_> {
    LogShape {
        log_start: at(log_start),
        log_end: at(log_end),
        epochs,
    }
}

#[test]
fn scenario_9_a_longer_log_is_cut_where_the_epochs_part() {
    let leader = [epoch(4, 0), epoch(6, 80)];
    let follower = [epoch(4, 0), epoch(5, 80)];
    let agreed = divergence(&shape(0, 85, &leader), &shape(0, 120, &follower));
    assert_eq!(agreed, Agreement::TruncateTo(at(80)));
}

#[test]
fn scenario_10_an_epoch_without_records_is_forgotten_though_nothing_is_cut() {
    let leader = [epoch(1, 0), epoch(3, 10)];
    let follower = [epoch(1, 0), epoch(2, 10)];
    let agreed = divergence(&shape(0, 10, &leader), &shape(0, 10, &follower));
    assert_eq!(agreed, Agreement::Aligned);
    assert_eq!(adopted(&follower, &leader, at(10)), leader);
}

#[test]
fn scenario_10_a_later_epoch_comes_with_the_records_that_cross_it() {
    let leader = [epoch(1, 0), epoch(2, 5), epoch(3, 9)];
    assert_eq!(adopted(&[epoch(1, 0)], &leader, at(5)), leader[..2]);
}

#[test]
fn scenario_40_a_follower_below_the_log_start_begins_afresh() {
    let leader = [epoch(1, 50)];
    let follower = [epoch(1, 0)];
    let agreed = divergence(&shape(50, 90, &leader), &shape(0, 49, &follower));
    assert_eq!(agreed, Agreement::Reset);
    let agreed = divergence(&shape(50, 90, &leader), &shape(0, 50, &follower));
    assert_eq!(agreed, Agreement::Aligned);
}

#[test]
fn scenario_33_an_empty_log_is_fed_from_the_beginning_or_begins_afresh() {
    let leader = [epoch(1, 0)];
    assert_eq!(
        divergence(&shape(0, 9, &leader), &shape(0, 0, &[])),
        Agreement::Aligned
    );
    assert_eq!(
        divergence(&shape(4, 9, &leader), &shape(0, 0, &[])),
        Agreement::Reset
    );
    assert_eq!(
        divergence(&shape(0, 9, &leader), &shape(0, 12, &[])),
        Agreement::Reset
    );
}

#[test]
fn scenario_49_logs_without_a_common_epoch_prove_nothing() {
    let agreed = divergence(&shape(0, 9, &[epoch(5, 0)]), &shape(0, 9, &[epoch(4, 0)]));
    assert_eq!(agreed, Agreement::Reset);
}

/// A replica whose records are the epoch and number of their writing.
#[derive(Clone, Debug, Default)]
struct Toy {
    records: Vec<(u32, u64)>,
    epochs: Vec<EpochStart>,
}

impl Toy {
    fn shape(&self) -> LogShape<'_> {
        shape(0, self.records.len() as u64, &self.epochs)
    }

    /// Agrees with `leader`, in one round; then takes up to `take` records.
    fn follow(&mut self, leader: &Self, take: usize) {
        let end = match divergence(&leader.shape(), &self.shape()) {
            Agreement::Aligned => self.records.len() as u64,
            Agreement::TruncateTo(to) => to.get(),
            Agreement::Reset => {
                *self = Self::default();
                0
            }
        };
        self.records.truncate(end as usize);
        self.epochs = adopted(&self.epochs, &leader.epochs, at(end));
        assert!(is_vector(&self.epochs));
        let agreed = divergence(&leader.shape(), &self.shape());
        assert_eq!(agreed, Agreement::Aligned, "one round is enough");
        assert_eq!(
            self.records,
            leader.records[..end as usize],
            "a prefix of the leader"
        );
        let known: Vec<_> = leader
            .epochs
            .iter()
            .filter(|e| e.start <= at(end))
            .copied()
            .collect();
        assert_eq!(self.epochs, known, "with the leader's epochs");
        for &(epoch, value) in leader.records[end as usize..].iter().take(take) {
            let start = at(self.records.len() as u64);
            let epoch_of = LeaderEpoch::new(epoch);
            if self.epochs.last().is_none_or(|last| last.epoch < epoch_of) {
                self.epochs.push(EpochStart {
                    epoch: epoch_of,
                    start,
                });
            }
            self.records.push((epoch, value));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A replica leads a new epoch and writes so many records.
    Lead { leader: usize, records: usize },
    /// The others follow it, and get so many records each.
    Follow { follower: usize, take: usize },
    /// A crash takes so many records off the end.
    Lose { replica: usize, records: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, 0..3_usize).prop_map(|(leader, records)| Step::Lead { leader, records }),
        (0..3_usize, 0..4_usize).prop_map(|(follower, take)| Step::Follow { follower, take }),
        (0..3_usize, 1..3_usize).prop_map(|(replica, records)| Step::Lose { replica, records }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_elections_converges_in_one_round(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut replicas = [Toy::default(), Toy::default(), Toy::default()];
        let (mut leader, mut term, mut value) = (None, 0_u32, 0_u64);
        for step in steps {
            match step {
                Step::Lead { leader: next, records } => {
                    leader = Some(next);
                    term += 1;
                    let replica = &mut replicas[next];
                    replica.epochs.push(epoch(term, replica.records.len() as u64));
                    for _ in 0..records {
                        value += 1;
                        replica.records.push((term, value));
                    }
                }
                Step::Follow { follower, take } => {
                    if let Some(leader) = leader.filter(|leader| *leader != follower) {
                        let leads = replicas[leader].clone();
                        replicas[follower].follow(&leads, take);
                    }
                }
                Step::Lose { replica, records } => {
                    // Whoever restarts leads no more in the epoch it led.
                    leader = leader.filter(|leader| *leader != replica);
                    let toy = &mut replicas[replica];
                    let end = toy.records.len().saturating_sub(records);
                    toy.records.truncate(end);
                    toy.epochs.retain(|entry| entry.start <= at(end as u64));
                }
            }
        }
    }
}
