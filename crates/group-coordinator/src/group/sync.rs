//! SyncGroup: the leader brings the assignment, the log keeps it, everyone gets their part.

use super::{Assigning, Group, GroupState};
use crate::writes::{Context, Then};
use crate::{Blob, Cause, GroupError, ReplyTo, Response, SyncRequest, Synced, Text, WriteError};
use std::collections::BTreeMap;

impl Group {
    pub(crate) fn sync(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: SyncRequest) {
        if let Err(error) = self.check_sync(&request) {
            return cx.reply(to, Response::Sync(Err(error)));
        }
        let id = request.member.clone();
        match self.state {
            GroupState::Empty | GroupState::Dead => {
                cx.reply(to, Response::Sync(Err(GroupError::UnknownMemberId)));
            }
            GroupState::PreparingRebalance => {
                cx.reply(to, Response::Sync(Err(GroupError::RebalanceInProgress)));
            }
            GroupState::CompletingRebalance => {
                self.await_sync(cx, &id, to);
                if self.is_leader(&id) {
                    self.assign(cx, request);
                }
            }
            GroupState::Stable => {
                self.synced(&id);
                self.keep_alive(cx.now.monotonic, &id);
                cx.reply(to, Response::Sync(Ok(self.assignment_of(&id))));
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        let differs = |told: &Option<Text>, ours: &Option<Text>| {
            told.is_some() && ours.is_some() && told != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn await_sync(&mut self, cx: &mut Context<'_>, id: &Text, to: ReplyTo) {
        self.synced(id);
        let member = self
            .members
            .get_mut(id)
            .expect("the check found the member");
        if let Some(before) = member.sync.replace(to) {
            cx.reply(before, Response::Sync(Err(GroupError::RebalanceInProgress)));
        }
        let deadline = cx.now.monotonic + cx.config.write_timeout;
        let Some(assigning) = &mut self.assigning else {
            return;
        };
        let at = *assigning.deadline.get_or_insert(deadline);
        self.arm(at);
    }

    /// The member has asked for its assignment.
    fn synced(&mut self, id: &Text) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// The leader's decision goes to the log. It decides once a generation: what a leader says
    /// again while its first word is on its way is not heard.
    fn assign(&mut self, cx: &mut Context<'_>, request: SyncRequest) {
        if self.assigning.is_some() {
            return;
        }
        let is_member = |(id, _): &(Text, Blob)| self.members.contains_key(id);
        let assignments: BTreeMap<_, _> =
            request.assignments.into_iter().filter(is_member).collect();
        let bytes: usize = assignments.values().map(|a| a.len()).sum();
        if bytes > cx.config.max_group_bytes {
            return self.assignment_failed(cx, WriteError::TooLarge.of_group());
        }
        if cx.writes.is_full(cx.config) {
            return self.assignment_failed(cx, GroupError::CoordinatorNotAvailable);
        }
        let deadline = cx.now.monotonic + cx.config.write_timeout;
        self.assigning = Some(Assigning {
            assignments,
            deadline: Some(deadline),
        });
        self.arm(deadline);
        self.write_snapshot(
            cx,
            Then::Assign {
                generation: self.generation,
            },
        );
    }

    /// The write of this generation's assignment ended. If the group has moved on, so what.
    pub(crate) fn assignment_written(
        &mut self,
        cx: &mut Context<'_>,
        generation: i32,
        result: Result<(), WriteError>,
    ) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = result {
            return self.assignment_failed(cx, error.of_group());
        }
        let Some(mut assigning) = self.assigning.take() else {
            return;
        };
        self.assigned_bytes = assigning.assignments.values().map(|a| a.len()).sum();
        for (id, member) in &mut self.members {
            member.assignment = assigning
                .assignments
                .remove(id)
                .unwrap_or_else(|| Blob::from([]));
        }
        self.set_state(cx, GroupState::Stable, Cause::Assigned);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let waiting = self.members.get_mut(&id).and_then(|m| m.sync.take());
            if let Some(to) = waiting {
                cx.reply(to, Response::Sync(Ok(self.assignment_of(&id))));
                self.keep_alive(cx.now.monotonic, &id);
            }
        }
    }

    /// There will be no assignment in this generation: try the next.
    fn assignment_failed(&mut self, cx: &mut Context<'_>, error: GroupError) {
        self.fail_syncs(cx, error);
        self.prepare_rebalance(cx, Cause::AssignmentNotWritten);
    }

    /// The log takes too long for those who wait; the assignment may yet hold.
    pub(super) fn assignment_is_late(&mut self, cx: &mut Context<'_>) {
        if let Some(assigning) = &mut self.assigning {
            assigning.deadline = None;
            self.fail_syncs(cx, GroupError::CoordinatorNotAvailable);
        }
    }

    pub(super) fn fail_syncs(&mut self, cx: &mut Context<'_>, error: GroupError) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let waiting = self.members.get_mut(&id).and_then(|m| m.sync.take());
            if let Some(to) = waiting {
                cx.reply(to, Response::Sync(Err(error)));
                self.keep_alive(cx.now.monotonic, &id);
            }
        }
    }

    fn assignment_of(&self, id: &Text) -> Synced {
        let assignment = self.members.get(id).map(|m| m.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_else(|| Blob::from([])),
        }
    }
}
