//! The groups of one partition of the offsets topic: routing, timers, loading.
//!
//! A file a concern: [`commit`] changes offsets, [`retention`] ends them, [`query`] reads. What a
//! single group decides is in `group`.

mod commit;
mod query;
mod retention;

pub use query::{DescribedGroup, DescribedMember, ListFilter, ListedGroup, Stats};

use crate::group::{Group, GroupState, refuse_join};
use crate::member::bytes_of_request;
use crate::writes::{Context, Then, UnderWay, Writes};
use crate::{
    Action, Actions, GroupConfig, GroupError, Input, JoinRequest, LogRecord, Now, ReplyTo,
    Response, SyncRequest, Text, WriteError, WriteId,
};
use plimsoll_types::Monotonic;
use std::collections::{BTreeMap, BTreeSet};

/// The groups whose records live in one partition of the offsets topic.
///
/// It starts out loading: [`Coordinator::load`] every record of the partition in order, then
/// [`Coordinator::finish_loading`]. From then on [`Coordinator::handle`] takes what happens.
#[derive(Debug)]
pub struct Coordinator {
    config: GroupConfig,
    loaded: bool,
    groups: BTreeMap<Text, Group>,
    /// `wake` of every group that has one.
    timers: BTreeSet<(Monotonic, Text)>,
    writes: Writes,
    /// Sum over the groups.
    bytes: usize,
    next_retention_check: Monotonic,
}

