//! A toy node: a log, cells, and one of the two machines.

use std::collections::BTreeMap;

use plimsoll_controller::Image;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch};

use super::super::at;
use super::duty::Duty;
use crate::credits::Credits;
use crate::divergence::EpochStart;
use crate::follower::{AppendHead, Follower};
use crate::leader::{Counts, Leader, Rule, Sample};
use crate::session::{Nack, Refusal};

pub(super) type Record = (u32, u64);

/// What is on disk, and how much of it would survive.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Offset of the first record.
    pub(super) start: u64,
    pub(super) records: Vec<Record>,
    pub(super) durable: u64,
    pub(super) epochs: Vec<EpochStart>,
    pub(super) high_watermark: u64,
    /// Counts cuts: a sync that began before one says nothing after it.
    pub(super) cuts: u64,
}

impl Log {
    pub(super) fn begin(start: u64, epochs: Vec<EpochStart>, cuts: u64) -> Self {
        Self {
            start,
            durable: start,
            high_watermark: start,
            records: Vec::new(),
            epochs,
            cuts,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Record> {
        self.records.get(offset.checked_sub(self.start)? as usize)
    }

    pub(super) fn slice(&self, from: u64, to: u64) -> &[Record] {
        &self.records[(from - self.start) as usize..(to - self.start) as usize]
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
        self.records
            .truncate(end.saturating_sub(self.start) as usize);
        let end = self.end();
        self.durable = self.durable.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs.retain(|entry| entry.start <= at(end));
        self.cuts += 1;
    }

    /// Retention: nothing before `start` is kept.
    pub(super) fn trim(&mut self, start: u64) {
        let start = start.min(self.end()).max(self.start);
        self.records.drain(..(start - self.start) as usize);
        self.start = start;
        self.durable = self.durable.max(start);
        self.high_watermark = self.high_watermark.max(start);
        let first = self
            .epochs
            .iter()
            .rposition(|entry| entry.start <= at(start));
        self.epochs.drain(..first.unwrap_or(0));
        for entry in &mut self.epochs {
            entry.start = entry.start.max(at(start));
        }
    }

    /// The offset by which it counts.
    pub(super) fn counted(&self, counts: Counts) -> u64 {
        counted(counts, self.end(), self.durable)
    }
}

fn counted(counts: Counts, end: u64, durable: u64) -> u64 {
    match counts {
        Counts::Durable if Duty::SyncedCounts.kept() => durable.min(end),
        Counts::Durable | Counts::Written => end,
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
        let few = self.rule.committed_isr < self.rule.min_isr;
        if few && Duty::NothingBelowMinIsr.kept() {
            return 0;
        }
        let mine = log.counted(self.rule.counts);
        let others = self.rule.maximal_isr.iter().filter_map(|node| {
            let (_, end, durable) = self.cells.get(node)?;
            Some(counted(self.rule.counts, *end, *durable))
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
    /// The version of what was proposed and not answered, and when the owner gives up on it.
    pub(super) asked: Option<(PartitionEpoch, Monotonic)>,
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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing that counted is lost.
    Harmless,
    /// Its machine lost what was not synced, and that may have counted.
    Lossy,
    /// Its disk is another one.
    Wiped,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) up: bool,
    pub(super) end: End,
    pub(super) dir: u8,
    pub(super) log: Log,
    pub(super) broker_epoch: BrokerEpoch,
    /// The metadata as it was heard, and how many versions that are.
    pub(super) image: Image,
    pub(super) heard: usize,
    /// Its machine goes by that image.
    pub(super) applied: bool,
    pub(super) role: Role,
    /// When it last promised not to lead.
    pub(super) granted_at: Option<Monotonic>,
    pub(super) heartbeat_at: Monotonic,
    pub(super) paused_until: Monotonic,
    /// Its disk takes nothing until then.
    pub(super) full_until: Monotonic,
    /// A bit of its log has flipped, and it knows: nobody is to be fed from it.
    pub(super) damaged: bool,
    /// No metadata comes until then, though it is alive.
    pub(super) deaf_until: Monotonic,
    /// When the leader's newest frame was sent, to be echoed.
    pub(super) newest: Monotonic,
    /// The epoch it is in, the high watermark it had in that, and whether it cut its log in that.
    pub(super) seen: (LeaderEpoch, u64, bool),
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Attach {
        leader_epoch: LeaderEpoch,
        broker_epoch: BrokerEpoch,
        log_start: Offset,
        log_end: Offset,
        epochs: Vec<EpochStart>,
    },
    Attached {
        session: u64,
        leader_epoch: LeaderEpoch,
        truncate_to: Option<Offset>,
        reset: Option<Offset>,
        log_start: Offset,
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
    Withdraw,
    Released {
        counts: bool,
    },
}
