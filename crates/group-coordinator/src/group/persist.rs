//! A group in the log: what is written of it, and how it comes back.

use super::{Group, GroupState, Wrote};
use crate::member::Member;
use crate::writes::{Context, Then};
use crate::{Blob, Cause, GroupSnapshot, LogRecord, Text, WriteId};
use plimsoll_types::TopicName;

impl Group {
    pub(super) fn write_snapshot(&mut self, cx: &mut Context<'_>, then: Then) -> WriteId {
        self.persisted = true;
        let record = LogRecord::Group {
            group: self.id.clone(),
            value: Some(self.snapshot()),
        };
        cx.write(&self.id, vec![record], then)
    }

    /// A group that nobody heard of and that keeps nothing need not be remembered.
    pub(super) fn write_emptied(&mut self, cx: &mut Context<'_>) -> Wrote {
        if !self.persisted && self.offsets.is_empty() {
            return None;
        }
        Some(self.write_snapshot(cx, Then::Nothing))
    }

    /// The group as it is, with the assignment that is on its way if one is.
    fn snapshot(&self) -> GroupSnapshot {
        let coming = self.assigning.as_ref().map(|a| &a.assignments);
        let assignment = |id: &Text, member: &Member| match coming {
            Some(coming) => coming.get(id).cloned().unwrap_or_else(|| Blob::from([])),
            None => member.assignment.clone(),
        };
        let protocol = self.protocol.as_ref();
        let members = self
            .members
            .iter()
            .map(|(id, m)| m.snapshot(id, protocol, assignment(id, m)));
        GroupSnapshot {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: members.collect(),
        }
    }

    /// Replaces all but the offsets by what the log says.
    pub(crate) fn load(&mut self, snapshot: &GroupSnapshot) {
        let offsets = std::mem::take(&mut self.offsets);
        *self = Self::new(self.id.clone());
        self.offsets = offsets;
        self.persisted = true;
        self.generation = snapshot.generation;
        self.state_since = snapshot.state_since;
        self.protocol_type.clone_from(&snapshot.protocol_type);
        let none = Text::from("");
        let protocol = snapshot.protocol.as_ref().unwrap_or(&none);
        let protocol_type = snapshot.protocol_type.as_ref().unwrap_or(&none);
        for member in &snapshot.members {
            self.add_member(
                &member.member,
                Member::loaded(member, protocol),
                protocol_type,
            );
        }
        if self.members.is_empty() {
            return;
        }
        self.assigned_bytes = snapshot.members.iter().map(|m| m.assignment.len()).sum();
        self.state = GroupState::Stable;
        self.protocol = Some(protocol.clone());
        let leader = snapshot
            .leader
            .as_ref()
            .filter(|id| self.members.contains_key(*id));
        self.leader = leader.or_else(|| self.members.keys().next()).cloned();
        self.subscribed = self.read_subscriptions();
    }

    /// The log is read: sessions start now, wherever the members were meanwhile.
    pub(crate) fn finish_loading(&mut self, cx: &mut Context<'_>) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.keep_alive(cx.now.monotonic, &id);
        }
        if self.members.len() > cx.config.max_group_members {
            self.prepare_rebalance(cx, Cause::TooManyMembers);
        }
    }

    /// The log says the group was deleted; offsets committed since stay.
    pub(crate) fn load_deleted(&mut self) {
        let offsets = std::mem::take(&mut self.offsets);
        *self = Self::new(self.id.clone());
        self.offsets = offsets;
    }

    /// Writes that these offsets go, in as many writes as it takes; the last of them is returned.
    pub(crate) fn write_tombstones(
        &mut self,
        cx: &mut Context<'_>,
        offsets: &[(TopicName, u32)],
    ) -> Wrote {
        let mut last = None;
        for some in offsets.chunks(cx.config.max_records_per_write.max(1)) {
            let record = |(topic, partition): &(TopicName, u32)| LogRecord::Offset {
                group: self.id.clone(),
                topic: topic.clone(),
                partition: *partition,
                value: None,
            };
            let records = some.iter().map(record).collect();
            let changes = some
                .iter()
                .map(|(topic, p)| (topic.clone(), *p, None))
                .collect();
            last = Some(cx.write(&self.id, records, Then::Change(changes)));
        }
        last
    }

    /// Begins to delete an empty group: its offsets and then itself go from the log, and when that
    /// is durable from memory. Until then it is dead, and whoever comes is told to come again.
    pub(crate) fn delete(&mut self, cx: &mut Context<'_>) -> WriteId {
        debug_assert_eq!(self.state, GroupState::Empty);
        self.write_tombstones(cx, &self.offsets.all());
        self.set_state(cx, GroupState::Dead, Cause::Deleted);
        self.promised.clear();
        let record = LogRecord::Group {
            group: self.id.clone(),
            value: None,
        };
        cx.write(&self.id, vec![record], Then::Delete)
    }

    /// The last write of the deletion ended; whether the group is gone.
    pub(crate) fn deletion_written(&mut self, cx: &mut Context<'_>, durable: bool) -> bool {
        self.persisted &= !durable;
        if durable && self.offsets.is_empty() {
            return true;
        }
        self.set_state(cx, GroupState::Empty, Cause::DeletionNotWritten);
        false
    }
}
