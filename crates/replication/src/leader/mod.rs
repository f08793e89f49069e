//! The leader of one partition in one epoch: sessions, and who is in sync.
//!
//! Acks do not pass through here: they go to the lock-free cells by the handle that a session took
//! when it was confirmed. This machine is shown samples of the cells and decides who counts.
//! Record bytes, frames and clocks stay outside.

mod membership;
mod peer;
mod sessions;
mod view;

use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey};

pub use view::{
    Counts, Decision, JoinStatus, LeaderAction, LeaderEvent, LeaderTerm, Lease, LeaveWhy, Marks,
    Proposal, ReplicaView, Rule, Sample, View,
};

use crate::back_off::BackOff;
use crate::guards::{Guard, breached, holds};
use crate::session::CloseWhy;
use crate::timing::Timing;
use peer::Peer;

/// A proposal that is not yet decided. Its members count, and so do those it leaves out.
#[derive(Clone, Debug)]
struct Pending {
    proposal: Proposal,
    /// When it was first made.
    since: Monotonic,
    ask_again: Monotonic,
}

/// A follower that counts for a moment, to see whether it has all below the high watermark.
#[derive(Clone, Copy, Debug)]
struct Joining {
    node: NodeId,
    until: Monotonic,
}

/// The leader of one partition in one epoch.
///
/// Every method appends what is to be done to `out`; the owner does it in order, before it shows
/// anything else to this machine.
#[derive(Debug)]
pub struct Leader {
    key: PartitionKey,
    me: NodeId,
    leader_epoch: LeaderEpoch,
    epoch_start: Offset,
    view: View,
    timing: Timing,
    peers: Vec<Peer>,
    pending: Option<Pending>,
    joining: Option<Joining>,
    /// Out of the ISR by an answer, and not yet by the metadata.
    leavers: Vec<NodeId>,
    retry: BackOff,
    /// No shrink is proposed before.
    shrink_after: Monotonic,
    /// The rule of the current tenure.
    rule: Rule,
    lease: Lease,
}

/// A follower, for status pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The follower.
    pub node: NodeId,
    /// Its session, if it has one, and whether that is confirmed.
    pub session: Option<(u64, bool)>,
    /// How far in time it is behind.
    pub lag: std::time::Duration,
    /// In the committed ISR.
    pub in_isr: bool,
    /// Sessions closed in a row because it did not move.
    pub stalls: u32,
    /// Why it cannot be in the ISR now.
    pub unfit: Option<LeaveWhy>,
    /// When it may attach again.
    pub next_attach: Monotonic,
    /// Its way back into the ISR.
    pub join: JoinStatus,
}

impl Leader {
    /// Begins an epoch. The log has begun a tenure by `term.view.first_rule(term.me)` already.
    #[must_use]
    pub fn new(term: LeaderTerm, timing: Timing, now: Monotonic) -> Self {
        let LeaderTerm {
            key,
            me,
            leader_epoch,
            epoch_start,
            view,
        } = term;
        let rule = view.first_rule(me);
        let peers = rule.followers.iter();
        let peers = peers.map(|&node| Peer::new(node, key, leader_epoch, &timing, now));
        let seed = u64::from(me.get()) << 32 ^ u64::from(key.index);
        Self {
            peers: peers.collect(),
            key,
            me,
            leader_epoch,
            epoch_start,
            view,
            pending: None,
            joining: None,
            leavers: Vec::new(),
            shrink_after: now,
            retry: BackOff::new(timing.propose_retry, timing.propose_retry * 4, seed),
            timing,
            rule,
            lease: Lease::Until(Monotonic::default()),
        }
    }

