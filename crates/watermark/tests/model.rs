//! Any sequence of operations agrees with a model that is plain arithmetic.

#![cfg(not(loom))]

use std::sync::Arc;

use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Mark, Signal, TenureStart, Watch, WatchState, Watermarks};
use proptest::prelude::*;

const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: u64,
    },
    Sync {
        part: u8,
    },
    Ack {
        follower: usize,
        written: u8,
        synced: u8,
    },
    DeleteBefore {
        part: u8,
    },
    ChangeIsr {
        members: [bool; REPLICAS],
        committed: usize,
        min_isr: usize,
    },
    NewEpoch {
        kept: u8,
    },
    Truncate {
        kept: u8,
    },
    Watch {
        mark: Mark,
        ahead: u64,
    },
    DropWatch {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let mark = prop_oneof![
        Just(Mark::LogEnd),
        Just(Mark::DurableEnd),
        Just(Mark::HighWatermark)
    ];
    prop_oneof![
        5 => (1..9_u64).prop_map(|records| Step::Append { records }),
        5 => any::<u8>().prop_map(|part| Step::Sync { part }),
        8 => (1..REPLICAS, any::<u8>(), any::<u8>())
            .prop_map(|(follower, written, synced)| Step::Ack { follower, written, synced }),
        1 => any::<u8>().prop_map(|part| Step::DeleteBefore { part }),
        3 => (any::<[bool; REPLICAS]>(), 0..=REPLICAS, 0..=REPLICAS).prop_map(
            |(members, committed, min_isr)| Step::ChangeIsr { members, committed, min_isr }
        ),
        1 => any::<u8>().prop_map(|kept| Step::NewEpoch { kept }),
        1 => any::<u8>().prop_map(|kept| Step::Truncate { kept }),
        6 => (mark, 0..12_u64).prop_map(|(mark, ahead)| Step::Watch { mark, ahead }),
        2 => any::<usize>().prop_map(|which| Step::DropWatch { which }),
    ]
}

/// `part` 255ths of the way from `low` to `high`.
fn between(low: u64, high: u64, part: u8) -> u64 {
    low + (high - low) * u64::from(part) / 255
}

/// What the offsets should be. Replica 0 is the local one.
struct Model {
    epoch: u32,
    counts: Counts,
    log_start: u64,
    high_watermark: u64,
    written: [u64; REPLICAS],
    synced: [u64; REPLICAS],
    members: [bool; REPLICAS],
    committed: usize,
    min_isr: usize,
}

impl Model {
    fn new(counts: Counts) -> Self {
        Self {
            epoch: 0,
            counts,
            log_start: 0,
            high_watermark: 0,
            written: [0; REPLICAS],
            synced: [0; REPLICAS],
            members: [true; REPLICAS],
            committed: REPLICAS,
            min_isr: 1,
        }
    }

    fn start(&self) -> TenureStart {
        let node = |at: usize| NodeId::from_wire(i32::try_from(at).expect("few")).expect("few");
        let members = (0..REPLICAS).filter(|&at| self.members[at]).map(node);
        TenureStart {
            leader_epoch: LeaderEpoch::new(self.epoch),
            log_start: Offset::new(self.log_start),
            durable_end: Offset::new(self.synced[0]),
            log_end: Offset::new(self.written[0]),
            high_watermark: Offset::new(self.high_watermark),
            local: node(0),
            followers: (1..REPLICAS).map(node).collect(),
            fresh: Vec::new(),
            maximal_isr: members.collect(),
            committed_isr: self.committed,
            min_isr: self.min_isr,
            counts: self.counts,
        }
    }

    fn value(&self, mark: Mark) -> u64 {
        match mark {
            Mark::LogEnd => self.written[0],
            Mark::DurableEnd => self.synced[0],
            Mark::HighWatermark => self.high_watermark,
        }
    }

    fn advance(&mut self) {
        let positions = match self.counts {
            Counts::Durable => &self.synced,
            Counts::Written => &self.written,
        };
        let counted = positions
            .iter()
            .zip(self.members)
            .filter(|(_, member)| *member);
        let least = counted
            .map(|(&position, _)| position)
            .min()
            .expect("the leader counts");
        if self.committed >= self.min_isr {
            self.high_watermark = self.high_watermark.max(least);
        }
    }

