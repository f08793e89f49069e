//! Who is in the ISR: when a follower joins, when it leaves, and one proposal at a time.
//!
//! An expansion counts from before it is proposed, a shrink only once it is committed, and a
//! proposal whose fate is unknown is asked for again until it is known.

use plimsoll_types::{BrokerEpoch, Monotonic, NodeId, Offset, PartitionEpoch};

use super::peer::Peer;
use super::view::{Decision, JoinStatus, LeaderAction, LeaderEvent, LeaveWhy, Marks, Proposal};
use super::{Joining, Leader, Pending, sessions};
use crate::guards::{Guard, breached, holds};

impl Leader {
    /// The controller's answer to the proposal made at `partition_epoch`.
    pub fn decided(
        &mut self,
        partition_epoch: PartitionEpoch,
        decision: Decision,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) {
        let Some(pending) = self.pending.as_mut() else {
            return;
        };
        let of_this = pending.proposal.partition_epoch == partition_epoch;
        if breached(Guard::AnswerToThis, of_this) {
            return;
        }
        out.push(LeaderAction::Event(LeaderEvent::Decided(decision.clone())));
        match decision {
            Decision::Committed(epoch) if epoch > self.view.partition_epoch => {
                let isr = pending
                    .proposal
                    .new_isr
                    .iter()
                    .map(|(node, _)| *node)
                    .collect();
                let before = std::mem::replace(&mut self.view.isr, isr);
                // By another min ISR than the one known here, they may be in the ELR now.
                let left = before.iter().filter(|node| !self.view.isr.contains(node));
                if holds(Guard::LeaverAwaitsMetadata) {
                    self.leavers = left.copied().collect();
                }
                self.view.partition_epoch = epoch;
                let enough = self.view.isr.len() >= self.view.min_isr;
                if enough && !holds(Guard::EligibleAwaitMetadata) {
                    self.view.elr.clear();
                }
                self.settled(&before, now);
            }
            Decision::Ineligible(nodes) => self.roll_back(&nodes, now),
            Decision::NotAttempted => self.roll_back(&[], now),
            Decision::Unknown
            | Decision::StaleVersion
            | Decision::Superseded
            | Decision::Committed(_) => {
                if !holds(Guard::PendingIsKept) {
                    self.roll_back(&[], now);
                } else {
                    pending.ask_again = self.retry.failed(now);
                }
            }
        }
        self.set_rule(&[], out);
        out.push(LeaderAction::Measure);
    }

