//! One tenure: who counts, and how far the high watermark has come under that rule.
//!
//! A tenure never changes but in its high watermark, which only grows, and is final once sealed.
//! It decides nothing about membership and wakes nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use plimsoll_types::{LeaderEpoch, NodeId, Offset};

use crate::position::{Cell, Ends};
use crate::snapshot::{Mark, Snapshot};
use crate::sync::{AtomicU64, Line, Weakness, ordered, weakened};

/// Set in the high watermark's word when the tenure has ended. An offset never reaches this bit.
const SEALED: u64 = 1 << 63;

/// By which end a replica counts towards the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// By its durable end: what is acknowledged survives the loss of power everywhere.
    Durable,
    /// By its log end: what is acknowledged is in the page cache of every in-sync replica.
    Written,
}

/// What a tenure begins with.
#[derive(Clone, Debug)]
pub struct TenureStart {
    /// The leader epoch it lies in. A later epoch begins a new course: cells start from the
    /// offsets below and waiters are superseded. The same epoch goes on with the cells there are.
    pub leader_epoch: LeaderEpoch,
    /// Oldest readable offset of the local log. Read at a new course only.
    pub log_start: Offset,
    /// End of the local log's synced prefix. Read at a new course only.
    pub durable_end: Offset,
    /// End of the local log. Read at a new course only.
    pub log_end: Offset,
    /// Where the high watermark begins. Read at a new course only; one below `log_start`, as an
    /// old checkpoint may hold, is taken for `log_start`.
    pub high_watermark: Offset,
    /// This node; always counted.
    pub local: NodeId,
    /// All other replicas whose positions are tracked, counted or not.
    pub followers: Vec<NodeId>,
    /// Followers that begin again at zero although the course goes on: what they had may be gone,
    /// and what is published on a [`Position`](crate::Position) of before counts for nothing (W6).
    pub fresh: Vec<NodeId>,
    /// The replicas that hold back the high watermark: committed ISR and proposed members, the
    /// local one among them.
    pub maximal_isr: Vec<NodeId>,
    /// How many replicas the committed ISR has.
    pub committed_isr: usize,
    /// With fewer committed members than this the high watermark stands still.
    pub min_isr: usize,
    /// By which end a replica counts.
    pub counts: Counts,
}

/// What an ended tenure leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The epoch it lay in.
    pub leader_epoch: LeaderEpoch,
    /// Oldest readable offset.
    pub log_start: Offset,
    /// Its final high watermark; no late position moves it any more.
    pub high_watermark: Offset,
    /// End of the synced prefix, as far as published.
    pub durable_end: Offset,
    /// End of the log, as far as published.
    pub log_end: Offset,
}

/// What an attempt to move the high watermark met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// It moved to this offset, by this attempt.
    Moved(Offset),
    /// It is where the positions allow, or the rule of the tenure holds it.
    Still,
    /// The tenure has ended. Whoever ended it looks at all positions for the next one.
    Sealed,
}

struct Follower {
    node: NodeId,
    counted: bool,
    cell: Arc<Cell>,
}

pub(crate) struct Tenure {
    /// Which course of the log this lies in: tenures with equal numbers share the local cell.
    pub(crate) course: u64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) counts: Counts,
    pub(crate) committed_isr: usize,
    pub(crate) min_isr: usize,
    node: NodeId,
    local: Arc<Cell>,
    followers: Box<[Follower]>,
    /// Apart from the rest, which everybody reads and nobody writes.
    high_watermark: Line<AtomicU64>,
}

impl Tenure {
    /// The first tenure of a course: every cell is new, and followers have no position yet.
    pub(crate) fn first(course: u64, start: &TenureStart) -> Self {
        assert!(
            start.log_start <= start.log_end,
            "W2: a log starts no later than it ends"
        );
        assert!(
            start.durable_end <= start.log_end,
            "W3: what is synced was written"
        );
        assert!(
            start.high_watermark <= start.log_end,
            "W2: no high watermark above the log end"
        );
        let ends = Ends {
            log_end: start.log_end,
            durable_end: start.durable_end,
        };
        let local = Arc::new(Cell::new(start.log_start, ends));
        let high_watermark = start.high_watermark.max(start.log_start);
        Self::new(course, start, local, high_watermark, |_| None)
    }

    /// The next tenure of the same course: whoever stays keeps its cell, but who is fresh, and the high watermark
    /// goes on from where `before` was sealed.
    pub(crate) fn after(before: &Self, sealed_at: Offset, start: &TenureStart) -> Self {
        let keep = |cell: &Arc<Cell>| {
            if weakened(Weakness::PositionsCopied) {
                Arc::new(cell.copy())
            } else {
                Arc::clone(cell)
            }
        };
        assert!(start.local == before.node, "a course stays on its node");
        let local = keep(&before.local);
        Self::new(before.course, start, local, sealed_at, |node| {
            let stays = !start.fresh.contains(&node) || weakened(Weakness::FreshKept);
            before.cell(node).filter(|_| stays).map(keep)
        })
    }

    fn new(
        course: u64,
        start: &TenureStart,
        local: Arc<Cell>,
        high_watermark: Offset,
        kept: impl Fn(NodeId) -> Option<Arc<Cell>>,
    ) -> Self {
        assert!(
            start.maximal_isr.contains(&start.local),
            "W1: the local replica always counts"
        );
        let nowhere = Ends {
            log_end: Offset::ZERO,
            durable_end: Offset::ZERO,
        };
        let followers = start.followers.iter().map(|&node| {
            assert!(
                node != start.local,
                "the local replica is not its own follower"
            );
            let cell = kept(node).unwrap_or_else(|| Arc::new(Cell::new(Offset::ZERO, nowhere)));
            Follower {
                node,
                counted: start.maximal_isr.contains(&node),
                cell,
            }
        });
        let tenure = Self {
            course,
            leader_epoch: start.leader_epoch,
            counts: start.counts,
            committed_isr: start.committed_isr,
            min_isr: start.min_isr,
            node: start.local,
            local,
            followers: followers.collect(),
            high_watermark: Line(AtomicU64::new(high_watermark.get())),
        };
        assert!(
            start
                .maximal_isr
                .iter()
                .all(|&node| tenure.cell(node).is_some()),
            "W1: every member of the maximal ISR is tracked",
        );
        tenure
    }