    /// Another course, with the log cut to some point at or above its start.
    fn cut(&mut self, kept: u8) {
        let end = between(self.log_start, self.written[0], kept);
        self.written = [end, 0, 0];
        self.synced = [self.synced[0].min(end), 0, 0];
        self.high_watermark = self.high_watermark.min(end);
    }
}

struct Run {
    model: Model,
    marks: Watermarks,
    bell: Arc<Signal>,
    watches: Vec<(Mark, u64, Watch, WatchState)>,
}

impl Run {
    fn new(counts: Counts) -> Self {
        let model = Model::new(counts);
        let marks = Watermarks::new(model.start());
        Self {
            model,
            marks,
            bell: Arc::new(Signal::new()),
            watches: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        let (model, marks) = (&mut self.model, &self.marks);
        match *step {
            Step::Append { records } => {
                model.written[0] += records;
                marks.publish_log_end(Offset::new(model.written[0]));
            }
            Step::Sync { part } => {
                model.synced[0] = between(model.synced[0], model.written[0], part);
                marks.publish_durable_end(Offset::new(model.synced[0]));
            }
            Step::Ack {
                follower,
                written,
                synced,
            } => {
                // A follower has at most what its leader has, and may repeat itself.
                let end = between(0, model.written[0], written);
                let safe = between(0, end, synced);
                model.written[follower] = model.written[follower].max(end);
                model.synced[follower] = model.synced[follower].max(safe);
                let node = model.start().followers[follower - 1];
                let acked = marks.publish_follower(node, Offset::new(end), Offset::new(safe));
                acked.expect("it is tracked");
            }
            Step::DeleteBefore { part } => {
                model.log_start = between(model.log_start, model.high_watermark, part);
                marks.publish_log_start(Offset::new(model.log_start));
            }
            Step::ChangeIsr {
                members,
                committed,
                min_isr,
            } => {
                model.members = [true, members[1], members[2]];
                model.committed = committed;
                model.min_isr = min_isr;
                marks.begin(|_| model.start());
            }
            Step::NewEpoch { kept } => {
                model.epoch += 1;
                model.cut(kept);
                marks.begin(|_| model.start());
                self.supersede();
            }
            Step::Truncate { kept } => {
                model.cut(kept);
                marks.cut(|_| model.start());
                self.supersede();
            }
            Step::Watch { mark, ahead } => {
                let at_least = model.value(mark) + ahead;
                let watch = marks.watch(mark, Offset::new(at_least), &self.bell);
                self.watches
                    .push((mark, at_least, watch, WatchState::Pending));
            }
            Step::DropWatch { which } => {
                if !self.watches.is_empty() {
                    drop(self.watches.swap_remove(which % self.watches.len()));
                }
            }
        }
        self.model.advance();
    }

    fn supersede(&mut self) {
        for (_, _, _, expected) in &mut self.watches {
            if *expected == WatchState::Pending {
                *expected = WatchState::Superseded;
            }
        }
    }

    fn check(&mut self) {
        let seen = self.marks.snapshot();
        assert_eq!(seen.log_start.get(), self.model.log_start);
        assert_eq!(seen.high_watermark.get(), self.model.high_watermark);
        assert_eq!(seen.durable_end.get(), self.model.synced[0]);
        assert_eq!(seen.log_end.get(), self.model.written[0]);
        assert_eq!(seen.leader_epoch.get(), self.model.epoch);
        for (mark, at_least, watch, expected) in &mut self.watches {
            if *expected == WatchState::Pending && self.model.value(*mark) >= *at_least {
                *expected = WatchState::Reached;
            }
            assert_eq!(watch.state(), *expected, "{mark:?} at {at_least}");
        }
        assert!(!self.marks.recompute(), "something was left to do");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_agrees_with_the_model(
        durable in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::new(if durable { Counts::Durable } else { Counts::Written });
        for step in &steps {
            run.apply(step);
            run.check();
        }
    }
}
