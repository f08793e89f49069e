//! Offsets that come and go by request, and groups that go.

use super::Coordinator;
use crate::group::{Group, GroupState};
use crate::offsets::{Change, bytes_of};
use crate::writes::{Context, Then};
use crate::{
    Action, Actions, CommitRequest, CommittedOffset, GroupError, LogRecord, Now,
    OffsetDeleteRequest, OffsetToCommit, ReplyTo, Response, Text,
};
use plimsoll_types::{Timestamp, TopicName};
use std::time::Duration;

impl Coordinator {
    pub(super) fn commit(
        &mut self,
        now: Now,
        actions: &mut Actions,
        to: ReplyTo,
        request: CommitRequest,
    ) {
        if let Err(error) = self.admit_commit(&request) {
            let response = Response::Commit(vec![Err(error); request.offsets.len()]);
            actions.push(Action::Reply { to, response });
            return;
        }
        self.group_or_new(&request.group);
        let id = request.group.clone();
        self.on_group(now, actions, &id, |group, cx| group.commit(cx, to, request));
    }

    fn admit_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        self.check_loaded()?;
        if self.writes.is_full(&self.config) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let charged = request.offsets.iter().map(|o| bytes_of(o.metadata.len()));
        self.check_room(charged.sum())?;
        if self.groups.contains_key(&request.group) {
            return Ok(());
        }
        if request.generation >= 0 {
            return Err(GroupError::IllegalGeneration);
        }
        self.check_room_for_group()
    }

    pub(super) fn delete_offsets(
        &mut self,
        now: Now,
        actions: &mut Actions,
        to: ReplyTo,
        request: &OffsetDeleteRequest,
    ) {
        let done = self.check_loaded().and_then(|()| {
            if self.writes.is_full(&self.config) {
                return Err(GroupError::CoordinatorNotAvailable);
            }
            self.on_group(now, actions, &request.group, |group, cx| {
                group.delete_offsets(cx, to, request)
            })
            .unwrap_or(Err(GroupError::GroupIdNotFound))
        });
        if let Err(error) = done {
            actions.push(Action::Reply {
                to,
                response: Response::DeleteOffsets(Err(error)),
            });
        }
    }

    pub(super) fn delete_group(&mut self, now: Now, actions: &mut Actions, to: ReplyTo, id: &Text) {
        let room = !self.writes.is_full(&self.config);
        let ready = self.empty_group(id).and(
            room.then_some(())
                .ok_or(GroupError::CoordinatorNotAvailable),
        );
        if let Err(error) = ready {
            actions.push(Action::Reply {
                to,
                response: Response::DeleteGroup(Err(error)),
            });
            return;
        }
        self.on_group(now, actions, id, |group, cx| {
            let write = group.delete(cx);
            cx.reply_after(write, to, Response::DeleteGroup(Ok(())));
        });
    }

    /// What was committed for topics that are gone is gone too.
    pub(super) fn topics_deleted(&mut self, now: Now, actions: &mut Actions, topics: &[TopicName]) {
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.on_group(now, actions, &id, |group, cx| {
                let gone = group.offsets.of_topics(topics);
                group.write_tombstones(cx, &gone);
            });
        }
    }
}

impl Group {
    fn commit(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: CommitRequest) {
        if let Err(error) = self.check_commit(&request) {
            let results = vec![Err(error); request.offsets.len()];
            return cx.reply(to, Response::Commit(results));
        }
        if self.members.contains_key(&request.member) {
            self.keep_alive(cx.now.monotonic, &request.member);
        }
        let longest = cx.config.max_offset_metadata_bytes;
        let fits = |o: &OffsetToCommit| match o.metadata.len() <= longest {
            true => Ok(()),
            false => Err(GroupError::OffsetMetadataTooLarge),
        };
        let results: Vec<_> = request.offsets.iter().map(fits).collect();
        let wall = cx.now.wall;
        let taken = request.offsets.into_iter().filter(|o| fits(o).is_ok());
        let changes: Vec<Change> = taken
            .map(|o| committed(o, wall, request.retention))
            .collect();
        if changes.is_empty() {
            return cx.reply(to, Response::Commit(results));
        }
        let record = |(topic, partition, value): &Change| LogRecord::Offset {
            group: self.id.clone(),
            topic: topic.clone(),
            partition: *partition,
            value: value.clone(),
        };
        let records = changes.iter().map(record).collect();
        self.offsets.expect(&changes);
        let write = cx.write(&self.id, records, Then::Change(changes));
        cx.reply_after(write, to, Response::Commit(results));
    }

    /// Members commit what their generation assigned them; others may only while there are none.
    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let outsider = request.generation < 0;
        if outsider && self.state == GroupState::Empty {
            return Ok(());
        }
        if outsider && request.member.is_empty() && request.instance.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_member(&request.member, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn delete_offsets(
        &mut self,
        cx: &mut Context<'_>,
        to: ReplyTo,
        request: &OffsetDeleteRequest,
    ) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => return Err(GroupError::GroupIdNotFound),
            GroupState::Empty => {}
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable
                if self.has_consumers() => {}
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => return Err(GroupError::NonEmptyGroup),
        }
        let verdict = |(topic, _): &(TopicName, u32)| match self.is_subscribed(topic.as_str()) {
            true => Err(GroupError::GroupSubscribedToTopic),
            false => Ok(()),
        };
        let results: Vec<_> = request.offsets.iter().map(verdict).collect();
        let wanted = request
            .offsets
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok());
        let known =
            wanted.filter(|((topic, partition), _)| self.offsets.contains(topic, *partition));
        let gone: Vec<_> = known.map(|(offset, _)| offset.clone()).collect();
        let response = Response::DeleteOffsets(Ok(results));
        match self.write_tombstones(cx, &gone) {
            Some(last) => cx.reply_after(last, to, response),
            None => cx.reply(to, response),
        }
        Ok(())
    }

    /// Where a write's promise was to a member that has since moved on, it joins again.
    pub(super) fn check_rejoined(&self, generation: i32, member: &Text) -> Result<(), GroupError> {
        let goes_on = self.state == GroupState::Stable && self.generation == generation;
        if goes_on && self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupError::RebalanceInProgress)
        }
    }
}

fn committed(offset: OffsetToCommit, now: Timestamp, retention: Option<Duration>) -> Change {
    let end = |kept: Duration| {
        let ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_add(ms))
    };
    let value = CommittedOffset {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata,
        committed_at: now,
        expires_at: retention.map(end),
    };
    (offset.topic, offset.partition, Some(value))
}
