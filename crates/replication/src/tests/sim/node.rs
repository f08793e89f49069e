//! A toy node: a log, cells, and one of the two machines.

use std::collections::BTreeMap;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset};

use super::super::at;
use super::control::State;
use crate::credits::Credits;
use crate::divergence::EpochStart;
use crate::follower::{AppendHead, Follower};
use crate::leader::{Counts, Leader, Proposal, Rule, Sample};
use crate::session::{Nack, Refusal};

pub(super) type Record = (u32, u64);

/// What is on disk, and how much of it would survive.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) durable: u64,
    pub(super) epochs: Vec<EpochStart>,
    pub(super) high_watermark: u64,
}

impl Log {
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn push(&mut self, record: Record) {
        let epoch = LeaderEpoch::new(record.0);
        if self.epochs.last().is_none_or(|last| last.epoch < epoch) {
            let start = at(self.end());
            self.epochs.push(EpochStart { epoch, start });
        }
        self.records.push(record);
    }

    pub(super) fn cut(&mut self, end: u64) {
        self.records.truncate(end as usize);
        self.durable = self.durable.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs.retain(|entry| entry.start <= at(end));
    }
}

/// The cells of a leader, as plain numbers.
pub(super) struct Tenure {
    pub(super) rule: Rule,
    /// Generation, log end and durable end of each follower's cell.
    pub(super) cells: BTreeMap<NodeId, (u64, u64, u64)>,
}

impl Tenure {
    pub(super) fn reachable(&self, log: &Log) -> u64 {
        if self.rule.committed_isr < self.rule.min_isr {
            return 0;
        }
        let of = |end: u64, durable: u64| match self.rule.counts {
            Counts::Durable => durable.min(end),
            Counts::Written => end,
        };
        let mine = of(log.end(), log.durable);
        let others = self.rule.maximal_isr.iter().filter_map(|node| {
            let (_, end, durable) = self.cells.get(node)?;
            Some(of(*end, *durable))
        });
        others.fold(mine, u64::min)
    }
}

/// The sending side of one session.
pub(super) struct Feed {
    pub(super) node: NodeId,
    pub(super) confirmed: bool,
    /// The generation of the cell its acks go to.
    pub(super) cell: u64,
    pub(super) next: u64,
    pub(super) credits: Credits,
}

pub(super) struct Leading {
    pub(super) machine: Leader,
    pub(super) tenure: Tenure,
    pub(super) feeds: BTreeMap<u64, Feed>,
    pub(super) heard: BTreeMap<NodeId, Monotonic>,
    pub(super) echoed: BTreeMap<NodeId, Monotonic>,
    /// What was proposed and not answered, and when the owner gives up on it.
    pub(super) asked: Option<(Proposal, Monotonic)>,
}

impl Leading {
    pub(super) fn samples(&self) -> Vec<Sample> {
        let cells = self.tenure.cells.iter();
        let sample = |(node, (_, end, durable)): (&NodeId, &(u64, u64, u64))| {
            let feed = self
                .feeds
                .values()
                .find(|feed| feed.node == *node && feed.confirmed);
            Sample {
                node: *node,
                log_end: at(*end),
                durable_end: at(*durable),
                sent_end: feed.map_or(at(*end), |feed| at(feed.next)),
                heard_at: self.heard.get(node).copied(),
                echo_sent_at: self.echoed.get(node).copied(),
                busy: false,
            }
        };
        cells.map(sample).collect()
    }
}

pub(super) enum Role {
    Idle,
    Leading(Box<Leading>),
    Following(Box<Follower>),
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) up: bool,
    pub(super) wiped: bool,
    pub(super) log: Log,
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) image: State,
    pub(super) role: Role,
    /// When it last promised not to lead.
    pub(super) granted_at: Option<Monotonic>,
    pub(super) heartbeat_at: Monotonic,
    /// When the leader's newest frame was sent, to be echoed.
    pub(super) newest: Monotonic,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Attach {
        leader_epoch: LeaderEpoch,
        broker_epoch: BrokerEpoch,
        log_end: Offset,
        epochs: Vec<EpochStart>,
    },
    Attached {
        session: u64,
        leader_epoch: LeaderEpoch,
        truncate_to: Option<Offset>,
        reset: Option<Offset>,
        high_watermark: Offset,
        log_end: Offset,
        epochs: Vec<EpochStart>,
        unclean: Option<LeaderEpoch>,
    },
    Refused {
        why: Refusal,
    },
    Append {
        head: AppendHead,
        records: Vec<Record>,
        sent_at: Monotonic,
    },
    Ack {
        session: u64,
        log_end: u64,
        durable: u64,
        echo: Monotonic,
    },
    Nack {
        session: u64,
        why: Nack,
    },
    Detach {
        session: u64,
    },
}
