//! From one generation to the next: everyone joins, or runs out of time.

use super::{Group, GroupState, InitialDelay, JoinTimer, Wrote};
use crate::writes::Context;
use crate::{Blob, Cause, GroupError, Text};
use std::time::Duration;

/// Least time between attempts to end a join phase that nobody joined.
const RETRY: Duration = Duration::from_secs(1);

impl Group {
    /// Starts a rebalance, or ends the one under way if that waited only for what just happened.
    pub(super) fn rebalance(&mut self, cx: &mut Context<'_>, cause: Cause) -> Wrote {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(cx, cause)
            }
            GroupState::PreparingRebalance => self.end_join_if_complete(cx),
            GroupState::Dead => None,
        }
    }

    pub(super) fn prepare_rebalance(&mut self, cx: &mut Context<'_>, cause: Cause) -> Wrote {
        if self.state == GroupState::CompletingRebalance {
            self.fail_syncs(cx, GroupError::RebalanceInProgress);
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        self.assigning = None;
        let first = self.state == GroupState::Empty;
        self.set_state(cx, GroupState::PreparingRebalance, cause);
        if first && !cx.config.initial_rebalance_delay.is_zero() {
            self.delay_first_rebalance(cx);
            return None;
        }
        if self.everyone_joined() {
            return self.end_join(cx);
        }
        self.start_join_timer(cx, self.rebalance_timeout(), None);
        None
    }

    /// More members are likely to follow the first: waiting for them saves rebalances.
    fn delay_first_rebalance(&mut self, cx: &Context<'_>) {
        let step = cx.config.initial_rebalance_delay;
        let remaining = self.rebalance_timeout().saturating_sub(step);
        let initial = InitialDelay {
            step,
            remaining,
            extend: false,
        };
        self.start_join_timer(cx, step, Some(initial));
    }

    fn start_join_timer(
        &mut self,
        cx: &Context<'_>,
        time: Duration,
        initial: Option<InitialDelay>,
    ) {
        let at = cx.now.monotonic + time;
        self.join_timer = Some(JoinTimer { at, initial });
        self.arm(at);
    }

    /// A member came while the first rebalance waits for more.
    pub(super) fn extend_first_rebalance(&mut self) {
        if let Some(JoinTimer {
            initial: Some(initial),
            ..
        }) = &mut self.join_timer
        {
            initial.extend = true;
        }
    }

    pub(super) fn end_join_if_complete(&mut self, cx: &mut Context<'_>) -> Wrote {
        let first = self
            .join_timer
            .as_ref()
            .is_some_and(|timer| timer.initial.is_some());
        if self.state != GroupState::PreparingRebalance || first || !self.everyone_joined() {
            return None;
        }
        self.end_join(cx)
    }

    /// The time to join is over.
    pub(super) fn join_timer_fired(&mut self, cx: &mut Context<'_>) {
        let Some(timer) = self.join_timer.take() else {
            return;
        };
        match timer.initial {
            Some(InitialDelay {
                step,
                remaining,
                extend: true,
            }) if !remaining.is_zero() => {
                let next = cx.config.initial_rebalance_delay.min(remaining);
                let remaining = remaining.saturating_sub(step);
                let initial = InitialDelay {
                    step: next,
                    remaining,
                    extend: false,
                };
                self.start_join_timer(cx, next, Some(initial));
            }
            Some(_) | None => {
                self.end_join(cx);
            }
        }
    }

    /// Ends the join phase: who did not come back is out (static members stay), and the rest are
    /// the next generation.
    fn end_join(&mut self, cx: &mut Context<'_>) -> Wrote {
        debug_assert_eq!(self.state, GroupState::PreparingRebalance);
        self.join_timer = None;
        self.assigned_bytes = 0;
        let late = self
            .members
            .iter()
            .filter(|(_, m)| m.join.is_none() && m.instance.is_none());
        for id in late.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove_member(cx, &id, GroupError::UnknownMemberId);
        }
        if !self.members.is_empty() && !self.lead_by_a_joined_member() {
            // Only static members are left, and none is back: wait until they are, or expire.
            self.start_join_timer(cx, self.rebalance_timeout().max(RETRY), None);
            return None;
        }
        // 2^31 generations do not pass in a group's life; a log that says so starts over.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed = self.read_subscriptions();
            self.set_state(cx, GroupState::Empty, Cause::JoinEnded);
            return self.write_emptied(cx);
        }
        self.protocol = self.elect_protocol();
        debug_assert!(self.protocol.is_some(), "G4");
        self.subscribed = self.read_subscriptions();
        self.set_state(cx, GroupState::CompletingRebalance, Cause::JoinEnded);
        self.begin_generation(cx);
        None
    }

    /// Whether there is a leader that has joined, having elected one if need be.
    fn lead_by_a_joined_member(&mut self) -> bool {
        let has_joined = |id: &Text| self.members.get(id).is_some_and(|m| m.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.iter().find(|(_, m)| m.join.is_some());
        let Some((id, _)) = joined else { return false };
        self.leader = Some(id.clone());
        true
    }

    fn begin_generation(&mut self, cx: &mut Context<'_>) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&id);
            self.answer_join(cx, &id, Ok(joined));
            self.keep_alive(cx.now.monotonic, &id);
            if let Some(member) = self.members.get_mut(&id) {
                member.new = false;
                member.assignment = Blob::from([]);
            }
            self.unsynced.insert(id);
        }
        let at = cx.now.monotonic + self.rebalance_timeout().max(RETRY);
        self.sync_deadline = Some(at);
        self.arm(at);
    }
}
