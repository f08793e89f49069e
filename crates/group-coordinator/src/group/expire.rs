//! Time: sessions, promised ids, join and sync phases and late writes that run out.

use super::{Group, GroupState};
use crate::writes::Context;
use crate::{Cause, GroupError, Text};
use plimsoll_types::Monotonic;

impl Group {
    /// Does all that is due, then sets `wake` to what is due next.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.monotonic;
        let due = |at: &Monotonic| *at <= now;
        self.expire_promises(cx);
        self.expire_sessions(cx);
        if self.join_timer.as_ref().is_some_and(|timer| due(&timer.at)) {
            self.join_timer_fired(cx);
        }
        if self.sync_deadline.as_ref().is_some_and(due) {
            self.expire_syncs(cx);
        }
        if self
            .assigning
            .as_ref()
            .and_then(|a| a.deadline.as_ref())
            .is_some_and(due)
        {
            self.assignment_is_late(cx);
        }
        self.wake = self.deadlines().min();
    }

    fn deadlines(&self) -> impl Iterator<Item = Monotonic> {
        let sessions = self.members.values().filter_map(|m| m.deadline);
        let promises = self.promised.values().copied();
        let join = self.join_timer.as_ref().map(|timer| timer.at);
        let assigning = self.assigning.as_ref().and_then(|a| a.deadline);
        sessions
            .chain(promises)
            .chain(join)
            .chain(self.sync_deadline)
            .chain(assigning)
    }

    fn expire_promises(&mut self, cx: &mut Context<'_>) {
        let before = self.promised.len();
        self.promised.retain(|_, at| *at > cx.now.monotonic);
        if self.promised.len() < before {
            self.end_join_if_complete(cx);
        }
    }

    fn expire_sessions(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.monotonic;
        let is_due = |at: Option<Monotonic>| at.is_some_and(|at| at <= now);
        let due = self.members.iter().filter(|(_, m)| is_due(m.deadline));
        let due: Vec<Text> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            // Removing one may have begun a generation, and with it the session of the next.
            let Some(member) = self.members.get_mut(&id).filter(|m| is_due(m.deadline)) else {
                continue;
            };
            if member.is_excused() {
                member.deadline = None;
                continue;
            }
            self.remove_member(cx, &id, GroupError::UnknownMemberId);
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    self.prepare_rebalance(cx, Cause::SessionExpired(id));
                }
                GroupState::PreparingRebalance => {
                    self.end_join_if_complete(cx);
                }
                GroupState::Empty | GroupState::Dead => {}
            }
        }
    }

    /// Members that joined and then never asked for their assignment are not there.
    fn expire_syncs(&mut self, cx: &mut Context<'_>) {
        self.sync_deadline = None;
        let gone = std::mem::take(&mut self.unsynced);
        if gone.is_empty() {
            return;
        }
        for id in &gone {
            self.remove_member(cx, id, GroupError::UnknownMemberId);
        }
        self.prepare_rebalance(cx, Cause::SyncExpired(gone.len()));
    }
}
