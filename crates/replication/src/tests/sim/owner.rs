//! What a node does around its machine: apply metadata, carry out actions, move records.

use super::*;

impl World {
    /// The node hears of the next versions of the metadata.
    pub(super) fn hear(&mut self, me: NodeId) {
        let (now, lag) = (self.now, if self.calm { 1 } else { 8 });
        if !self.reaches_controller(me) || !self.chance(lag) {
            return;
        }
        let version = self.nodes[&me].image.version;
        let Some(next) = self
            .history
            .iter()
            .find(|state| state.version > version)
            .cloned()
        else {
            return;
        };
        let linked: BTreeMap<NodeId, bool> = [1, 2, 3]
            .map(id)
            .into_iter()
            .filter(|peer| *peer != me)
            .map(|peer| (peer, self.pairs[&(me.min(peer), me.max(peer))].up))
            .collect();
        let node = self.nodes.get_mut(&me).unwrap();
        // A follower has promised its last leader not to lead for a while.
        let promised = node
            .granted_at
            .is_some_and(|at| now < at + Timing::DEFAULT.lease);
        let mine = next.broker_epoch(me) == node.broker_epoch;
        let to_lead = next.leader == Some(me) && mine;
        let leads =
            matches!(&node.role, Role::Leading(l) if l.machine.leader_epoch() == next.leader_epoch);
        if to_lead && !leads && promised {
            // It grants no more, or the wait would never end.
            node.role = Role::Idle;
            return;
        }
        let next_is_current = next.leader_epoch == self.state.leader_epoch;
        node.image = next;
        if !mine {
            node.role = Role::Idle;
            return;
        }
        let epoch = node.image.leader_epoch;
        let (mut out, mut done, mut taken) = (Vec::new(), Vec::new(), false);
        match &mut node.role {
            Role::Leading(leading) if to_lead && leads => {
                leading.machine.metadata(node.image.view(), now, &mut done);
            }
            Role::Following(f)
                if !to_lead && f.leader_epoch() == epoch && f.leader() == node.image.leader =>
            {
                f.in_isr(node.image.isr.contains(&me), &mut out);
            }
            Role::Leading(_) | Role::Following(_) | Role::Idle if to_lead => {
                assert!(
                    node.log.epochs.last().is_none_or(|last| last.epoch < epoch),
                    "R7"
                );
                let start = at(node.log.end());
                taken = true;
                node.log.epochs.push(EpochStart { epoch, start });
                let view = node.image.view();
                let rule = view.first_rule(me);
                let cells = rule
                    .followers
                    .iter()
                    .map(|peer| (*peer, (0, 0, 0)))
                    .collect();
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
            }
            Role::Leading(_) | Role::Following(_) | Role::Idle => {
                let leader = node.image.leader;
                let term = FollowerTerm {
                    key: key(),
                    me,
                    broker_epoch: node.broker_epoch,
                    leader,
                    leader_epoch: epoch,
                    unclean_epoch: None,
                };
                let linked = leader.is_some_and(|leader| linked.get(&leader) == Some(&true));
                let follower = Follower::new(term, Timing::DEFAULT, linked, now, &mut out);
                node.role = Role::Following(Box::new(follower));
            }
        }
        if taken && next_is_current && !self.has_committed(&self.nodes[&me]) {
            self.broken = Some(format!(
                "R1: {me} leads epoch {epoch} without all that is committed"
            ));
        }
        self.follow(me, out);
        self.lead(me, done);
    }

