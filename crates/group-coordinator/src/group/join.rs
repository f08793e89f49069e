//! JoinGroup: new members, returning ones, and static members that come back under another id.

use super::{Group, GroupState, refuse_join};
use crate::member::{Member, bytes_of_request};
use crate::writes::{Context, Then};
use crate::{Cause, GroupError, JoinRequest, Joined, ReplyTo, Response, Text};

impl Group {
    pub(crate) fn join(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: &JoinRequest) {
        if self.state == GroupState::Dead {
            let error = GroupError::CoordinatorNotAvailable;
            return cx.reply(to, refuse_join(error, &request.member));
        }
        if !self.has_room(cx, request) {
            let error = GroupError::GroupMaxSizeReached;
            cx.reply(to, refuse_join(error, &Text::from("")));
            self.shed(cx, &request.member, error);
        } else if !self.supports(request) {
            let error = GroupError::InconsistentGroupProtocol;
            cx.reply(to, refuse_join(error, &request.member));
        } else if request.member.is_empty() {
            self.join_unknown(cx, to, request);
        } else {
            self.join_known(cx, to, request);
        }
    }

    fn shed(&mut self, cx: &mut Context<'_>, id: &Text, error: GroupError) {
        let before = self.members.len();
        self.promised.remove(id);
        self.remove_member(cx, id, error);
        self.members_left(cx, before - self.members.len());
    }

