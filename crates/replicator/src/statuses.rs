//! How every replica known here stands, for doctor and metrics.

use plimsoll_types::{Monotonic, NodeId};
use plimsoll_watermark::Snapshot;

use crate::replica::{Following, Leading, Phase, Replica, Role, State};
use crate::replicas::Replicas;
use crate::status::{Cause, ReplicaState, ReplicaStatus};

impl Replicas {
    /// Every replica of this node, and every follower of the partitions that it leads, as it sees
    /// them.
    #[must_use]
    pub fn statuses(&self, now: Monotonic) -> Vec<ReplicaStatus> {
        let mut rows = Vec::new();
        for replica in self.all() {
            let state = replica.state.lock();
            let marks = replica.store.watermarks().snapshot();
            let mut own = self.own_row(&state, &marks, now);
            if let Some(why) = replica.store.offline() {
                own.state = ReplicaState::Offline;
                own.cause = Some(Cause::IoError);
                own.evidence = why.to_string();
                own.action = "the replica is opened again and copied from its leader";
            }
            rows.push(own);
            if let Role::Leader(leading) = &state.role {
                let others = state
                    .view
                    .replicas
                    .iter()
                    .filter(|node| **node != self.me());
                rows.extend(
                    others.map(|node| {
                        self.follower_row(&replica, &state, leading, *node, &marks, now)
                    }),
                );
            }
        }
        rows
    }

    fn own_row(&self, state: &State, marks: &Snapshot, now: Monotonic) -> ReplicaStatus {
        let in_isr = state.view.isr.contains(&self.me());
        let mut row = ReplicaStatus {
            key: state.view.key,
            node: self.me(),
            leader: state.view.leader,
            leader_epoch: state.view.leader_epoch,
            state: ReplicaState::Stalled,
            cause: state.cause,
            log_end: marks.log_end,
            durable_end: marks.durable_end,
            high_watermark: marks.high_watermark,
            behind: 0,
            in_isr,
            lag: None,
            evidence: String::new(),
            action: "none is needed",
            next_attempt: state.retry_role.map(|at| at.since(now)),
        };
        match &state.role {
            Role::Idle => row.action = "the role is taken up again",
            Role::Leader(_) => row.state = ReplicaState::Leader,
            Role::Follower(following) => Self::describe_own(&mut row, following, now),
        }
        row
    }

    fn describe_own(row: &mut ReplicaStatus, following: &Following, now: Monotonic) {
        if let Some(intake) = &following.intake {
            row.behind = intake.leader_end.get().since(row.log_end);
            row.lag = intake.heard.get().map(|heard| now.since(heard));
        }
        match following.phase {
            Phase::Detached { attach_at } => {
                row.cause = row.cause.or(Some(Cause::Unreachable));
                row.evidence = format!("{} attempts in a row without a session", following.tries);
                row.action = "attaches to its leader";
                row.next_attempt = Some(attach_at.since(now));
            }
            Phase::Attaching { since, .. } => {
                row.cause = row.cause.or(Some(Cause::CatchingUp));
                row.evidence = format!("asked {} ms ago", now.since(since).as_millis());
                row.action = "waits for its leader's answer";
            }
            Phase::Working => {
                row.state = ReplicaState::Repairing;
                row.cause = row.cause.or(Some(Cause::CatchingUp));
                row.action = "brings its log in line with its leader's";
            }
            Phase::Following { .. } if row.in_isr => row.state = ReplicaState::InSync,
            Phase::Following { .. } => {
                row.state = ReplicaState::CatchingUp;
                row.cause = row.cause.or(Some(Cause::CatchingUp));
                row.evidence = format!("{} records behind", row.behind);
                row.action = "copies from its leader";
            }
        }
    }

    fn follower_row(
        &self,
        replica: &Replica,
        state: &State,
        leading: &Leading,
        node: NodeId,
        marks: &Snapshot,
        now: Monotonic,
    ) -> ReplicaStatus {
        let ends = replica.store.watermarks().ends(node).ok();
        let log_end = ends.map_or(marks.log_start, |ends| ends.log_end);
        let session = leading.sessions.get(&node);
        let record = leading.records.get(&node).copied().unwrap_or_default();
        let in_isr = leading.isr.committed().contains(&node);
        let fenced = self.peer(node).is_none_or(|peer| peer.fenced);
        let behind = marks.log_end.since(log_end);
        let caught_up = session.and_then(|session| session.caught_up.get());
        let lag = caught_up.map(|at| now.since(at));
        let healthy = session.is_some() && in_isr;
        let slow = behind > 0 && lag.is_none_or(|lag| lag > self.config().commit_stall);
        let (state_now, cause, action) = if healthy && slow {
            let cause = record.cause.unwrap_or(Cause::CatchingUp);
            let action = "leaves the ISR if it does not catch up";
            (ReplicaState::FallingBehind, Some(cause), action)
        } else if healthy {
            (ReplicaState::InSync, None, "none is needed")
        } else if session.is_some() {
            let cause = record.cause.unwrap_or(Cause::CatchingUp);
            let action = "copies, and joins the ISR when it has caught up";
            (ReplicaState::CatchingUp, Some(cause), action)
        } else {
            let reason = if fenced {
                Cause::Fenced
            } else {
                Cause::Unreachable
            };
            let cause = record.cause.unwrap_or(reason);
            (ReplicaState::Stalled, Some(cause), "waits for it to attach")
        };
        ReplicaStatus {
            key: replica.key,
            node,
            leader: Some(self.me()),
            leader_epoch: state.view.leader_epoch,
            state: state_now,
            cause,
            log_end,
            durable_end: ends.map_or(marks.log_start, |ends| ends.durable_end),
            high_watermark: marks.high_watermark,
            behind,
            in_isr,
            lag,
            evidence: format!(
                "{behind} records behind, {} stalls in a row",
                record.strikes
            ),
            action,
            next_attempt: None,
        }
    }
}