impl Coordinator {
    /// A coordinator that loads.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            loaded: false,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            writes: Writes::default(),
            bytes: 0,
            next_retention_check: Monotonic::default(),
        }
    }

    /// Whether requests are answered already.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Takes the next record of the log. Later records of a key replace earlier ones.
    pub fn load(&mut self, record: LogRecord) {
        debug_assert!(
            !self.loaded,
            "records are loaded before requests are answered"
        );
        match record {
            LogRecord::Group {
                group,
                value: Some(snapshot),
            } => {
                self.group_or_new(&group).load(&snapshot);
            }
            LogRecord::Group { group, value: None } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.load_deleted();
                }
            }
            LogRecord::Offset {
                group,
                topic,
                partition,
                value,
            } => {
                self.group_or_new(&group)
                    .offsets
                    .set(topic, partition, value);
            }
        }
    }

    fn group_or_new(&mut self, id: &Text) -> &mut Group {
        self.groups.entry(id.clone()).or_insert_with(|| {
            let group = Group::new(id.clone());
            self.bytes += group.bytes();
            group
        })
    }

    /// All records are loaded: answer requests from now on.
    #[must_use]
    pub fn finish_loading(&mut self, now: Now) -> Actions {
        let mut actions = Actions::new();
        self.loaded = true;
        self.bytes = self.groups.values().map(Group::bytes).sum();
        self.next_retention_check = now.monotonic + self.config.retention_check_interval;
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.on_group(now, &mut actions, &id, |group, cx| group.finish_loading(cx));
        }
        actions
    }

    /// When the next [`Input::Tick`] is due at the latest; an early one does no harm.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        if !self.loaded {
            return None;
        }
        let group = self.timers.first().map(|(at, _)| *at);
        let write = self.writes.next_deadline();
        [group, write, Some(self.next_retention_check)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes what happened and says what to do about it.
    #[must_use]
    pub fn handle(&mut self, now: Now, input: Input) -> Actions {
        let mut actions = Actions::new();
        match input {
            Input::Join { reply, request } => self.join(now, &mut actions, reply, &request),
            Input::Sync { reply, request } => self.sync(now, &mut actions, reply, request),
            Input::Heartbeat { reply, request } => {
                let result = self.heartbeat(now, &mut actions, &request);
                actions.push(Action::Reply {
                    to: reply,
                    response: Response::Heartbeat(result),
                });
            }
            Input::Leave { reply, request } => {
                let refuse = |error| Response::Leave(Err(error));
                let id = request.group.clone();
                self.with_members(now, &mut actions, &id, reply, refuse, |group, cx| {
                    group.leave(cx, reply, &request);
                });
            }
            Input::Commit { reply, request } => self.commit(now, &mut actions, reply, request),
            Input::DeleteOffsets { reply, request } => {
                self.delete_offsets(now, &mut actions, reply, &request);
            }
            Input::DeleteGroup { reply, group } => {
                self.delete_group(now, &mut actions, reply, &group);
            }
            Input::Written { write, result } => self.written(now, &mut actions, write, result),
            Input::TopicsDeleted { topics } => self.topics_deleted(now, &mut actions, &topics),
            Input::Tick => self.tick(now, &mut actions),
            Input::Unloaded => self.unload(now, &mut actions),
        }
        actions
    }

    /// Runs a transition of one group and keeps the books: its timer, its check, its end.
    fn on_group<R>(
        &mut self,
        now: Now,
        actions: &mut Actions,
        id: &Text,
        transition: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(id)?;
        let before = group.wake;
        self.bytes -= group.bytes();
        let mut cx = Context {
            now,
            config: &self.config,
            actions,
            writes: &mut self.writes,
        };
        let result = transition(group, &mut cx);
        let void = group.is_void();
        if cfg!(debug_assertions) {
            group.check();
        }
        let after = group.wake.filter(|_| !void);
        if void {
            self.groups.remove(id);
        } else {
            self.bytes += group.bytes();
        }
        if before != after {
            if let Some(at) = before {
                self.timers.remove(&(at, id.clone()));
            }
            if let Some(at) = after {
                self.timers.insert((at, id.clone()));
            }
        }
        Some(result)
    }

    fn check_loaded(&self) -> Result<(), GroupError> {
        if self.loaded {
            Ok(())
        } else {
            Err(GroupError::CoordinatorLoadInProgress)
        }
    }

    fn join(&mut self, now: Now, actions: &mut Actions, to: ReplyTo, request: &JoinRequest) {
        if let Err(error) = self.admit(request) {
            let response = refuse_join(error, &request.member);
            actions.push(Action::Reply { to, response });
            return;
        }
        self.group_or_new(&request.group);
        self.on_group(now, actions, &request.group, |group, cx| {
            group.join(cx, to, request)
        });
    }

    fn admit(&self, request: &JoinRequest) -> Result<(), GroupError> {
        self.check_loaded()?;
        if request.group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let allowed = self.config.min_session_timeout..=self.config.max_session_timeout;
        if !allowed.contains(&request.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        self.check_room(bytes_of_request(request))?;
        if self.groups.contains_key(&request.group) {
            return Ok(());
        }
        if !request.member.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_room_for_group()
    }

    fn check_room(&self, bytes: usize) -> Result<(), GroupError> {
        if self.bytes.saturating_add(bytes) <= self.config.max_bytes {
            Ok(())
        } else {
            Err(GroupError::CoordinatorNotAvailable)
        }
    }

    fn check_room_for_group(&self) -> Result<(), GroupError> {
        if self.groups.len() < self.config.max_groups {
            Ok(())
        } else {
            Err(GroupError::CoordinatorNotAvailable)
        }
    }

    fn sync(&mut self, now: Now, actions: &mut Actions, reply: ReplyTo, request: SyncRequest) {
        let refuse = |error| Response::Sync(Err(error));
        let id = request.group.clone();
        self.with_members(now, actions, &id, reply, refuse, |group, cx| {
            group.sync(cx, reply, request);
        });
    }

    fn heartbeat(
        &mut self,
        now: Now,
        actions: &mut Actions,
        request: &crate::HeartbeatRequest,
    ) -> Result<(), GroupError> {
        if request.group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if !self.loaded {
            // Nobody's session runs yet, so there is nothing to tell the member but to go on.
            return Ok(());
        }
        self.on_group(now, actions, &request.group, |group, cx| {
            group.heartbeat(cx, request)
        })
        .unwrap_or(Err(GroupError::UnknownMemberId))
    }

    /// Runs a transition that only members ask for; refuses where there can be none.
    fn with_members(
        &mut self,
        now: Now,
        actions: &mut Actions,
        id: &Text,
        to: ReplyTo,
        refuse: impl FnOnce(GroupError) -> Response,
        transition: impl FnOnce(&mut Group, &mut Context<'_>),
    ) {
        let admitted = match self.check_loaded() {
            Err(error) => Err(error),
            Ok(()) if id.is_empty() => Err(GroupError::InvalidGroupId),
            Ok(()) => self
                .on_group(now, actions, id, transition)
                .ok_or(GroupError::UnknownMemberId),
        };
        if let Err(error) = admitted {
            actions.push(Action::Reply {
                to,
                response: refuse(error),
            });
        }
    }

    fn written(
        &mut self,
        now: Now,
        actions: &mut Actions,
        write: WriteId,
        result: Result<(), WriteError>,
    ) {
        let Some(UnderWay {
            group,
            then,
            waiting,
        }) = self.writes.take(write)
        else {
            return;
        };
        let of_offsets = matches!(then, Then::Change(_));
        let mut verdict = result.map_err(|e| {
            if of_offsets {
                e.of_offsets()
            } else {
                e.of_group()
            }
        });
        let deleted = self
            .on_group(now, actions, &group, |group, cx| match then {
                Then::Nothing => false,
                Then::Assign { generation } => {
                    group.assignment_written(cx, generation, result);
                    false
                }
                Then::Rejoin { generation, member } => {
                    verdict = verdict.and_then(|()| group.check_rejoined(generation, &member));
                    false
                }
                Then::Change(changes) => {
                    group.offsets.settle(changes, result.is_ok());
                    false
                }
                Then::Delete => {
                    let deleted = group.deletion_written(cx, result.is_ok());
                    if !deleted {
                        verdict = verdict.and(Err(GroupError::CoordinatorNotAvailable));
                    }
                    deleted
                }
            })
            .unwrap_or(false);
        if deleted {
            self.forget(&group);
        }
        if let Some(waiting) = waiting {
            let response = match verdict {
                Ok(()) => waiting.response,
                Err(error) => waiting.response.failed(error),
            };
            actions.push(Action::Reply {
                to: waiting.to,
                response,
            });
        }
    }

    fn forget(&mut self, id: &Text) {
        let Some(group) = self.groups.remove(id) else {
            return;
        };
        self.bytes -= group.bytes();
        if let Some(at) = group.wake {
            self.timers.remove(&(at, id.clone()));
        }
    }

    fn tick(&mut self, now: Now, actions: &mut Actions) {
        if !self.loaded {
            return;
        }
        let due = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now.monotonic);
        for id in due.map(|(_, id)| id.clone()).collect::<Vec<_>>() {
            self.on_group(now, actions, &id, |group, cx| group.tick(cx));
        }
        self.writes.expire(now.monotonic, actions);
        debug_assert_eq!(
            self.bytes,
            self.groups.values().map(Group::bytes).sum::<usize>(),
            "G8"
        );
        if self.next_retention_check <= now.monotonic {
            self.next_retention_check = now.monotonic + self.config.retention_check_interval;
            self.expire_offsets(now, actions);
        }
    }

    fn unload(&mut self, now: Now, actions: &mut Actions) {
        let error = GroupError::NotCoordinator;
        for group in std::mem::take(&mut self.groups).values_mut() {
            let (config, writes) = (&self.config, &mut self.writes);
            group.abandon(
                &mut Context {
                    now,
                    config,
                    actions,
                    writes,
                },
                error,
            );
        }
        self.writes.clear(error, actions);
        self.timers.clear();
        self.bytes = 0;
        self.loaded = false;
    }

    fn empty_group(&self, id: &Text) -> Result<(), GroupError> {
        self.check_loaded()?;
        let group = self.groups.get(id).ok_or(GroupError::GroupIdNotFound)?;
        match group.state {
            GroupState::Empty => Ok(()),
            GroupState::Dead => Err(GroupError::GroupIdNotFound),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => Err(GroupError::NonEmptyGroup),
        }
    }
}
