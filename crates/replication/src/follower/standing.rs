//! What a follower does with a log that others may need: keep it, put it aside, or let it go.
//!
//! Nothing that may be the only copy of committed records goes, neither by a cut below the high
//! watermark on a chain of clean elections, nor because it is damaged.

use plimsoll_types::{LeaderEpoch, Monotonic, Offset};

use super::{Follower, FollowerAction, FollowerEvent, FollowerState, LocalLog};
use crate::guards::{Guard, breached};

/// How long it has been out of the ISR with all that its leader told it of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outside {
    out_of_isr: bool,
    since: Option<Monotonic>,
}

impl Follower {
    /// A leader that has forgotten the session tells nothing more, so a follower that has all it
    /// was told of cannot know by that. But it would have been taken into the ISR by now.
    pub(super) fn ask_if_forgotten(
        &mut self,
        log_end: Offset,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        let level = self.outside.out_of_isr && log_end >= self.leader_end;
        let Some(session) = self.session().filter(|_| level) else {
            self.outside.since = None;
            return;
        };
        let since = *self.outside.since.get_or_insert(now);
        if now.since(since) >= self.timing.join_hold_max + self.timing.stall {
            self.outside.since = None;
            out.push(FollowerAction::Event(FollowerEvent::Starved {
                at: log_end,
            }));
            out.push(FollowerAction::Detach { session });
            self.pause(now);
        }
    }

    /// Whether nothing is due: it is fed, and has all that its leader has told of.
    #[must_use]
    pub fn is_quiet(&self, log_end: Offset) -> bool {
        matches!(self.state, FollowerState::Streaming { .. }) && log_end >= self.leader_end
    }

    /// Bytes of a long append are coming: not starved.
    pub fn receiving(&mut self, session: u64, now: Monotonic) {
        if self.state == (FollowerState::Streaming { session }) {
            self.moved.1 = now;
        }
    }

    /// This replica is in the committed ISR, or is not.
    pub fn in_isr(&mut self, in_isr: bool, out: &mut Vec<FollowerAction>) {
        if in_isr && std::mem::take(&mut self.aside) {
            out.push(FollowerAction::DiscardAside);
        }
    }

    /// An earlier term has put a log aside.
    pub fn kept_aside(&mut self) {
        self.aside = true;
    }

    /// Whether the metadata has this replica in the ISR, and whether in ISR or ELR, so that it may
    /// be elected without loss.
    pub fn standing(
        &mut self,
        in_isr: bool,
        may_lead: bool,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        self.may_lead = may_lead;
        self.outside.out_of_isr = !in_isr;
        self.in_isr(in_isr, out);
        self.begin_with_nothing(now, out);
    }

    /// What this replica holds is not to be believed. Whoever says so has the controller take it
    /// out of ISR and ELR; until that is known here its log stays, which may be the only copy.
    /// Meanwhile it neither attaches nor acknowledges, so that nobody proposes it again.
    pub fn damaged(&mut self, now: Monotonic, out: &mut Vec<FollowerAction>) {
        self.damaged = true;
        self.begin_with_nothing(now, out);
    }

    /// The leader's answer to [`FollowerAction::Withdraw`]: it has no session of this replica, and
    /// whether it counts there, in the ISR or as proposed.
    pub fn released(&mut self, counts: bool, now: Monotonic, out: &mut Vec<FollowerAction>) {
        if matches!(self.state, FollowerState::Withdrawn { .. }) {
            self.released = !counts;
            if !counts {
                self.begin_with_nothing(now, out);
            }
        }
    }

    /// Takes a damaged replica as far as it may go by now; whether it is damaged.
    ///
    /// Invariant R3: nothing is put aside while it is in ISR or ELR here, nor before the leader has
    /// said, after the last session, that it is not proposed. A proposal that leads back into the
    /// ISR could otherwise be committed after the log is gone.
    pub(super) fn begin_with_nothing(
        &mut self,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) -> bool {
        if !self.damaged || self.term.leader.is_none() {
            return false;
        }
        if matches!(self.state, FollowerState::Rebuilding { .. }) {
            return true;
        }
        if let Some(session) = self.session() {
            out.push(FollowerAction::Detach { session });
        }
        let free = self.released && !self.may_lead;
        if breached(Guard::ResetSparesMembers, free) {
            if !self.released {
                out.push(FollowerAction::Withdraw);
            }
            let until = now + self.timing.attach;
            self.state = FollowerState::Withdrawn { until };
            return true;
        }
        self.aside = true;
        let until = now + self.timing.confirm;
        self.state = FollowerState::Rebuilding { until };
        let start = Offset::ZERO;
        out.push(FollowerAction::Event(FollowerEvent::Resetting { start }));
        out.push(FollowerAction::ResetTo {
            start,
            log_start: start,
            epochs: Vec::new(),
        });
        true
    }

    /// Another link to the leader is to carry the session: it is agreed on anew there, and that
    /// ends the session there is.
    pub fn reattach(&mut self, now: Monotonic, out: &mut Vec<FollowerAction>) {
        if matches!(self.state, FollowerState::Streaming { .. }) {
            self.ask(now, out);
        }
    }

    /// An operator has looked at what this replica holds alone, and lets it go.
    pub fn accept_loss(
        &mut self,
        through: LeaderEpoch,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        let news = self.term.unclean_epoch < Some(through);
        self.term.unclean_epoch = self.term.unclean_epoch.max(Some(through));
        if news && matches!(self.state, FollowerState::Suspect { .. }) {
            self.ask(now, out);
        }
    }

    pub(super) fn suspect(
        &mut self,
        session: u64,
        to: Offset,
        log: &LocalLog<'_>,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        let high_watermark = log.high_watermark;
        let event = FollowerEvent::Suspect {
            truncate_to: to,
            high_watermark,
        };
        out.push(FollowerAction::Event(event));
        if self.quarantined != Some(to) {
            self.quarantined = Some(to);
            out.push(FollowerAction::Quarantine { from: to });
        }
        out.push(FollowerAction::Detach { session });
        let until = self.suspicion.failed(now);
        self.state = FollowerState::Suspect { until };
    }
}
