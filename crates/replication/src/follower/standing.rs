//! What a follower does with a log that others may need: keep it, put it aside, or let it go.
//!
//! Nothing that may be the only copy of committed records goes, neither by a cut below the high
//! watermark on a chain of clean elections, nor because it is damaged.

use plimsoll_types::{LeaderEpoch, Monotonic, Offset};

use super::{Follower, FollowerAction, FollowerEvent, FollowerState, LocalLog};
use crate::guards::{Guard, breached};

impl Follower {
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
        self.in_isr(in_isr, out);
        self.begin_with_nothing(now, out);
    }

    /// What this replica holds is not to be believed. Whoever says so has the controller take it
    /// out of ISR and ELR; until that is known here its log stays, which may be the only copy.
    pub fn damaged(&mut self, now: Monotonic, out: &mut Vec<FollowerAction>) {
        self.damaged = true;
        self.begin_with_nothing(now, out);
    }

    /// If that is due; whether it was.
    pub(super) fn begin_with_nothing(
        &mut self,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) -> bool {
        let begun = matches!(self.state, FollowerState::Rebuilding { .. });
        let wanted = self.damaged && self.term.leader.is_some() && !begun;
        if !wanted || breached(Guard::ResetSparesMembers, !self.may_lead) {
            return false;
        }
        if let Some(session) = self.session() {
            out.push(FollowerAction::Detach { session });
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
