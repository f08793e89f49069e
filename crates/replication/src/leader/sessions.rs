//! Sessions of a leader: attach, confirm, refuse, and the watchdog's ladder.

use plimsoll_types::{Monotonic, NodeId, Offset};

use super::Leader;
use super::peer::{LagClock, Session};
use super::view::{LeaderAction, LeaderEvent, LeaveWhy, Marks};
use crate::divergence::{Agreement, LogShape, divergence};
use crate::guards::{Guard, breached, holds};
use crate::session::{Attach, AttachOutcome, CloseWhy, LeaderLog, Nack, Refusal};

/// Stalls in a row from which on one batch goes at a time.
const ONE_BATCH_FROM: u32 = 3;
/// Stalls in a row from which on the follower starts afresh.
const RESET_FROM: u32 = 5;

impl Leader {
    /// A follower asks to be fed. Invariant R8: an ack counts only in the session, leader epoch and
    /// broker epoch it was made for, because each session has a position of its own.
    ///
    /// The owner does what is in `out` before it answers, and takes the follower's handle after.
    pub fn attach(
        &mut self,
        attach: &Attach<'_>,
        log: &LeaderLog<'_>,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) -> AttachOutcome {
        match self.agree(attach, log, now) {
            Ok(agreement) => self.open(attach, agreement, log, now, out),
            Err(why) => {
                let node = attach.node;
                out.push(LeaderAction::Event(LeaderEvent::Refused { node, why }));
                AttachOutcome::Refused(why)
            }
        }
    }

    /// The first ack of a session: `true` when it confirms the agreed end. From then on acks go to
    /// the cells, and data may be sent.
    pub fn first_ack(
        &mut self,
        session: u64,
        log_end: Offset,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) -> bool {
        let Some(peer) = self.of_session(session) else {
            return false;
        };
        let node = peer.node;
        let Some(open) = peer.session.as_mut() else {
            return false;
        };
        let agreed = open.expects.is_none_or(|expected| expected == log_end);
        if breached(Guard::SessionConfirmed, agreed) {
            if open.crossing {
                return false;
            }
            peer.hold_off(now);
            self.close(node, CloseWhy::Disagreed, out);
            return false;
        }
        (open.expects, open.crossing) = (None, false);
        open.moved = (log_end, now);
        if peer.unfit == Some(LeaveWhy::Disk) {
            peer.unfit = None;
        }
        out.push(LeaderAction::Measure);
        true
    }

    /// A follower cannot go on with its session.
    pub fn nack(&mut self, session: u64, why: Nack, now: Monotonic, out: &mut Vec<LeaderAction>) {
        let Some(peer) = self.of_session(session) else {
            return;
        };
        let node = peer.node;
        peer.hold_off(now);
        match why {
            Nack::Corrupt { at } => {
                // Once is the way here; the second time it may be what lies on this disk.
                if peer.corrupt_at.replace(at) == Some(at) {
                    out.push(LeaderAction::Scrub { at });
                }
            }
            Nack::DiskFull | Nack::IoError => peer.unfit = Some(LeaveWhy::Disk),
            Nack::Gap { .. } | Nack::EpochRegression => {}
        }
        self.close(node, CloseWhy::Nacked(why), out);
        out.push(LeaderAction::Measure);
    }

    /// The link of a session closed, or the follower gave the session up.
    pub fn session_lost(&mut self, session: u64, out: &mut Vec<LeaderAction>) {
        if let Some(node) = self.of_session(session).map(|peer| peer.node) {
            self.close(node, CloseWhy::LinkLost, out);
        }
    }

    /// What comes next for this session is below the log start: retention was faster. The
    /// follower starts afresh in the same session, unless it counts.
    pub fn behind_log_start(
        &mut self,
        session: u64,
        reset_start: Offset,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) {
        let Some(node) = self.of_session(session).map(|peer| peer.node) else {
            return;
        };
        let counts = self.may_lead(node) || self.rule.maximal_isr.contains(&node);
        let Some(peer) = self.peer(node) else { return };
        if breached(Guard::ResetSparesMembers, !counts) {
            peer.unfit = Some(LeaveWhy::LostLog);
            peer.hold_off(now);
            self.close(node, CloseWhy::BehindLogStart, out);
            out.push(LeaderAction::Measure);
            return;
        }
        if let Some(open) = peer.session.as_mut() {
            open.expects = Some(reset_start);
            open.crossing = true;
            open.opened_at = now;
            open.moved = (reset_start, now);
        }
        peer.fit_since = None;
        self.set_rule(&[node], out);
        out.push(LeaderAction::ResetFollower {
            node,
            session,
            start: reset_start,
        });
        out.push(LeaderAction::Event(LeaderEvent::Reset {
            node,
            start: reset_start,
        }));
    }