    /// G8. A member in place is not turned away for the number of members, unless a rebalance can
    /// shed it and others were faster.
    fn has_room(&self, cx: &Context<'_>, request: &JoinRequest) -> bool {
        let known = self.members.get(&request.member);
        let returning = request
            .instance
            .as_ref()
            .and_then(|i| self.instances.get(i));
        let replaced = known.or_else(|| self.members.get(returning?));
        let bytes = bytes_of_request(request);
        let others = self.bytes - replaced.map_or(0, Member::bytes);
        if bytes > cx.config.max_member_bytes || others + bytes > cx.config.max_group_bytes {
            return false;
        }
        let most = cx.config.max_group_members;
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                replaced.is_some_and(|m| m.join.is_some()) || self.joining < most
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                replaced.is_some() || self.members.len() < most
            }
        }
    }

    fn join_unknown(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: &JoinRequest) {
        let prefix = request.instance.as_ref().unwrap_or(&request.client_id);
        let id: Text = format!("{prefix}-{}", request.fresh_id).into();
        debug_assert!(!self.members.contains_key(&id), "fresh ids are unique");
        let before = request
            .instance
            .as_ref()
            .and_then(|i| self.instances.get(i))
            .cloned();
        if let Some(before) = before {
            if cx.writes.is_full(cx.config) {
                let error = GroupError::CoordinatorNotAvailable;
                return cx.reply(to, refuse_join(error, &request.member));
            }
            self.replace_static(cx, to, request, &before, &id);
        } else if request.require_member_id && request.instance.is_none() {
            self.promise(cx, to, request, &id);
        } else {
            self.add_and_rebalance(cx, to, request, &id);
        }
    }

    /// Gives out a member id and waits for the member to join with it (KIP-394).
    fn promise(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: &JoinRequest, id: &Text) {
        if self.promised.len() >= cx.config.max_group_members {
            return cx.reply(
                to,
                refuse_join(GroupError::GroupMaxSizeReached, &Text::from("")),
            );
        }
        let at = cx.now.monotonic + request.session_timeout;
        self.promised.insert(id.clone(), at);
        self.arm(at);
        cx.reply(to, refuse_join(GroupError::MemberIdRequired, id));
    }

    fn add_and_rebalance(
        &mut self,
        cx: &mut Context<'_>,
        to: ReplyTo,
        request: &JoinRequest,
        id: &Text,
    ) {
        let mut member = Member::new(request);
        member.join = Some(to);
        // It cannot send heartbeats yet, and whether its connection still lives cannot be seen.
        let at = cx.now.monotonic + cx.config.new_member_join_timeout;
        member.deadline = Some(at);
        self.arm(at);
        self.extend_first_rebalance();
        self.add_member(id, member, &request.protocol_type);
        self.rebalance(cx, Cause::MemberJoined(id.clone()));
    }

    fn join_known(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: &JoinRequest) {
        let id = &request.member;
        if request.instance.is_none() && self.promised.contains_key(id) {
            return self.add_and_rebalance(cx, to, request, id);
        }
        if let Err(error) = self.check_member(id, request.instance.as_ref()) {
            return cx.reply(to, refuse_join(error, id));
        }
        let same = self.members.get(id).is_some_and(|m| m.matches(request));
        let settled = match self.state {
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => false,
            // It may not have got the answer to its join.
            GroupState::CompletingRebalance => same,
            // A leader that joins wants the assignment made anew, for reasons that its metadata
            // does not show (new partitions, say).
            GroupState::Stable => same && !self.is_leader(id),
        };
        if settled {
            self.keep_alive(cx.now.monotonic, id);
            cx.reply(to, Response::Join(Ok(self.joined(id))));
        } else {
            self.update_and_rebalance(cx, to, request, id);
        }
    }

    fn update_and_rebalance(
        &mut self,
        cx: &mut Context<'_>,
        to: ReplyTo,
        request: &JoinRequest,
        id: &Text,
    ) {
        self.update_member(id, request);
        self.await_join(cx, id, to);
        self.rebalance(cx, Cause::MemberRejoined(id.clone()));
    }

    fn update_member(&mut self, id: &Text, request: &JoinRequest) {
        let mut member = self
            .members
            .remove(id)
            .expect("the caller found the member");
        self.count_out(&member);
        member.update(request);
        self.count_in(&member);
        self.members.insert(id.clone(), member);
    }

    /// A static member came back without its member id: it goes on under a new one, and whoever
    /// still acts under the old one is fenced (KIP-345).
    fn replace_static(
        &mut self,
        cx: &mut Context<'_>,
        to: ReplyTo,
        request: &JoinRequest,
        before: &Text,
        id: &Text,
    ) {
        let old_leader = self.leader.clone();
        self.rename(cx, before, id, request);
        self.keep_alive(cx.now.monotonic, id);
        let undisturbed =
            self.state == GroupState::Stable && self.elect_protocol() == self.protocol;
        if !undisturbed {
            // Completing: the leader may be assigning to the old id right now. Stable: the vote
            // would go another way.
            self.await_join(cx, id, to);
            self.rebalance(cx, Cause::StaticMemberReplaced(id.clone()));
            return;
        }
        self.subscribed = self.read_subscriptions();
        let joined = self.rejoined(id, request, old_leader);
        let then = Then::Rejoin {
            generation: self.generation,
            member: id.clone(),
        };
        let write = self.write_snapshot(cx, then);
        cx.reply_after(write, to, Response::Join(Ok(joined)));
    }

    fn rename(&mut self, cx: &mut Context<'_>, before: &Text, id: &Text, request: &JoinRequest) {
        let leads = self.is_leader(before);
        let unsynced = self.unsynced.contains(before);
        let old = self
            .members
            .get(before)
            .expect("G7: an instance id has its member");
        let mut member = Member::new(request);
        member.assignment = old.assignment.clone();
        member.new = false;
        self.remove_member(cx, before, GroupError::FencedInstanceId);
        self.add_member(id, member, &request.protocol_type);
        if leads {
            self.leader = Some(id.clone());
        }
        if unsynced {
            self.unsynced.insert(id.clone());
        }
    }

    /// What a static member hears that goes on in a stable group. A client that does not know
    /// "skip the assignment" must not think that it leads: it would assign, and nobody would listen.
    fn rejoined(&self, id: &Text, request: &JoinRequest, old_leader: Option<Text>) -> Joined {
        let mut joined = self.joined(id);
        if request.may_skip_assignment {
            joined.skip_assignment = self.is_leader(id);
        } else {
            joined.leader = old_leader.unwrap_or_else(|| Text::from(""));
            joined.members.clear();
        }
        joined
    }
}
