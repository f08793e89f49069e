//! What a node does around its machine: apply metadata, tick, write, sync and send.

use std::collections::BTreeMap;

use plimsoll_types::{Monotonic, NodeId};

use super::super::{at, key};
use super::duty::Duty;
use super::metadata::{epoch_of, partition, view};
use super::node::{Leading, Log, Message, Role, Tenure};
use super::world::{Sync, World};
use crate::credits::Room;
use crate::divergence::EpochStart;
use crate::follower::{AppendHead, Follower, FollowerTerm};
use crate::leader::{Decision, Leader, LeaderAction, LeaderTerm};
use crate::timing::Timing;

impl World {
    /// The node hears of the next version of the metadata, or of the newest.
    pub(super) fn hear(&mut self, me: NodeId) {
        let lag = if self.calm { 1 } else { 8 };
        let controlled = self.now >= self.no_controller_until
            && self.reaches_controller(me)
            && self.now >= self.nodes[&me].deaf_until;
        let heard = self.nodes[&me].heard;
        if controlled && heard < self.history.len() && self.chance(lag) {
            let heard = if self.chance(3) {
                self.history.len()
            } else {
                heard + 1
            };
            let image = self.history[heard - 1].clone();
            let node = self.nodes.get_mut(&me).unwrap();
            (node.image, node.heard, node.applied) = (image, heard, false);
        }
        // The machine learns of it a little later than whoever judges proposals.
        if !self.nodes[&me].applied && (self.calm || self.chance(3)) {
            self.apply(me);
        }
    }

    fn apply(&mut self, me: NodeId) {
        let (now, counts) = (self.now, self.counts);
        let peers: BTreeMap<NodeId, bool> = self
            .ids()
            .into_iter()
            .filter(|peer| *peer != me)
            .map(|peer| (peer, self.is_linked(me, peer)))
            .collect();
        let node = self.nodes.get_mut(&me).unwrap();
        let process = epoch_of(&node.image, me);
        let mine = process == node.broker_epoch || !Duty::RoleOfThisUptime.kept();
        if !mine {
            (node.role, node.applied) = (Role::Idle, true);
            return;
        }
        let partition = partition(&node.image);
        if !partition.replicas.contains(&me) {
            // What nobody asks for any more is deleted.
            (node.role, node.applied) = (Role::Idle, true);
            node.log = Log::begin(0, Vec::new(), node.log.cuts + 1);
            (node.seen.1, node.damaged) = (0, false);
            return;
        }
        let (epoch, leader) = (partition.leader_epoch, partition.leader);
        let in_isr = partition.isr.contains(&me);
        let may_lead = in_isr || partition.elr.contains(&me);
        let to_lead = leader == Some(me);
        let leads = matches!(&node.role, Role::Leading(l) if l.machine.leader_epoch() == epoch);
        // A follower has promised its last leader not to lead for a while.
        let promised = node
            .granted_at
            .is_some_and(|at| now < at + Timing::DEFAULT.lease);
        if to_lead && !leads && promised && Duty::GrantOutwaited.kept() {
            // It grants no more, or the wait would never end.
            node.role = Role::Idle;
            return;
        }
        node.applied = true;
        let (mut out, mut done) = (Vec::new(), Vec::new());
        match &mut node.role {
            Role::Leading(leading) if to_lead && leads => {
                leading
                    .machine
                    .metadata(view(&node.image, counts), now, &mut done);
            }
            Role::Following(f) if !to_lead && f.leader_epoch() == epoch && f.leader() == leader => {
                f.standing(in_isr, may_lead, now, &mut out);
            }
            Role::Leading(_) | Role::Following(_) | Role::Idle if to_lead => {
                return self.take_lead(me);
            }
            Role::Leading(_) | Role::Following(_) | Role::Idle => {
                if node
                    .log
                    .epochs
                    .last()
                    .is_some_and(|last| last.epoch > epoch)
                {
                    // An epoch of before its restart: the image will go on.
                    return;
                }
                let term = FollowerTerm {
                    key: key(),
                    me,
                    broker_epoch: node.broker_epoch,
                    leader,
                    leader_epoch: epoch,
                    unclean_epoch: partition.unclean_epoch,
                };
                if !Duty::NoCutToHighWatermark.kept() && node.seen.0 != epoch {
                    node.log.cut(node.log.high_watermark);
                }
                let linked = leader.is_some_and(|leader| peers.get(&leader) == Some(&true));
                let mut follower = Follower::new(term, Timing::DEFAULT, linked, now, &mut out);
                follower.standing(in_isr, may_lead, now, &mut out);
                if node.damaged {
                    follower.damaged(now, &mut out);
                }
                node.role = Role::Following(Box::new(follower));
                if node.seen.0 != epoch {
                    node.seen = (epoch, node.log.high_watermark, false);
                }
            }
        }
        self.follow(me, out);
        self.lead(me, done);
    }

