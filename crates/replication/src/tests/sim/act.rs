//! Carrying out what the machines want.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_controller::rules;
use plimsoll_types::{BrokerEpoch, NodeId};

use super::super::{at, key};
use super::metadata::{Transaction, judge};
use super::node::{Log, Message, Role};
use super::world::World;
use crate::credits::Credits;
use crate::follower::FollowerAction;
use crate::leader::{LeaderAction, Marks};
use crate::session::{CloseWhy, Refusal};

impl World {
    /// Carries out what a leader wants.
    pub(super) fn lead(&mut self, me: NodeId, actions: Vec<LeaderAction>) {
        let (now, mut queue) = (self.now, VecDeque::from(actions));
        let mut budget = 60;
        while let Some(action) = queue.pop_front() {
            budget -= 1;
            assert!(budget > 0, "actions beget actions without end");
            let node = self.nodes.get_mut(&me).unwrap();
            let Role::Leading(leading) = &mut node.role else {
                return;
            };
            match action {
                LeaderAction::SetRule { rule, fresh } => {
                    for peer in fresh {
                        let cell = leading.tenure.cells.entry(peer).or_default();
                        *cell = (cell.0 + 1, 0, 0);
                    }
                    leading.tenure.rule = rule;
                }
                LeaderAction::Measure => {
                    let samples = leading.samples();
                    let reached = leading.tenure.reachable(&node.log);
                    node.log.high_watermark = node.log.high_watermark.max(reached);
                    let marks = Marks {
                        log_end: at(node.log.end()),
                        durable_end: at(node.log.durable),
                        high_watermark: at(node.log.high_watermark),
                        followers: &samples,
                    };
                    let mut out = Vec::new();
                    leading.machine.tick(&marks, now, &mut out);
                    queue.extend(out);
                }
                LeaderAction::Propose(proposal) => {
                    let leader_epoch = leading.machine.leader_epoch();
                    let process = (me, node.broker_epoch);
                    let judged = judge(&node.image, process, leader_epoch, &proposal);
                    let version = proposal.partition_epoch;
                    if judged.records.is_empty() {
                        let mut out = Vec::new();
                        let machine = &mut leading.machine;
                        machine.decided(version, judged.decision, now, &mut out);
                        queue.extend(out);
                        continue;
                    }
                    leading.asked = Some((version, now + Duration::from_millis(700)));
                    let transaction = Transaction {
                        node: me,
                        process: process.1,
                        expected_version: node.image.version(),
                        leader_epoch,
                        proposal,
                    };
                    self.submit(transaction);
                }
                LeaderAction::CloseSession {
                    node: peer,
                    session,
                    why,
                } => {
                    leading.feeds.remove(&session);
                    if why == CloseWhy::Disagreed {
                        self.broken = Some(format!("R2: one round was not enough for {peer}"));
                    }
                    let why = Refusal::Throttled {
                        after: Duration::ZERO,
                    };
                    self.send(me, peer, Message::Refused { why });
                }
                LeaderAction::ResetFollower {
                    node: peer,
                    session,
                    start,
                } => {
                    let cell = leading.tenure.cells.entry(peer).or_default().0;
                    if let Some(feed) = leading.feeds.get_mut(&session) {
                        (feed.cell, feed.confirmed) = (cell, false);
                        feed.credits = Credits::new(5, 4, true);
                    }
                    let begun = node.log.epochs.iter().filter(|e| e.start <= start);
                    let message = Message::Attached {
                        session,
                        leader_epoch: leading.machine.leader_epoch(),
                        truncate_to: None,
                        reset: Some(start),
                        log_start: at(node.log.start),
                        high_watermark: at(node.log.high_watermark),
                        log_end: at(node.log.end()),
                        epochs: begun.copied().collect(),
                        unclean: None,
                    };
                    self.send(me, peer, message);
                }
                LeaderAction::Scrub { .. } | LeaderAction::Lease(_) | LeaderAction::Event(_) => {}
            }
        }
    }