    /// The local replica's cell.
    #[inline]
    pub(crate) fn local(&self) -> &Arc<Cell> {
        &self.local
    }

    /// The cell of `node`, if it is tracked.
    pub(crate) fn cell(&self, node: NodeId) -> Option<&Arc<Cell>> {
        if node == self.node {
            return Some(&self.local);
        }
        let found = self.followers.iter().find(|follower| follower.node == node);
        found.map(|follower| &follower.cell)
    }

    /// The local node, then the followers that count.
    pub(crate) fn maximal_isr(&self) -> Vec<NodeId> {
        let counted = self.followers.iter().filter(|follower| follower.counted);
        std::iter::once(self.node)
            .chain(counted.map(|follower| follower.node))
            .collect()
    }

    /// Whether the rule of this tenure lets the high watermark move at all.
    #[inline]
    pub(crate) fn min_isr_met(&self) -> bool {
        self.committed_isr >= self.min_isr
    }

    #[inline]
    pub(crate) fn high_watermark(&self) -> Offset {
        // Acquire: pairs with the Release of the compare-exchange in `advance`; who sees a high
        // watermark sees the local log end it was computed from, or a later one.
        let order = ordered(Acquire, Weakness::HighWatermarkUnacquired);
        Offset::new(self.high_watermark.0.load(order) & !SEALED)
    }

    pub(crate) fn value(&self, mark: Mark) -> Offset {
        match mark {
            Mark::LogEnd => self.local.log_end(),
            Mark::DurableEnd => self.local.ends().durable_end,
            Mark::HighWatermark => self.high_watermark(),
        }
    }

    /// The four offsets, each read no earlier than those that bound it from below were.
    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot {
        let local = &self.local;
        let early = weakened(Weakness::LogEndFirst).then(|| local.ends());
        let log_start = local.log_start();
        let high_watermark = self.high_watermark();
        let Ends {
            log_end,
            durable_end,
        } = early.unwrap_or_else(|| local.ends());
        debug_assert!(log_start <= high_watermark, "W5");
        debug_assert!(high_watermark <= log_end, "W2");
        debug_assert!(
            self.counts == Counts::Written || high_watermark <= durable_end,
            "W2"
        );
        Snapshot {
            leader_epoch: self.leader_epoch,
            log_start,
            high_watermark,
            durable_end,
            log_end,
        }
    }

    /// Moves the high watermark to the least counted position, if that is further and allowed.
    ///
    /// The caller has fenced after whatever made it look, so of two who look at once at least one
    /// sees both positions, and one who looks while the tenure is being sealed sees the seal or
    /// is seen by the next tenure.
    #[inline]
    pub(crate) fn advance(&self) -> Advance {
        // Relaxed: nothing is read on the strength of it, and the caller's fence makes it recent
        // enough.
        let mut seen = self.high_watermark.0.load(Relaxed);
        let heeded = !weakened(Weakness::SealIgnored);
        if seen & SEALED != 0 && heeded {
            return Advance::Sealed;
        }
        if !self.min_isr_met() {
            return Advance::Still;
        }
        debug_assert!(self.committed_isr >= self.min_isr, "W8");
        let least = self.least_counted().get();
        loop {
            if seen & SEALED != 0 && heeded {
                return Advance::Sealed;
            }
            if least <= seen & !SEALED {
                return Advance::Still;
            }
            // Release: pairs with the Acquire in `high_watermark` and in `seal`.
            let order = ordered(Release, Weakness::HighWatermarkUnreleased);
            match self
                .high_watermark
                .0
                .compare_exchange(seen, least, order, Relaxed)
            {
                Ok(_) => return Advance::Moved(Offset::new(least)),
                Err(now) => {
                    debug_assert!(now & !SEALED >= seen & !SEALED, "W4");
                    seen = now;
                }
            }
        }
    }

    /// Ends the tenure and tells the final high watermark. Idempotent.
    pub(crate) fn seal(&self) -> Sealed {
        // Acquire: pairs with the Release of the compare-exchange in `advance`, so that the next
        // tenure's readers see what the carried high watermark rests on.
        let order = ordered(Acquire, Weakness::SealUnacquired);
        let word = self.high_watermark.0.fetch_or(SEALED, order);
        let local = &self.local;
        let Ends {
            log_end,
            durable_end,
        } = local.ends();
        Sealed {
            leader_epoch: self.leader_epoch,
            log_start: local.log_start(),
            high_watermark: Offset::new(word & !SEALED),
            durable_end,
            log_end,
        }
    }

    /// Takes the seal back. Only for whoever sealed and published no next tenure.
    pub(crate) fn unseal(&self) {
        // Relaxed: a read-modify-write keeps the Release of the last advance.
        self.high_watermark.0.fetch_and(!SEALED, Relaxed);
    }

    #[inline]
    fn least_counted(&self) -> Offset {
        let counted = self.followers.iter().filter(|follower| follower.counted);
        let positions = counted.map(|follower| follower.cell.counted(self.counts));
        positions.fold(self.local.counted(self.counts), Offset::min)
    }
}