    /// The proposal was certainly not applied.
    fn roll_back(&mut self, ineligible: &[NodeId], now: Monotonic) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let proposed = pending.proposal.new_isr.iter().map(|(node, _)| *node);
        for node in proposed.chain(ineligible.iter().copied()) {
            if !self.view.isr.contains(&node)
                && let Some(peer) = self.peer(node)
            {
                peer.next_join = peer.join_back_off.failed(now);
            }
        }
        // A shrink waits too.
        self.shrink_after = self.retry.failed(now);
    }

    /// The ISR is known again: `before` was the committed one.
    pub(super) fn settled(&mut self, before: &[NodeId], now: Monotonic) {
        self.pending = None;
        self.retry.succeeded();
        self.shrink_after = now;
        let timing = self.timing;
        let isr = self.view.isr.clone();
        for peer in &mut self.peers {
            let (was, is) = (before.contains(&peer.node), isr.contains(&peer.node));
            if was && !is {
                peer.evicted(&timing, now);
            } else if is && !was {
                sessions::restart_clocks(peer, now);
                peer.join_back_off.succeeded();
                peer.resets = 0;
            }
        }
        if self
            .joining
            .is_some_and(|joining| isr.contains(&joining.node))
        {
            self.joining = None;
        }
    }

    /// One step: ask again, or finish a join, or propose a shrink, or begin a join.
    pub(super) fn membership(
        &mut self,
        marks: &Marks<'_>,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) {
        if let Some(pending) = self.pending.as_mut() {
            if now >= pending.ask_again {
                pending.ask_again = self.retry.failed(now);
                out.push(LeaderAction::Propose(pending.proposal.clone()));
            }
            return;
        }
        if let Some(joining) = self.joining {
            self.finish_join(joining, marks, now, out);
        } else if now < self.shrink_after || !self.shrink(now, out) {
            self.begin_join(marks, now, out);
        }
    }

    fn shrink(&mut self, now: Monotonic, out: &mut Vec<LeaderAction>) -> bool {
        let leavers = self.peers.iter().filter_map(|peer| {
            let member = self.view.isr.contains(&peer.node);
            let why = if self.view.broker_epoch(peer.node).is_none() {
                LeaveWhy::Gone
            } else if let Some(unfit) = peer.unfit {
                unfit
            } else if peer.lag.lag(now) > self.timing.max_lag {
                LeaveWhy::Lag
            } else if peer.stall.lag(now) > self.timing.commit_stall {
                LeaveWhy::CommitStall
            } else {
                return None;
            };
            member.then_some((peer.node, why))
        });
        let mut leavers: Vec<_> = leavers.collect();
        // Those that merely stall leave only when enough stay; the reach by which they stall
        // makes that so, but for those that leave for other reasons at the same time.
        let firm = leavers
            .iter()
            .filter(|(_, why)| *why != LeaveWhy::CommitStall)
            .count();
        if self.view.isr.len() - leavers.len() < self.view.min_isr && firm < leavers.len() {
            leavers.retain(|(_, why)| *why != LeaveWhy::CommitStall);
        }
        let nudge = !self.view.elr.is_empty() && self.view.isr.len() >= self.view.min_isr;
        if leavers.is_empty() && !nudge {
            return false;
        }
        let stay = self.view.isr.iter().copied();
        let stay = stay.filter(|node| !leavers.iter().any(|(leaver, _)| leaver == node));
        let stay: Vec<NodeId> = stay.collect();
        for (node, why) in leavers {
            out.push(LeaderAction::Event(LeaderEvent::Leaving { node, why }));
        }
        self.propose(stay, now, out);
        if !holds(Guard::LeaverCounts)
            && let Some(pending) = &self.pending
        {
            let stay = pending
                .proposal
                .new_isr
                .iter()
                .map(|(node, _)| *node)
                .collect();
            self.view.isr = stay;
            self.set_rule(&[], out);
        }
        true
    }

    /// Whether the controller would take this follower now.
    pub(super) fn could_be_proposed(&self, node: NodeId) -> bool {
        let Some(replica) = self.view.replica(node) else {
            return false;
        };
        let session = self.peers.iter().find(|peer| peer.node == node);
        let session = session.and_then(|peer| peer.session.as_ref());
        // R8: a session of another uptime was refused, or closed by the metadata that tells of it.
        debug_assert!(
            !holds(Guard::SessionOfThisUptime)
                || !holds(Guard::AttachOfThisUptime)
                || session.is_none_or(|session| Some(session.broker_epoch) == replica.broker_epoch)
        );
        replica.eligible && session.is_some()
    }

    fn begin_join(&mut self, marks: &Marks<'_>, now: Monotonic, out: &mut Vec<LeaderAction>) {
        let short = self.view.isr.len() < self.view.min_isr;
        let candidates = self.peers.iter().filter(|peer| {
            let member = self.view.isr.contains(&peer.node);
            let held = peer
                .fit_since
                .is_some_and(|since| now.since(since) >= peer.hold_for(short, &self.timing));
            let sample = marks
                .followers
                .iter()
                .find(|sample| sample.node == peer.node);
            let close = sample.is_some_and(|s| s.sent_end >= marks.high_watermark);
            let could = self.could_be_proposed(peer.node);
            !member && held && close && now >= peer.next_join && could
        });
        let Some(node) = candidates
            .min_by_key(|peer| peer.next_join)
            .map(|peer| peer.node)
        else {
            return;
        };
        let until = now + self.timing.join_freeze;
        self.joining = Some(Joining { node, until });
        out.push(LeaderAction::Event(LeaderEvent::Joining { node }));
        self.set_rule(&[], out);
        out.push(LeaderAction::Measure);
    }

    /// The joiner counts: the high watermark cannot pass it any more. Has it all below?
    fn finish_join(
        &mut self,
        joining: Joining,
        marks: &Marks<'_>,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) {
        let node = joining.node;
        let sample = marks.followers.iter().find(|sample| sample.node == node);
        let confirmed = self
            .peers
            .iter()
            .any(|peer| peer.node == node && peer.is_confirmed());
        let position = sample.filter(|_| confirmed).map_or(Offset::ZERO, |sample| {
            super::counted(self.view.counts, sample.log_end, sample.durable_end)
        });
        let committed = position >= marks.high_watermark;
        let complete = !breached(Guard::JoinerHasCommitted, committed)
            && !breached(Guard::JoinerHasEpochStart, position >= self.epoch_start);
        if confirmed && complete && self.could_be_proposed(node) {
            // Invariant R3: a candidate has the committed log.
            let members = self.view.isr.iter().copied().chain([node]).collect();
            self.joining = None;
            self.propose(members, now, out);
            self.set_rule(&[], out);
        } else if now >= joining.until || !confirmed || !self.could_be_proposed(node) {
            self.joining = None;
            if let Some(peer) = self.peer(node) {
                peer.next_join = peer.join_back_off.failed(now);
            }
            out.push(LeaderAction::Event(LeaderEvent::JoinGivenUp { node }));
            self.set_rule(&[], out);
        }
    }

    /// How the way of a follower into the ISR stands, for status pages.
    pub(super) fn join_status(&self, peer: &Peer, now: Monotonic) -> JoinStatus {
        if self.view.isr.contains(&peer.node) {
            return JoinStatus::Idle;
        }
        let mut pending = self.pending.iter();
        let pending = pending.find(|pending| {
            let mut proposed = pending.proposal.new_isr.iter();
            proposed.any(|(node, _)| *node == peer.node)
        });
        if let Some(pending) = pending {
            let since = now.since(pending.since);
            return JoinStatus::Proposed { since };
        }
        let short = self.view.isr.len() < self.view.min_isr;
        let hold = peer.hold_for(short, &self.timing);
        let kept_up = peer.fit_since.map(|since| now.since(since));
        match kept_up.filter(|kept_up| peer.evictions > 1 && *kept_up < hold) {
            Some(kept_up) => JoinStatus::Held {
                remaining: hold.saturating_sub(kept_up),
                evictions: peer.evictions,
            },
            None => JoinStatus::Idle,
        }
    }

    fn propose(&mut self, members: Vec<NodeId>, now: Monotonic, out: &mut Vec<LeaderAction>) {
        let of = |node: NodeId| -> Option<(NodeId, BrokerEpoch)> {
            let peer = self.peers.iter().find(|peer| peer.node == node);
            let session = peer.and_then(|peer| peer.session.as_ref());
            let judged = session.filter(|_| !self.view.isr.contains(&node));
            let epoch = judged.map(|session| session.broker_epoch);
            Some((node, epoch.or_else(|| self.view.broker_epoch(node))?))
        };
        let proposal = Proposal {
            partition_epoch: self.view.partition_epoch,
            new_isr: members.into_iter().filter_map(of).collect(),
        };
        self.pending = Some(Pending {
            proposal: proposal.clone(),
            since: now,
            ask_again: self.retry.failed(now),
        });
        out.push(LeaderAction::Propose(proposal));
    }
}