    /// The node begins to lead: its epoch is in its vector before it serves anything.
    fn take_lead(&mut self, me: NodeId) {
        let (now, counts) = (self.now, self.counts);
        let newest = partition(self.image()).leader_epoch;
        let node = self.nodes.get_mut(&me).unwrap();
        let epoch = partition(&node.image).leader_epoch;
        let process = node.broker_epoch;
        let start = at(node.log.end());
        let grows = node.log.epochs.last().is_none_or(|last| last.epoch < epoch);
        if grows {
            node.log.epochs.push(EpochStart { epoch, start });
        }
        let view = view(&node.image, counts);
        let rule = view.first_rule(me);
        let cells = rule.followers.iter().map(|peer| (*peer, (0, 0, 0)));
        let cells = cells.collect();
        let term = LeaderTerm {
            key: key(),
            me,
            leader_epoch: epoch,
            epoch_start: start,
            view,
        };
        node.role = Role::Leading(Box::new(Leading {
            machine: Leader::new(term, Timing::DEFAULT, now),
            tenure: Tenure { rule, cells },
            feeds: BTreeMap::new(),
            heard: BTreeMap::new(),
            echoed: BTreeMap::new(),
            asked: None,
        }));
        node.seen = (epoch, node.log.high_watermark, false);
        if !grows || self.led.insert(epoch, (me, process)).is_some() {
            self.broken = Some(format!("R7: {me} leads in epoch {epoch}, which was led"));
        }
        if epoch == newest && !self.has_committed(me) {
            let what = format!("R1: {me} leads epoch {epoch} without all that is committed");
            self.broken = Some(what);
        }
    }

    /// A bit flips in its log, and is found.
    fn damage(&mut self, me: NodeId) {
        let now = self.now;
        let flips = !self.calm && self.plan.damage && self.chance(300);
        if flips && !self.nodes[&me].damaged && (self.may_lose || self.is_spare(me)) {
            let node = self.nodes.get_mut(&me).unwrap();
            node.damaged = true;
            let mut out = Vec::new();
            if let Role::Following(follower) = &mut node.role {
                follower.damaged(now, &mut out);
            }
            self.follow(me, out);
        }
        let node = &self.nodes[&me];
        let partition = partition(&node.image);
        let counts = partition.isr.contains(&me) || partition.elr.contains(&me);
        if node.damaged && counts {
            self.report_loss(me, node.broker_epoch);
        }
    }