    fn agree(
        &mut self,
        attach: &Attach<'_>,
        log: &LeaderLog<'_>,
        now: Monotonic,
    ) -> Result<Agreement, Refusal> {
        let current = self.leader_epoch;
        if breached(Guard::AttachOfThisEpoch, attach.leader_epoch >= current) {
            return Err(Refusal::FencedEpoch { current });
        }
        if breached(Guard::AttachOfThisEpoch, attach.leader_epoch <= current) {
            return Err(Refusal::UnknownEpoch);
        }
        let is_replica = self.view.replica(attach.node).is_some() && attach.node != self.me;
        if !is_replica {
            return Err(Refusal::NotAReplica);
        }
        let known = self.view.broker_epoch(attach.node);
        if breached(
            Guard::AttachOfThisUptime,
            known <= Some(attach.broker_epoch),
        ) {
            return Err(Refusal::StaleBrokerEpoch);
        }
        if breached(
            Guard::AttachOfThisUptime,
            known >= Some(attach.broker_epoch),
        ) {
            return Err(Refusal::UnknownEpoch);
        }
        let shape = LogShape {
            log_start: log.log_start,
            log_end: log.log_end,
            epochs: log.epochs,
        };
        let followers = LogShape {
            log_start: attach.log_start,
            log_end: attach.log_end,
            epochs: attach.epochs,
        };
        let mut agreement = divergence(&shape, &followers);
        let node = attach.node;
        let keeps = match agreement {
            Agreement::Aligned => attach.log_end,
            Agreement::TruncateTo(to) => to,
            Agreement::Reset => Offset::ZERO,
        };
        let complete = keeps >= log.high_watermark && agreement != Agreement::Reset;
        let may_lead = self.may_lead(node);
        let counts = may_lead || self.rule.maximal_isr.contains(&node);
        let Some(peer) = self.peer(node) else {
            return Err(Refusal::NotAReplica);
        };
        if now < peer.next_attach {
            let after = peer.next_attach.since(now);
            return Err(Refusal::Throttled { after });
        }
        if breached(Guard::MemberHasCommitted, complete || !counts) {
            // It has lost what it acknowledged: out of the ISR first, then on from what it has.
            peer.unfit = Some(LeaveWhy::LostLog);
            peer.hold_off(now);
            let after = peer.next_attach.since(now);
            return Err(match may_lead {
                true => Refusal::LostLog,
                false => Refusal::Throttled { after },
            });
        }
        if peer.unfit == Some(LeaveWhy::LostLog) {
            peer.unfit = None;
        }
        let due = peer.stalls >= RESET_FROM && now >= peer.next_reset;
        if due && !breached(Guard::ResetSparesMembers, !counts) {
            agreement = Agreement::Reset;
        }
        Ok(agreement)
    }

    fn open(
        &mut self,
        attach: &Attach<'_>,
        agreement: Agreement,
        log: &LeaderLog<'_>,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) -> AttachOutcome {
        let node = attach.node;
        self.close(node, CloseWhy::Replaced, out);
        let (expects, truncate_to) = match agreement {
            Agreement::Aligned => (attach.log_end, None),
            Agreement::TruncateTo(to) => (to, Some(to)),
            Agreement::Reset => (log.reset_start, None),
        };
        let pause = self.timing.reset_pause;
        let Some(peer) = self.peer(node) else {
            return AttachOutcome::Refused(Refusal::NotAReplica);
        };
        peer.session = Some(Session {
            id: attach.session,
            broker_epoch: attach.broker_epoch,
            opened_at: now,
            expects: Some(expects),
            crossing: false,
            moved: (expects, now),
        });
        peer.fit_since = None;
        if agreement == Agreement::Reset && peer.stalls >= RESET_FROM {
            peer.resets = (peer.resets + 1).min(6);
            peer.next_reset = now + pause * (1 << peer.resets);
            peer.stalls = ONE_BATCH_FROM;
            peer.stalled_at = expects;
        }
        let one_batch = peer.stalls >= ONE_BATCH_FROM;
        let fresh: &[NodeId] = if holds(Guard::FreshPosition) {
            &[node]
        } else {
            &[]
        };
        self.set_rule(fresh, out);
        if agreement == Agreement::Reset {
            out.push(LeaderAction::Event(LeaderEvent::Reset {
                node,
                start: expects,
            }));
            return AttachOutcome::Reset { start: expects };
        }
        out.push(LeaderAction::Event(LeaderEvent::Attached {
            node,
            truncate_to,
        }));
        AttachOutcome::Attached {
            truncate_to,
            expects,
            one_batch,
        }
    }

    /// Ends the session of `node`, if it has one. What it had acknowledged goes on to count.
    pub(super) fn close(&mut self, node: NodeId, why: CloseWhy, out: &mut Vec<LeaderAction>) {
        let Some(peer) = self.peer(node) else { return };
        peer.fit_since = None;
        if let Some(session) = peer.session.take() {
            let session = session.id;
            out.push(LeaderAction::CloseSession { node, session, why });
        }
    }

