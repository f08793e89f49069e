//! How every replica known here stands, for doctor and metrics.

use std::time::Duration;

use plimsoll_health::{Disk, Join, Link, Repair, ReplicaFacts, Session, diagnose};
use plimsoll_replication::{FollowerState, JoinStatus, PeerStatus};
use plimsoll_types::{Monotonic, NodeId, Offset};
use plimsoll_watermark::Snapshot;

use crate::replica::{Following, Leading, Replica, Role, State};
use crate::replicas::Replicas;
use crate::status::{Cause, ReplicaStatus};

impl Replicas {
    /// Every replica of this node, and every follower of the partitions that it leads, as it sees
    /// them.
    #[must_use]
    pub fn statuses(&self, now: Monotonic) -> Vec<ReplicaStatus> {
        let mut rows = Vec::new();
        for replica in self.all() {
            let state = replica.state.lock();
            let marks = replica.store.watermarks().snapshot();
            rows.push(self.own_row(&replica, &state, &marks, now));
            if let Role::Leader(leading) = &state.role {
                let peers = leading.machine.peers(now);
                rows.extend(
                    peers.map(|peer| {
                        self.follower_row(&replica, &state, leading, &peer, &marks, now)
                    }),
                );
            }
        }
        rows
    }

    /// What is common to all rows of a partition.
    fn facts_of(&self, state: &State, node: NodeId, marks: &Snapshot) -> ReplicaFacts {
        let count = |members: usize| u32::try_from(members).unwrap_or(u32::MAX);
        let mut facts = ReplicaFacts::healthy(node, node, marks.log_end);
        facts.leader = state.view.leader;
        facts.in_isr = state.view.isr.contains(&node);
        facts.isr = count(state.view.isr.len());
        facts.min_isr = count(state.view.min_isr);
        facts.log_start = marks.log_start;
        facts.high_watermark = marks.high_watermark;
        let peer = self.peer(node);
        // Since when is the controller's to say.
        facts.fenced = peer
            .as_ref()
            .is_some_and(|peer| peer.fenced)
            .then_some(Duration::ZERO);
        // One that a person keeps drained follows like any other while it is there.
        facts.draining = peer.is_some_and(|peer| peer.stopping || peer.draining && peer.fenced);
        facts
    }

    fn own_row(
        &self,
        replica: &Replica,
        state: &State,
        marks: &Snapshot,
        now: Monotonic,
    ) -> ReplicaStatus {
        let mut facts = self.facts_of(state, self.me(), marks);
        if let Role::Follower(following) = &state.role {
            describe_following(&mut facts, state, following, now);
        }
        facts.disk = self.disk();
        blame(&mut facts, state.cause);
        facts.paused = self.pauses.of_late(now);
        let differs = matches!(facts.repair, Some(Repair::Quarantined { .. }));
        if (!facts.in_isr || state.damaged) && !differs {
            let copied_to = match state.damaged {
                true => Offset::ZERO,
                false => marks.log_end,
            };
            let lost = self.losses.repair(replica.key, copied_to);
            facts.repair = lost.or(facts.repair);
        }
        if let Some(why) = replica.store.offline() {
            facts.disk = Disk::Failed {
                since: Duration::ZERO,
                error: why.to_string(),
            };
        }
        row(state, &facts, marks.durable_end, state.verified.end)
    }

    fn follower_row(
        &self,
        replica: &Replica,
        state: &State,
        leading: &Leading,
        peer: &PeerStatus,
        marks: &Snapshot,
        now: Monotonic,
    ) -> ReplicaStatus {
        let node = peer.node;
        let mut facts = self.facts_of(state, node, marks);
        let ends = replica.store.watermarks().ends(node).ok();
        facts.log_end = ends.map_or(Offset::ZERO, |ends| ends.log_end);
        facts.leader_log_end = Some(marks.log_end);
        facts.in_isr = peer.in_isr;
        let told = leading.told.get(&node).copied().unwrap_or_default();
        match leading.sessions.get(&node) {
            Some(session) => {
                if facts.log_end < marks.log_end {
                    facts.behind_for = peer.lag;
                }
                if !session.is_confirmed() {
                    let since = now.since(session.began);
                    facts.session = Session::Attaching { since };
                } else if peer.stalls > 0 {
                    facts.session = Session::Stalled {
                        since: peer.lag,
                        attempts: peer.stalls,
                        next_attempt: self.config().timing.stall,
                    };
                }
            }
            None => {
                // Followers connect; a leader knows since when nobody did.
                facts.link = Link::Down {
                    since: now.since(told.seen.unwrap_or(leading.began)),
                    attempts: 0,
                    next_attempt: peer
                        .next_attach
                        .since(now)
                        .max(self.config().timing.back_off_min),
                };
            }
        }
        facts.join = match peer.join {
            JoinStatus::Idle => Join::Idle,
            JoinStatus::Held {
                remaining,
                evictions,
            } => Join::Held {
                remaining,
                evictions,
            },
            JoinStatus::Proposed { since } => Join::Proposed { since },
        };
        blame(&mut facts, told.cause);
        if ends.is_none() {
            // It may have all; how far it is comes with its first word.
            facts.leader_log_end = None;
        }
        let durable_end = ends.map_or(Offset::ZERO, |ends| ends.durable_end);
        let mut row = row(state, &facts, durable_end, None);
        row.behind = marks.log_end.get().saturating_sub(facts.log_end.get());
        row
    }
}