    /// Ticks, writes, syncs, sends.
    pub(super) fn work(&mut self, me: NodeId, ticks: bool) -> Result<(), String> {
        let now = self.now;
        if ticks {
            self.damage(me);
        }
        let writes = !self.calm && self.chance(self.plan.writes);
        let (syncs, trims) = (self.chance(3), !self.calm && self.trims());
        let mut out = Vec::new();
        let mut sends = Vec::new();
        let node = self.nodes.get_mut(&me).unwrap();
        let end = node.log.end();
        match &mut node.role {
            Role::Idle => return Ok(()),
            Role::Following(follower) => {
                if ticks {
                    follower.tick(at(end), now, &mut out);
                    if let (Some(session), Some(leader)) = (follower.session(), follower.leader()) {
                        let (log_end, durable, echo) = (end, node.log.durable, node.newest);
                        let ack = Message::Ack {
                            session,
                            log_end,
                            durable,
                            echo,
                        };
                        sends.push((leader, ack));
                        node.granted_at = Some(now);
                    }
                }
            }
            Role::Leading(leading) => {
                if writes && self.next_value < 500 {
                    self.next_value += 1;
                    let epoch = leading.machine.leader_epoch().get();
                    node.log.push((epoch, self.next_value));
                }
            }
        }
        if syncs {
            let sync = Sync {
                node: me,
                process: node.broker_epoch,
                cuts: node.log.cuts,
                end: node.log.end(),
            };
            let at = self.soon(40);
            self.syncs.push((at, sync));
        }
        self.follow(me, out);
        self.lead_on(me, ticks);
        for (to, message) in sends {
            self.send(me, to, message);
        }
        let of_this_line = self.is_of_this_line(self.nodes[&me].seen.0);
        let node = self.nodes.get_mut(&me).unwrap();
        if matches!(node.role, Role::Leading(_)) {
            if of_this_line {
                self.ledger.commit(node)?;
            }
            if trims {
                node.log.trim(node.log.high_watermark);
            }
        }
        Ok(())
    }

    fn trims(&mut self) -> bool {
        self.plan.retention.is_some_and(|rate| self.chance(rate))
    }

    /// A leader moves its high watermark and feeds its followers.
    fn lead_on(&mut self, me: NodeId, ticks: bool) {
        let now = self.now;
        let (mut done, mut sends) = (Vec::new(), Vec::new());
        let node = self.nodes.get_mut(&me).unwrap();
        let Role::Leading(leading) = &mut node.role else {
            return;
        };
        let reached = leading.tenure.reachable(&node.log);
        node.log.high_watermark = node.log.high_watermark.max(reached);
        if let Some((version, _)) = leading.asked.filter(|(_, until)| *until <= now) {
            leading.asked = None;
            let machine = &mut leading.machine;
            machine.decided(version, Decision::Unknown, now, &mut done);
        }
        for (session, feed) in &mut leading.feeds {
            if !feed.confirmed {
                continue;
            }
            if feed.next < node.log.start {
                feed.confirmed = false;
                let start = at(node.log.start);
                let machine = &mut leading.machine;
                machine.behind_log_start(*session, start, now, &mut done);
                break;
            }
            let count = match feed.credits.room() {
                Room::None => 0,
                Room::Bytes(n) | Room::AtLeastOne(n) => n.max(1),
                Room::ExactlyOne => 1,
            };
            let to = node.log.end().min(feed.next + count).max(feed.next);
            let moves = to > feed.next;
            if !moves && !ticks {
                continue;
            }
            let head = AppendHead {
                session: *session,
                from: moves.then(|| at(feed.next)),
                high_watermark: at(node.log.high_watermark),
                log_start: at(node.log.start),
                log_end: at(node.log.end()),
            };
            let records = node.log.slice(feed.next, to).to_vec();
            if moves {
                feed.credits.sent(at(to), to - feed.next);
                feed.next = to;
            }
            let append = Message::Append {
                head,
                records,
                sent_at: now,
            };
            sends.push((feed.node, append));
        }
        if ticks {
            done.push(LeaderAction::Measure);
        }
        self.lead(me, done);
        for (to, message) in sends {
            self.send(me, to, message);
        }
    }

    /// What an echo that came back just now is worth.
    pub(super) fn echo(&self, sent_at: Monotonic) -> Monotonic {
        if Duty::EchoBySending.kept() {
            sent_at
        } else {
            self.now
        }
    }
}