    /// Whether the controller may elect it without loss: then it may hold the only complete copy,
    /// and nothing of that may go before the controller knows.
    fn may_lead(&self, node: NodeId) -> bool {
        self.view.isr.contains(&node) || self.view.elr.contains(&node)
    }

    fn of_session(&mut self, session: u64) -> Option<&mut super::Peer> {
        let of = |peer: &&mut super::Peer| peer.session.as_ref().is_some_and(|s| s.id == session);
        self.peers.iter_mut().find(of)
    }

    /// Invariant R11: a follower that could move and does not gets a new session, then one batch at
    /// a time, then a new log.
    pub(super) fn watch_sessions(
        &mut self,
        marks: &Marks<'_>,
        now: Monotonic,
        out: &mut Vec<LeaderAction>,
    ) {
        let mut closing = Vec::new();
        let timing = self.timing;
        for peer in &mut self.peers {
            let Some(open) = peer.session.as_mut() else {
                continue;
            };
            if open.expects.is_some() {
                if now.since(open.opened_at) >= timing.confirm {
                    peer.hold_off(now);
                    closing.push((peer.node, CloseWhy::Unconfirmed));
                }
                continue;
            }
            let Some(sample) = marks.followers.iter().find(|s| s.node == peer.node) else {
                continue;
            };
            if sample.log_end > open.moved.0 {
                open.moved = (sample.log_end, now);
                peer.attach_back_off.succeeded();
                if sample.log_end > peer.stalled_at {
                    peer.stalls = 0;
                    peer.corrupt_at = None;
                }
            } else if sample.busy || sample.log_end >= marks.log_end {
                open.moved.1 = now;
            } else if now.since(open.moved.1) >= timing.stall {
                let at = open.moved.0;
                peer.stalls = peer.stalls.saturating_add(1);
                peer.stalled_at = at;
                peer.hold_off(now);
                closing.push((peer.node, CloseWhy::Stalled));
                let (node, times) = (peer.node, peer.stalls);
                out.push(LeaderAction::Event(LeaderEvent::Stalled {
                    node,
                    at,
                    times,
                }));
            }
        }
        for (node, why) in closing {
            self.close(node, why, out);
        }
    }

    /// Moves the clocks by which followers join and leave.
    pub(super) fn observe(&mut self, marks: &Marks<'_>, now: Monotonic) {
        let counts = self.view.counts;
        let mine = super::counted(counts, marks.log_end, marks.durable_end);
        let reach = self.within_reach(marks, mine);
        let (epoch_start, max_lag) = (self.epoch_start, self.timing.join_max_lag);
        for peer in &mut self.peers {
            let Some(sample) = marks.followers.iter().find(|s| s.node == peer.node) else {
                continue;
            };
            let position = super::counted(counts, sample.log_end, sample.durable_end);
            let seen_at = if peer.is_confirmed() {
                sample.heard_at.map(|heard| heard.min(now))
            } else {
                None
            };
            if let Some(at) = seen_at {
                peer.lag.observe(position, marks.log_end, at);
            }
            // Held against what others have, not against silence: an idle partition stalls nobody.
            peer.stall.observe(position, reach, now);
            let has_start = !breached(Guard::JoinerHasEpochStart, position >= epoch_start);
            let close = peer.lag.lag(now) <= max_lag && has_start;
            let fit = seen_at.is_some() && close && peer.unfit.is_none();
            peer.fit_since = if fit {
                peer.fit_since.or(Some(now))
            } else {
                None
            };
        }
    }

    /// How far the high watermark could be if only the best `min_isr` members counted, and never
    /// past what this node has itself: a slow disk here is nobody else's fault.
    fn within_reach(&self, marks: &Marks<'_>, mine: Offset) -> Offset {
        let members = self.view.isr.iter().filter(|node| **node != self.me);
        let mut positions: Vec<Offset> = members
            .map(|node| {
                let sample = marks.followers.iter().find(|sample| sample.node == *node);
                sample.map_or(Offset::ZERO, |s| {
                    super::counted(self.view.counts, s.log_end, s.durable_end)
                })
            })
            .collect();
        positions.push(mine);
        positions.sort_unstable_by(|a, b| b.cmp(a));
        let best = positions.get(self.view.min_isr.saturating_sub(1));
        best.copied().unwrap_or(Offset::ZERO).min(mine)
    }
}

/// Restarts both clocks of a follower that comes back into the ISR.
pub(super) fn restart_clocks(peer: &mut super::Peer, now: Monotonic) {
    peer.lag = LagClock::new(now);
    peer.stall = LagClock::new(now);
}
