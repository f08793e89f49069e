//! The driver of a follower's machine: shows it what happened, and does what it wants done.
//!
//! All of it under the replica's `state`. What waits for a disk becomes [`Work`](crate::Work).

use std::sync::Arc;

use plimsoll_replication::{
    Follower, FollowerAction, FollowerEvent, FollowerState, LocalFault, Nack as Refuses, Refusal,
};
use plimsoll_types::{Monotonic, NodeId};

use crate::counters::count;
use crate::frame::{Detach, Nack, Revoke, StreamFrame, to_nack};
use crate::promises::Promise;
use crate::replica::{Following, Replica, Role, State};
use crate::replicas::Replicas;
use crate::session::{FollowShared, OnLink};
use crate::status::{Cause, Report};
use crate::work::WorkKind;

impl Replicas {
    /// Shows the machine something, and does what it wants done.
    pub(crate) fn follow_with<T>(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        now: Monotonic,
        show: impl FnOnce(&mut Follower, &mut Vec<FollowerAction>) -> T,
    ) -> Option<T> {
        let Role::Follower(following) = &mut state.role else {
            return None;
        };
        let mut out = Vec::new();
        let told = show(&mut following.machine, &mut out);
        self.follow_on(replica, state, &mut out, None, now);
        Some(told)
    }

    /// Does what the follower's machine wants done, in this order. `via` is the link that brought
    /// what it was shown, if one did.
    pub(crate) fn follow_on(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        actions: &mut Vec<FollowerAction>,
        via: Option<&Arc<FollowShared>>,
        now: Monotonic,
    ) {
        for action in actions.drain(..) {
            self.follow_one(replica, state, action, via, now);
        }
        if let Role::Follower(following) = &mut state.role {
            let session = following.machine.session();
            let stale = |intake: &Arc<crate::session::Intake>| Some(intake.session) != session;
            if following.intake.as_ref().is_some_and(stale) && following.drop_intake() {
                replica.listen(state);
            }
        }
    }

    fn follow_one(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        action: FollowerAction,
        via: Option<&Arc<FollowShared>>,
        now: Monotonic,
    ) {
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let leader_epoch = following.machine.leader_epoch();
        // The link of a session: the one that carries it, or the one that its answer came on.
        let link = |session: u64| {
            let current = following.intake.as_ref();
            let current = current.filter(|intake| intake.session == session);
            current.map(|intake| &intake.link).or(via)
        };
        match action {
            FollowerAction::SendAttach { .. } => self.ask(replica, state, now),
            FollowerAction::Truncate {
                to,
                epochs,
                allow_below_high_watermark,
            } => {
                let allowed = allow_below_high_watermark;
                self.begin_work(
                    replica,
                    following,
                    WorkKind::Align {
                        to,
                        epochs,
                        allowed,
                    },
                );
            }
            FollowerAction::ResetTo {
                start,
                log_start,
                epochs,
            } => {
                let reset = WorkKind::Reset {
                    start,
                    log_start,
                    epochs,
                };
                self.begin_work(replica, following, reset);
            }
            FollowerAction::Quarantine { from } => {
                let high_watermark = replica.store.watermarks().high_watermark();
                self.report(Report::Diverged {
                    key: replica.key,
                    at: from,
                    high_watermark,
                });
                self.push_work(replica, leader_epoch, None, WorkKind::Quarantine(from));
            }
            FollowerAction::SendAck { session } => {
                let intake = following.intake.as_ref();
                if let Some(intake) = intake.filter(|intake| intake.session == session) {
                    intake.set_ready(true);
                    intake.ring();
                }
            }
            FollowerAction::SendNack { session, why } => {
                if let Some(link) = link(session) {
                    let reason = to_nack(why);
                    link.end.say(StreamFrame::Nack(Nack { session, reason }));
                }
            }
            FollowerAction::Detach { session } => {
                if let Some(link) = link(session) {
                    let key = replica.key;
                    link.end.say(StreamFrame::Detach(Detach { key, session }));
                }
            }
            FollowerAction::Learned {
                high_watermark,
                log_start,
            } => replica
                .store
                .learned(leader_epoch, high_watermark, log_start),
            FollowerAction::ReportLoss => {
                let (key, log_end) = (replica.key, replica.store.watermarks().log_end());
                let out = !state.view.isr.contains(&self.me());
                self.losses.gone(key, log_end, out);
                // Again with each refusal, until the controller has heard.
                self.report(Report::Corrupt {
                    key: replica.key,
                    from: replica.store.watermarks().log_end(),
                    leading: false,
                });
            }
            FollowerAction::Withdraw => {
                let (key, session) = (replica.key, following.last_session);
                let link = state.wanted.and_then(|wanted| self.follow_link_of(wanted));
                if let Some(link) = link {
                    link.end.say(StreamFrame::Detach(Detach { key, session }));
                }
            }
            FollowerAction::DiscardAside => {
                state.aside = false;
                self.push_work(replica, leader_epoch, None, WorkKind::Discard);
            }
            // The metadata comes by itself as soon as it is committed.
            FollowerAction::RefreshMetadata => {}
            FollowerAction::Event(event) => self.follower_event(replica, state, event, now),
        }
    }

