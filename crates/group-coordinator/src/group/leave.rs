//! Heartbeat and LeaveGroup: members that say they are there, and members that go.

use super::{Group, GroupState, Wrote};
use crate::writes::Context;
use crate::{
    Cause, GroupError, HeartbeatRequest, LeaveRequest, LeaveResult, Leaver, ReplyTo, Response,
};

impl Group {
    pub(crate) fn heartbeat(
        &mut self,
        cx: &Context<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => {
                self.keep_alive(cx.now.monotonic, &request.member);
                Err(GroupError::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.keep_alive(cx.now.monotonic, &request.member);
                Ok(())
            }
        }
    }

    pub(crate) fn leave(&mut self, cx: &mut Context<'_>, to: ReplyTo, request: &LeaveRequest) {
        if self.state == GroupState::Dead {
            let error = GroupError::CoordinatorNotAvailable;
            return cx.reply(to, Response::Leave(Err(error)));
        }
        let before = self.members.len();
        let results = request
            .members
            .iter()
            .map(|leaver| self.leave_one(cx, leaver))
            .collect();
        let wrote = self.members_left(cx, before - self.members.len());
        // The last one to leave turns off the light: were that forgotten in a crash, whoever comes
        // next would wait for the session of a member long gone.
        match wrote {
            Some(write) => cx.reply_after(write, to, Response::Leave(Ok(results))),
            None => cx.reply(to, Response::Leave(Ok(results))),
        }
    }

    /// Members were removed, or promises to some withdrawn.
    pub(super) fn members_left(&mut self, cx: &mut Context<'_>, left: usize) -> Wrote {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance if left == 0 => None,
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(cx, Cause::MembersLeft(left))
            }
            GroupState::PreparingRebalance => self.end_join_if_complete(cx),
            GroupState::Empty | GroupState::Dead => None,
        }
    }

    fn leave_one(&mut self, cx: &mut Context<'_>, leaver: &Leaver) -> LeaveResult {
        let id = if leaver.member.is_empty() {
            let instance = leaver
                .instance
                .as_ref()
                .ok_or(GroupError::UnknownMemberId)?;
            self.instances
                .get(instance)
                .cloned()
                .ok_or(GroupError::UnknownMemberId)?
        } else if self.promised.remove(&leaver.member).is_some() {
            return Ok(());
        } else {
            self.check_member(&leaver.member, leaver.instance.as_ref())?;
            leaver.member.clone()
        };
        self.remove_member(cx, &id, GroupError::UnknownMemberId);
        Ok(())
    }
}