    /// A proposal goes to the controller: late, never, or twice.
    fn submit(&mut self, transaction: Transaction) {
        let (delay, again) = (self.soon(300), self.soon(self.plan.held_ms * 3));
        let held = self.soon(self.plan.held_ms);
        let isolated = !self.reaches_controller(transaction.node);
        if self.calm || !self.plan.lossy && !isolated {
            self.transactions.push((delay, transaction));
            return;
        }
        if self.chance(3) {
            self.transactions.push((again, transaction.clone()));
        }
        match self.below(4) {
            0 => {}
            1 => self.transactions.push((held, transaction)),
            _ if isolated => {}
            _ => self.transactions.push((delay, transaction)),
        }
    }

    /// A replica says that it lacks what is committed.
    pub(super) fn report_loss(&mut self, me: NodeId, process: BrokerEpoch) {
        if self.reaches_controller(me) {
            self.rule(|image| rules::report_corrupt(image, me, process, &[key()]));
        }
    }

    /// Carries out what a follower wants.
    pub(super) fn follow(&mut self, me: NodeId, actions: Vec<FollowerAction>) {
        let now = self.now;
        for action in actions {
            let node = self.nodes.get_mut(&me).unwrap();
            let Role::Following(follower) = &mut node.role else {
                return;
            };
            let Some(leader) = follower.leader() else {
                return;
            };
            let mut more = Vec::new();
            let message = match action {
                FollowerAction::SendAttach {
                    leader_epoch,
                    broker_epoch,
                    ..
                } => Some(Message::Attach {
                    leader_epoch,
                    broker_epoch,
                    log_start: at(node.log.start),
                    log_end: at(node.log.end()),
                    epochs: node.log.epochs.clone(),
                }),
                FollowerAction::Truncate { to, epochs, .. } => {
                    if to < at(node.log.end()) {
                        if node.seen.2 {
                            let what = format!("R2: one cut was not enough for {me}");
                            self.broken.get_or_insert(what);
                        }
                        node.seen = (node.seen.0, 0, true);
                    }
                    node.log.cut(to.get());
                    node.log.epochs = epochs;
                    follower.worked(Ok(at(node.log.end())), now, &mut more);
                    None
                }
                FollowerAction::ResetTo { start, epochs, .. } => {
                    node.log = Log::begin(start.get(), epochs, node.log.cuts + 1);
                    node.damaged = false;
                    node.seen = (node.seen.0, 0, true);
                    follower.worked(Ok(start), now, &mut more);
                    None
                }
                FollowerAction::SendAck { session } => {
                    let (log_end, durable, echo) = (node.log.end(), node.log.durable, node.newest);
                    node.granted_at = Some(now);
                    Some(Message::Ack {
                        session,
                        log_end,
                        durable,
                        echo,
                    })
                }
                FollowerAction::SendNack { session, why } => Some(Message::Nack { session, why }),
                FollowerAction::Detach { session } => Some(Message::Detach { session }),
                FollowerAction::Learned {
                    high_watermark,
                    log_start,
                } => {
                    let log = &mut node.log;
                    log.high_watermark = log.high_watermark.max(high_watermark.get());
                    log.trim(log_start.get());
                    None
                }
                FollowerAction::Quarantine { from } => {
                    let what = format!("{me} was asked to cut what is committed, from {from} on");
                    self.broken.get_or_insert(what);
                    None
                }
                FollowerAction::ReportLoss => {
                    let process = node.broker_epoch;
                    self.report_loss(me, process);
                    None
                }
                FollowerAction::Withdraw => Some(Message::Withdraw),
                FollowerAction::DiscardAside
                | FollowerAction::RefreshMetadata
                | FollowerAction::Event(_) => None,
            };
            if let Some(message) = message {
                self.send(me, leader, message);
            }
            self.follow(me, more);
        }
    }
}