    /// Has the link that is wanted send an attach, with the position as it is then.
    fn ask(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let full = self.disk_is_full() && state.cause == Some(Cause::DiskFull);
        let link = state.wanted.filter(|_| !full);
        let link = link.and_then(|wanted| self.follow_link_of(wanted));
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let dropped = following.drop_intake();
        match link {
            // It asks as soon as there is a link, or room.
            None => following.machine.link_down(now),
            // The machine's clock asks again, and so does the end of the work.
            Some(_) if following.work.is_some() => {}
            Some(link) => {
                let waits = following.carrier == Some(link.id) && following.queued;
                following.carrier = Some(link.id);
                following.queued = true;
                if !waits {
                    link.wants.push(Arc::clone(replica));
                    link.end.wake();
                }
            }
        }
        if dropped {
            replica.listen(state);
        }
    }

    fn begin_work(&self, replica: &Arc<Replica>, following: &mut Following, kind: WorkKind) {
        let ticket = self.next_id();
        following.work = Some(ticket);
        let leader_epoch = following.machine.leader_epoch();
        self.push_work(replica, leader_epoch, Some(ticket), kind);
    }

    /// A piece of work has ended: the machine goes on, or asks at last.
    pub(crate) fn worked(
        &self,
        replica: &Arc<Replica>,
        ticket: u64,
        result: Result<plimsoll_types::Offset, LocalFault>,
        now: Monotonic,
    ) {
        let mut state = replica.state.lock();
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        if following.work != Some(ticket) {
            return;
        }
        following.work = None;
        if matches!(following.machine.state(), FollowerState::Rebuilding { .. }) && result.is_ok() {
            state.damaged = false;
        }
        self.follow_with(replica, &mut state, now, |machine, out| {
            machine.worked(result, now, out);
        });
        let Role::Follower(following) = &state.role else {
            return;
        };
        let asks = matches!(following.machine.state(), FollowerState::Attaching { .. });
        if asks && !following.queued {
            self.ask(replica, &mut state, now);
        }
    }

    /// The wanted link is there: whoever waits for it asks, and whoever is on another moves.
    pub(crate) fn relink(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let link = state.wanted.and_then(|wanted| self.follow_link_of(wanted));
        let (Role::Follower(following), Some(link)) = (&state.role, link) else {
            return;
        };
        let streams = matches!(following.machine.state(), FollowerState::Streaming { .. });
        let moves = streams && following.carrier != Some(link.id);
        self.follow_with(replica, state, now, |machine, out| {
            if moves {
                machine.reattach(now, out);
            } else {
                machine.link_up(now, out);
            }
        });
    }

    /// The replica stops following: its session ends, and what it granted is noted.
    pub(crate) fn let_go(&self, replica: &Replica, state: &mut State, now: Monotonic) {
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let Some(leader) = following.machine.leader() else {
            return;
        };
        let lease = self.config().timing.lease;
        let granted = self.granted(leader);
        let live = following.intake.clone();
        following.drop_intake();
        let (key, session) = (replica.key, following.last_session);
        let link = match live {
            Some(intake) => Some(Arc::clone(&intake.link)),
            None => state.wanted.and_then(|wanted| self.follow_link_of(wanted)),
        };
        if session != 0
            && let Some(link) = link.filter(|link| link.leader == leader)
        {
            link.end.say(StreamFrame::Detach(Detach { key, session }));
        }
        // An echo may be on its way that the clock does not know yet; what it grants lies within
        // the drift that the holder of a lease takes off.
        if granted.is_some_and(|at| at + lease > now) {
            let promise = Promise {
                to: Some((leader, session)),
                made: now,
                until: granted.unwrap_or(now).max(now) + lease,
            };
            state.promises.make(promise, now);
        }
    }