fn describe_following(
    facts: &mut ReplicaFacts,
    state: &State,
    following: &Following,
    now: Monotonic,
) {
    let intake = following.intake.as_ref();
    facts.leader_log_end = intake.map(|intake| intake.leader_end.get());
    let since = now.since(following.seen);
    if facts.behind() > 0 {
        facts.behind_for = since;
    }
    let attempts = following.tries;
    let next = following.next_attempt().map(|at| at.since(now));
    let next_attempt = next.unwrap_or_default();
    let refused = |why: String| Session::Refused {
        since,
        why,
        attempts,
        next_attempt,
    };
    match following.machine.state() {
        FollowerState::Streaming { .. } => {}
        FollowerState::Working { .. } | FollowerState::Rebuilding { .. } => {
            facts.session = Session::Attaching { since };
        }
        FollowerState::Waiting
        | FollowerState::Pausing { .. }
        | FollowerState::Attaching { .. }
        | FollowerState::Withdrawn { .. }
        | FollowerState::Suspect { .. } => {
            facts.session = match state.cause {
                Some(Cause::Throttled) => refused("it asks for patience".into()),
                Some(Cause::Refused(why)) => refused(why.to_string()),
                _ => Session::Attaching { since },
            };
            if matches!(state.cause, None | Some(Cause::Unreachable)) {
                facts.link = Link::Down {
                    since,
                    attempts,
                    next_attempt,
                };
            }
        }
    }
}

/// What a link or the tick found out about the disk and the log.
fn blame(facts: &mut ReplicaFacts, cause: Option<Cause>) {
    match cause {
        // The disk as a whole may be known to be full, and then with its numbers.
        Some(Cause::DiskFull) if matches!(facts.disk, Disk::Full { .. }) => {}
        Some(Cause::DiskFull) => {
            facts.disk = Disk::Full {
                free_bytes: 0,
                needs_bytes: 1,
            };
        }
        Some(Cause::IoError) => {
            facts.disk = Disk::Failed {
                since: Duration::ZERO,
                error: "the log takes nothing".into(),
            };
        }
        Some(Cause::Diverged(at)) => facts.repair = Some(Repair::Quarantined { at }),
        Some(Cause::Damaged(from)) => {
            facts.repair = Some(Repair::Corrupt {
                from,
                to: facts.log_end.max(from),
                copied_to: facts.log_end.min(from),
            });
        }
        Some(Cause::BehindLogStart) => {
            facts.repair = Some(Repair::BehindLogStart {
                ended: facts.log_end,
                leader_log_start: facts.leader_log_end.unwrap_or(facts.log_end),
                copied_to: facts.log_end,
            });
        }
        Some(
            Cause::Unreachable
            | Cause::Corrupt
            | Cause::Stalled
            | Cause::Throttled
            | Cause::Refused(_)
            | Cause::NoLeader
            | Cause::BelowMinIsr,
        )
        | None => {}
    }
}

fn row(
    state: &State,
    facts: &ReplicaFacts,
    durable_end: Offset,
    verified_end: Option<Offset>,
) -> ReplicaStatus {
    ReplicaStatus {
        key: state.view.key,
        node: facts.node,
        leader: facts.leader,
        leader_epoch: state.view.leader_epoch,
        log_start: facts.log_start,
        log_end: facts.log_end,
        durable_end,
        high_watermark: facts.high_watermark,
        behind: facts.behind(),
        in_isr: facts.in_isr,
        lag: (facts.behind() > 0).then_some(facts.behind_for),
        verified_end,
        diagnosis: diagnose(facts),
    }
}
