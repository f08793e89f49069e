//! One follower as its leader sees it: clocks, session, and what is remembered across sessions.

use std::time::Duration;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};

use super::view::LeaveWhy;
use crate::back_off::BackOff;
use crate::timing::Timing;

/// How far in time a position is behind a moving reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct LagClock {
    /// The position had everything that was there at this time.
    had_all_at: Monotonic,
    /// The reference to reach next, and when it was there.
    target: Option<(Offset, Monotonic)>,
}

impl LagClock {
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            had_all_at: now,
            target: None,
        }
    }

    /// The lag of `position` behind `reference`, of which `now` is the time it was read.
    pub(super) fn observe(&mut self, position: Offset, reference: Offset, now: Monotonic) {
        if position >= reference {
            self.had_all_at = self.had_all_at.max(now);
            self.target = None;
            return;
        }
        if let Some((target, at)) = self.target {
            if position < target {
                return;
            }
            self.had_all_at = self.had_all_at.max(at);
        }
        self.target = Some((reference, now));
    }

    pub(super) fn lag(&self, now: Monotonic) -> Duration {
        now.since(self.had_all_at)
    }
}

/// A session: one stretch in which positions only grow.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) opened_at: Monotonic,
    /// What the first ack must say; `None` once it has.
    pub(super) expects: Option<Offset>,
    /// The follower starts afresh in the middle of it: acks from before that are under way.
    pub(super) crossing: bool,
    /// Where the follower stood when it last moved, and when.
    pub(super) moved: (Offset, Monotonic),
}

/// One follower.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) session: Option<Session>,
    /// Behind the leader's log end.
    pub(super) lag: LagClock,
    /// Behind what enough others have.
    pub(super) stall: LagClock,
    /// Since when it could join; `None` while it could not.
    pub(super) fit_since: Option<Monotonic>,
    /// How long it must be fit before it joins.
    pub(super) hold: Duration,
    pub(super) evicted_at: Option<Monotonic>,
    /// How many times it left, none longer than the memory for that after the one before.
    pub(super) evictions: u32,
    /// Why it cannot be in the ISR until it has attached anew.
    pub(super) unfit: Option<LeaveWhy>,
    /// Sessions closed by the watchdog in a row, and where it stood.
    pub(super) stalls: u32,
    pub(super) stalled_at: Offset,
    pub(super) resets: u32,
    pub(super) next_reset: Monotonic,
    pub(super) attach_back_off: BackOff,
    pub(super) next_attach: Monotonic,
    pub(super) join_back_off: BackOff,
    pub(super) next_join: Monotonic,
    /// The batch that it refused last.
    pub(super) corrupt_at: Option<Offset>,
}

impl Peer {
    pub(super) fn new(
        node: NodeId,
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
        timing: &Timing,
        now: Monotonic,
    ) -> Self {
        let topic = key.topic.to_bytes();
        let mut seed = u64::from(key.index) << 32 | u64::from(node.get());
        for byte in topic {
            seed = seed.rotate_left(7) ^ u64::from(byte);
        }
        seed ^= u64::from(leader_epoch.get()) << 17;
        Self {
            node,
            session: None,
            lag: LagClock::new(now),
            // A follower needs a moment to learn of a new leader.
            stall: LagClock::new(now + timing.commit_stall),
            fit_since: None,
            hold: timing.join_hold,
            evicted_at: None,
            evictions: 0,
            unfit: None,
            stalls: 0,
            stalled_at: Offset::ZERO,
            resets: 0,
            next_reset: now,
            attach_back_off: BackOff::new(timing.back_off_min, timing.back_off_max, seed),
            next_attach: now,
            join_back_off: BackOff::new(timing.propose_retry, timing.join_hold_max, !seed),
            next_join: now,
            corrupt_at: None,
        }
    }

    /// Whether it has a session that has confirmed the agreed end.
    pub(super) fn is_confirmed(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.expects.is_none())
    }

    /// It leaves the ISR: the next time it must keep up for longer before it joins.
    pub(super) fn evicted(&mut self, timing: &Timing, now: Monotonic) {
        let again = self
            .evicted_at
            .is_some_and(|before| now.since(before) < timing.flap_memory);
        self.hold = if again {
            (self.hold * 2).min(timing.join_hold_max)
        } else {
            timing.join_hold
        };
        self.evictions = if again {
            self.evictions.saturating_add(1)
        } else {
            1
        };
        self.evicted_at = Some(now);
        self.fit_since = None;
    }

    /// How long it must have kept up before it joins. While too few are in sync to commit, whoever
    /// left once comes in at once; who comes and goes waits even then, for the least time there is.
    pub(super) fn hold_for(&self, short: bool, timing: &Timing) -> Duration {
        if !short {
            self.hold
        } else if self.hold > timing.join_hold {
            timing.join_hold
        } else {
            Duration::ZERO
        }
    }

    /// The next attach must wait.
    pub(super) fn hold_off(&mut self, now: Monotonic) {
        self.next_attach = self.attach_back_off.failed(now);
    }
}