    /// The leader `by` does not count any more on what a session granted.
    pub(crate) fn revoked(
        &self,
        replica: &Arc<Replica>,
        by: NodeId,
        revoke: Revoke,
        now: Monotonic,
    ) {
        let mut state = replica.state.lock();
        state.promises.revoke(by, revoke.session);
        let of_this = match &state.role {
            Role::Follower(following) => {
                following.machine.leader() == Some(by) && following.last_session == revoke.session
            }
            Role::Idle | Role::Leader(_) => false,
        };
        if of_this {
            self.follow_with(replica, &mut state, now, |machine, out| {
                machine.released(revoke.counts, now, out);
            });
            return;
        }
        self.lead_if_free(replica, &mut state, now);
    }

    /// A replica that is to lead, and waits for what it promised to run out, does so once nothing
    /// is left of that.
    pub(crate) fn lead_if_free(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let waits = matches!(state.role, Role::Idle) && state.retry_role.is_some();
        if waits && state.promises.until(now).is_none() {
            state.retry_role = None;
            let leader_epoch = state.view.leader_epoch;
            self.push_work(replica, leader_epoch, None, WorkKind::Role);
        }
    }

    pub(crate) fn tick_follower(&self, replica: &Arc<Replica>, state: &mut State, now: Monotonic) {
        let marks = replica.store.watermarks().snapshot();
        let before = match &state.role {
            Role::Follower(following) => Some(following.machine.state()),
            Role::Idle | Role::Leader(_) => None,
        };
        self.follow_with(replica, state, now, |machine, out| {
            machine.tick(marks.log_end, now, out);
        });
        if let (Some(FollowerState::Withdrawn { until }), Some(Cause::Damaged(from))) =
            (before, state.cause)
            && now >= until
        {
            // Whoever heard of it may have been gone before it was committed.
            let (key, leading) = (replica.key, false);
            self.report(Report::Corrupt { key, from, leading });
        }
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        match (&following.intake, following.machine.state()) {
            (Some(intake), FollowerState::Streaming { .. }) => {
                following.seen = now;
                let told = (intake.told_end.get(), intake.told_durable.get());
                if told != (marks.log_end, marks.durable_end) {
                    intake.ring();
                }
            }
            (_, FollowerState::Waiting) if following.machine.leader().is_none() => {
                state.cause = Some(Cause::NoLeader);
            }
            (_, FollowerState::Waiting) if state.cause.is_none() => {
                state.cause = Some(Cause::Unreachable);
            }
            _ => {}
        }
    }

    fn follower_event(
        &self,
        replica: &Replica,
        state: &mut State,
        event: FollowerEvent,
        now: Monotonic,
    ) {
        let before = state.cause;
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        let cause = match event {
            FollowerEvent::Refused(why) => Some(match why {
                Refusal::Throttled { .. } => Cause::Throttled,
                why => Cause::Refused(why),
            }),
            FollowerEvent::AttachUnanswered => Some(Cause::Unreachable),
            FollowerEvent::Starved { .. } => Some(Cause::Stalled),
            FollowerEvent::Fault(LocalFault::DiskFull) => Some(Cause::DiskFull),
            FollowerEvent::Fault(LocalFault::IoError) => Some(Cause::IoError),
            FollowerEvent::Fault(LocalFault::Refused(Refuses::Corrupt { .. })) => {
                Some(Cause::Corrupt)
            }
            FollowerEvent::Fault(LocalFault::Refused(_)) => Some(Cause::Stalled),
            FollowerEvent::Suspect { truncate_to, .. } => {
                count(&self.counters().divergences);
                Some(Cause::Diverged(truncate_to))
            }
            FollowerEvent::Resetting { .. } if state.damaged => before,
            FollowerEvent::Resetting { .. } => Some(Cause::BehindLogStart),
            FollowerEvent::Truncating { .. } => before,
            FollowerEvent::Streaming { .. } => None,
        };
        let fails = matches!(
            event,
            FollowerEvent::Refused(_)
                | FollowerEvent::AttachUnanswered
                | FollowerEvent::Starved { .. }
                | FollowerEvent::Fault(_)
                | FollowerEvent::Suspect { .. }
        );
        following.tries = match event {
            FollowerEvent::Streaming { .. } => 0,
            _ => following.tries.saturating_add(u32::from(fails)),
        };
        if matches!(event, FollowerEvent::Streaming { .. }) {
            following.seen = now;
        }
        state.cause = match (cause, before) {
            // Until it has begun anew that is what matters.
            (_, Some(Cause::Damaged(from))) if state.damaged => Some(Cause::Damaged(from)),
            (cause, _) => cause,
        };
        // The same again is no news.
        if !fails || cause != before {
            replica.note(now, event.to_string());
        }
    }
}