    /// The epoch it leads in.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The version of the metadata it goes by.
    #[must_use]
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.view.partition_epoch
    }

    /// The log end when the epoch began. Invariant R6: what needs the true high watermark waits
    /// until the high watermark is no lower.
    #[must_use]
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The metadata it goes by.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Who counts now.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The proposal that is not yet decided.
    #[must_use]
    pub fn pending(&self) -> Option<&Proposal> {
        self.pending.as_ref().map(|pending| &pending.proposal)
    }

    /// Until when no other leader can act, as of the last tick.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// Whether nothing is due but what counts from when a follower was last heard: everybody is in
    /// sync and attached, and nothing is proposed.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let in_sync = |peer: &Peer| self.view.isr.contains(&peer.node) && peer.is_confirmed();
        let settled = self.pending.is_none() && self.joining.is_none() && self.view.elr.is_empty();
        settled && self.peers.iter().all(in_sync)
    }

    /// The followers, for status pages.
    pub fn peers(&self, now: Monotonic) -> impl Iterator<Item = PeerStatus> {
        self.peers.iter().map(move |peer| PeerStatus {
            node: peer.node,
            session: peer.session.as_ref().map(|s| (s.id, s.expects.is_none())),
            lag: peer.lag.lag(now),
            in_isr: self.view.isr.contains(&peer.node),
            stalls: peer.stalls,
            unfit: peer.unfit,
            next_attach: peer.next_attach,
            join: self.join_status(peer, now),
        })
    }

    /// The partition's metadata, or what is known of its nodes, has changed within this epoch.
    pub fn metadata(&mut self, view: View, now: Monotonic, out: &mut Vec<LeaderAction>) {
        let goes_on = view.partition_epoch >= self.view.partition_epoch;
        if breached(Guard::MetadataGoesForward, goes_on) {
            return;
        }
        let newer = view.partition_epoch > self.view.partition_epoch;
        let before = std::mem::replace(&mut self.view, view);
        self.leavers.clear();
        if newer {
            // Whatever was proposed changed an older version: it is in this view, or void.
            self.settled(&before.isr, now);
        } else if self.pending.is_none() {
            // The same version: only what is known of nodes and topics can differ.
            debug_assert!(before.isr == self.view.isr, "one ISR a partition epoch");
        }
        let gone = self.peers.iter().filter(|peer| {
            let replica = self.view.replica(peer.node);
            let session = peer.session.as_ref().map(|session| session.broker_epoch);
            let known = replica.and_then(|replica| replica.broker_epoch);
            let over = session.is_some() && session != known;
            over && holds(Guard::SessionOfThisUptime) || replica.is_none()
        });
        let gone: Vec<_> = gone.map(|peer| peer.node).collect();
        for node in gone {
            let is_replica = self.view.replica(node).is_some();
            let why = if is_replica {
                CloseWhy::BrokerEpoch
            } else {
                CloseWhy::Removed
            };
            self.close(node, why, out);
        }
        let (key, epoch, timing) = (self.key, self.leader_epoch, self.timing);
        self.peers
            .retain(|peer| self.view.replica(peer.node).is_some());
        for replica in &self.view.replicas {
            let node = replica.node;
            if node != self.me && !self.peers.iter().any(|peer| peer.node == node) {
                self.peers.push(Peer::new(node, key, epoch, &timing, now));
            }
        }
        if self
            .joining
            .is_some_and(|joining| !self.could_be_proposed(joining.node))
        {
            self.joining = None;
        }
        self.set_rule(&[], out);
        out.push(LeaderAction::Measure);
    }

    /// Time passed, or a follower moved, or [`LeaderAction::Measure`] asked for it.
    pub fn tick(&mut self, marks: &Marks<'_>, now: Monotonic, out: &mut Vec<LeaderAction>) {
        debug_assert!(marks.high_watermark <= marks.log_end, "R5");
        self.observe(marks, now);
        self.watch_sessions(marks, now, out);
        self.membership(marks, now, out);
        self.renew_lease(marks, out);
    }

    /// Begins a tenure if its rule would differ, or if a follower needs a new cell.
    fn set_rule(&mut self, fresh: &[NodeId], out: &mut Vec<LeaderAction>) {
        let proposed = self
            .pending
            .iter()
            .flat_map(|pending| &pending.proposal.new_isr);
        let proposed = proposed.map(|(node, _)| *node);
        let mut more: Vec<NodeId> = proposed.filter(|_| holds(Guard::ProposedCounts)).collect();
        more.extend(self.joining.map(|joining| joining.node));
        more.extend(&self.leavers);
        let rule = Rule::of(&self.view, self.me, &more);
        debug_assert!(
            !holds(Guard::LeaverCounts)
                || self.view.isr.iter().all(|node| {
                    rule.maximal_isr.contains(node) || self.view.replica(*node).is_none()
                }),
            "R4: whoever is committed counts until the change is"
        );
        let changed = rule != self.rule;
        if changed || !fresh.is_empty() {
            self.rule = rule.clone();
            let fresh = fresh.to_vec();
            out.push(LeaderAction::SetRule { rule, fresh });
        }
        if changed {
            out.push(LeaderAction::Measure);
        }
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    fn renew_lease(&mut self, marks: &Marks<'_>, out: &mut Vec<LeaderAction>) {
        let alone = self.rule.maximal_isr.len() == 1;
        let few = self.view.isr.len() < self.view.min_isr;
        let lease = if alone {
            Lease::Controller
        } else {
            let granted = self
                .rule
                .maximal_isr
                .iter()
                .filter(|node| **node != self.me);
            let granted = granted.map(|node| {
                let attached = self
                    .peers
                    .iter()
                    .any(|p| p.node == *node && p.is_confirmed());
                let sample = marks.followers.iter().find(|sample| sample.node == *node);
                sample
                    .filter(|_| attached)
                    .and_then(|sample| sample.echo_sent_at)
            });
            let least = if holds(Guard::LeaseByOldestEcho) {
                granted.min().flatten()
            } else {
                granted.max().flatten()
            };
            let until = least.map_or(Monotonic::default(), |at| {
                at + self.timing.lease_of_holder()
            });
            if few && holds(Guard::LeaseNeedsMinIsr) {
                Lease::Both(until)
            } else {
                Lease::Until(until)
            }
        };
        if lease != self.lease {
            self.lease = lease;
            out.push(LeaderAction::Lease(lease));
        }
    }
}

/// The offset by which a replica counts.
fn counted(counts: Counts, log_end: Offset, durable_end: Offset) -> Offset {
    match counts {
        Counts::Durable => durable_end.min(log_end),
        Counts::Written => log_end,
    }
}