    /// Ticks, writes, syncs, sends.
    pub(super) fn work(&mut self, me: NodeId, ticks: bool) -> Result<(), String> {
        let now = self.now;
        let (writes, syncs) = (!self.calm && self.chance(4), self.chance(3));
        let (mut out, mut done, mut sends) = (Vec::new(), Vec::new(), Vec::new());
        let node = self.nodes.get_mut(&me).unwrap();
        let (end, high_watermark) = (node.log.end(), node.log.high_watermark);
        let epoch = match &mut node.role {
            Role::Idle => None,
            Role::Following(follower) => {
                if ticks {
                    follower.tick(at(end), now, &mut out);
                    if let (Some(session), Some(leader)) = (follower.session(), follower.leader()) {
                        let (log_end, durable, echo) = (end, node.log.durable, node.newest);
                        sends.push((
                            leader,
                            Message::Ack {
                                session,
                                log_end,
                                durable,
                                echo,
                            },
                        ));
                        node.granted_at = Some(now);
                    }
                }
                Some(follower.leader_epoch())
            }
            Role::Leading(leading) => {
                let epoch = leading.machine.leader_epoch();
                if writes && end < 400 {
                    self.next_value += 1;
                    node.log.push((epoch.get(), self.next_value));
                }
                let reached = leading.tenure.reachable(&node.log);
                if reached > high_watermark {
                    node.log.high_watermark = reached;
                }
                if leading
                    .asked
                    .as_ref()
                    .is_some_and(|(_, until)| *until <= now)
                {
                    let (proposal, _) = leading.asked.take().unwrap();
                    let version = proposal.partition_epoch;
                    leading
                        .machine
                        .decided(version, Decision::Unknown, now, &mut done);
                }
                for (session, feed) in &mut leading.feeds {
                    let count = match feed.credits.room() {
                        Room::None => 0,
                        Room::Bytes(n) | Room::AtLeastOne(n) => n.max(1),
                        Room::ExactlyOne => 1,
                    };
                    let to = node.log.end().min(feed.next + count);
                    let moves = feed.confirmed && to > feed.next;
                    if feed.confirmed && (moves || ticks) {
                        let head = AppendHead {
                            session: *session,
                            from: moves.then(|| at(feed.next)),
                            high_watermark: at(node.log.high_watermark),
                            log_start: at(0),
                            log_end: at(node.log.end()),
                        };
                        let (from, to) = (feed.next as usize, to.max(feed.next) as usize);
                        let records = node.log.records[from..to].to_vec();
                        if moves {
                            feed.credits.sent(at(to as u64), (to - from) as u64);
                            feed.next = to as u64;
                        }
                        sends.push((
                            feed.node,
                            Message::Append {
                                head,
                                records,
                                sent_at: now,
                            },
                        ));
                    }
                }
                if ticks {
                    done.push(LeaderAction::Measure);
                }
                Some(epoch)
            }
        };
        if let Some(epoch) = epoch.filter(|_| syncs) {
            let (broker_epoch, end) = (node.broker_epoch, node.log.end());
            let at = self.soon(40);
            self.syncs.push((at, me, broker_epoch, epoch, end));
        }
        self.follow(me, out);
        self.lead(me, done);
        for (to, message) in sends {
            self.send(me, to, message);
        }
        let node = &self.nodes[&me];
        if matches!(node.role, Role::Leading(_)) {
            self.ledger.commit(node, node.log.high_watermark)?;
        }
        Ok(())
    }

    /// Carries out what a leader wants.
    pub(super) fn lead(&mut self, me: NodeId, actions: Vec<LeaderAction>) {
        let (now, mut queue) = (self.now, VecDeque::from(actions));
        let mut budget = 50;
        while let Some(action) = queue.pop_front() {
            budget -= 1;
            assert!(budget > 0, "actions beget actions without end");
            let calm = self.calm;
            let lost = !calm && self.chance(4);
            let (delay, again) = (self.soon(300), self.soon(3000));
            let doubled = !calm && self.chance(3);
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
                    let epoch = leading.machine.leader_epoch();
                    if let Some(decision) = node.image.judge(me, epoch, &proposal) {
                        let mut out = Vec::new();
                        leading
                            .machine
                            .decided(proposal.partition_epoch, decision, now, &mut out);
                        queue.extend(out);
                        continue;
                    }
                    leading.asked = Some((proposal.clone(), now + Duration::from_millis(700)));
                    let expected_version = node.image.version;
                    let transaction = Transaction {
                        node: me,
                        expected_version,
                        proposal,
                    };
                    if !lost {
                        self.transactions.push((delay, transaction.clone()));
                    }
                    if doubled {
                        self.transactions.push((again, transaction));
                    }
                }
                LeaderAction::CloseSession {
                    node: peer,
                    session,
                    ..
                } => {
                    leading.feeds.remove(&session);
                    let why = Refusal::Throttled {
                        after: Duration::ZERO,
                    };
                    self.send(me, peer, Message::Refused { why });
                }
                LeaderAction::ResetFollower { .. } => panic!("no retention here"),
                LeaderAction::Scrub { .. } | LeaderAction::Lease(_) | LeaderAction::Event(_) => {}
            }
        }
        let due = self
            .decisions
            .iter()
            .position(|(at, node, ..)| *at <= now && *node == me);
        if let Some(due) = due {
            let (_, _, epoch, decision) = self.decisions.remove(due);
            let mut out = Vec::new();
            if let Role::Leading(leading) = &mut self.nodes.get_mut(&me).unwrap().role {
                leading.machine.decided(epoch, decision, now, &mut out);
            }
            self.lead(me, out);
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
                } => {
                    let (log_end, epochs) = (at(node.log.end()), node.log.epochs.clone());
                    Some(Message::Attach {
                        leader_epoch,
                        broker_epoch,
                        log_end,
                        epochs,
                    })
                }
                FollowerAction::Truncate { to, epochs, .. } => {
                    node.log.cut(to.get());
                    node.log.epochs = epochs;
                    follower.worked(Ok(at(node.log.end())), now, &mut more);
                    None
                }
                FollowerAction::ResetTo { start, epochs, .. } => {
                    node.log = Log {
                        epochs,
                        ..Log::default()
                    };
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
                FollowerAction::Learned { high_watermark, .. } => {
                    let known = high_watermark.get().min(node.log.end());
                    node.log.high_watermark = node.log.high_watermark.max(known);
                    None
                }
                FollowerAction::Quarantine { .. } => panic!("no record that is committed is cut"),
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
