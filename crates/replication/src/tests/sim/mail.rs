//! What a node does with a message.

use plimsoll_types::{Monotonic, NodeId};

use super::super::at;
use super::metadata::partition;
use super::node::{Feed, Message, Role};
use super::world::World;
use crate::credits::Credits;
use crate::follower::{Attached, LocalFault, LocalLog, Reset, Verdict};
use crate::session::{Attach, AttachOutcome, LeaderLog, Nack, Refusal};

impl World {
    /// A message arrives.
    pub(super) fn receive(&mut self, me: NodeId, from: NodeId, message: Message) {
        let now = self.now;
        let (mut out, mut done, mut reply) = (Vec::new(), Vec::new(), None);
        self.next_session += 1;
        let session_id = self.next_session;
        let damaged = !self.calm && self.plan.damage && self.chance(200);
        let worth = match &message {
            Message::Ack { echo, .. } => self.echo(*echo),
            _ => Monotonic::default(),
        };
        let node = self.nodes.get_mut(&me).unwrap();
        let log = LocalLog {
            log_start: at(node.log.start),
            log_end: at(node.log.end()),
            high_watermark: at(node.log.high_watermark),
            epochs: &node.log.epochs,
        };
        match (&mut node.role, message) {
            (
                Role::Leading(leading),
                Message::Attach {
                    leader_epoch,
                    broker_epoch,
                    log_start,
                    log_end,
                    epochs,
                },
            ) => {
                leading.heard.insert(from, now);
                let attach = Attach {
                    node: from,
                    session: session_id,
                    leader_epoch,
                    broker_epoch,
                    log_start,
                    log_end,
                    epochs: &epochs,
                };
                let log = LeaderLog {
                    log_start: at(node.log.start),
                    reset_start: at(node.log.start),
                    log_end: at(node.log.end()),
                    high_watermark: at(node.log.high_watermark),
                    epochs: &node.log.epochs,
                };
                let outcome = leading.machine.attach(&attach, &log, now, &mut done);
                self.lead(me, done);
                return self.attach_answered(me, from, session_id, outcome);
            }
            (
                Role::Leading(leading),
                Message::Ack {
                    session,
                    log_end,
                    durable,
                    ..
                },
            ) => {
                leading.heard.insert(from, now);
                leading.echoed.insert(from, worth);
                if let Some(feed) = leading.feeds.get_mut(&session) {
                    if !feed.confirmed {
                        feed.confirmed =
                            leading
                                .machine
                                .first_ack(session, at(log_end), now, &mut done);
                        feed.next = log_end;
                    }
                    if feed.confirmed {
                        feed.credits.acked(at(log_end));
                        let cell = leading.tenure.cells.entry(from).or_default();
                        if cell.0 == feed.cell {
                            *cell = (cell.0, cell.1.max(log_end), cell.2.max(durable));
                        }
                    }
                }
            }
            (Role::Leading(leading), Message::Nack { session, why }) => {
                leading.feeds.remove(&session);
                leading.machine.nack(session, why, now, &mut done);
            }
            (Role::Leading(leading), Message::Withdraw) => {
                let of_peer = leading.feeds.extract_if(.., |_, feed| feed.node == from);
                for (session, _) in of_peer {
                    leading.machine.session_lost(session, &mut done);
                }
                let counts = leading.tenure.rule.maximal_isr.contains(&from);
                reply = Some(Message::Released { counts });
            }
            (Role::Leading(leading), Message::Detach { session }) => {
                leading.feeds.remove(&session);
                leading.machine.session_lost(session, &mut done);
            }
            (_, Message::Attach { .. }) => {
                let leader = partition(&node.image).leader;
                reply = Some(Message::Refused {
                    why: Refusal::NotLeader { leader },
                });
            }
            (Role::Following(follower), message) if follower.leader() == Some(from) => {
                match message {
                    Message::Attached {
                        session,
                        leader_epoch,
                        reset: Some(start),
                        log_start,
                        epochs,
                        ..
                    } => {
                        let reset = Reset {
                            session,
                            leader_epoch,
                            start,
                            log_start,
                            epochs: &epochs,
                        };
                        follower.reset(&reset, now, &mut out);
                    }
                    Message::Attached {
                        session,
                        leader_epoch,
                        truncate_to,
                        log_start,
                        high_watermark,
                        log_end,
                        epochs,
                        unclean,
                        ..
                    } => {
                        let attached = Attached {
                            session,
                            leader_epoch,
                            truncate_to,
                            log_start,
                            high_watermark,
                            log_end,
                            epochs: &epochs,
                            unclean_epoch: unclean,
                        };
                        follower.attached(&attached, &log, now, &mut out);
                    }
                    Message::Released { counts } => follower.released(counts, now, &mut out),
                    Message::Refused { why } => follower.refused(why, now, &mut out),
                    Message::Append {
                        head,
                        records,
                        sent_at,
                    } => {
                        node.newest = node.newest.max(sent_at);
                        if follower.append(&head, log.log_end, now, &mut out) == Verdict::Accept {
                            let fault = if now < node.full_until {
                                Some(LocalFault::DiskFull)
                            } else if damaged {
                                Some(LocalFault::Refused(Nack::Corrupt { at: log.log_end }))
                            } else {
                                None
                            };
                            let result = match fault {
                                Some(fault) => Err(fault),
                                None => {
                                    records.into_iter().for_each(|record| node.log.push(record));
                                    Ok(at(node.log.end()))
                                }
                            };
                            follower.appended(&head, result, now, &mut out);
                        }
                    }
                    Message::Attach { .. }
                    | Message::Ack { .. }
                    | Message::Nack { .. }
                    | Message::Withdraw
                    | Message::Detach { .. } => {}
                }
            }
            (Role::Idle | Role::Leading(_) | Role::Following(_), _) => {}
        }
        if let Some(reply) = reply {
            self.send(me, from, reply);
        }
        self.follow(me, out);
        self.lead(me, done);
    }

    fn attach_answered(&mut self, me: NodeId, from: NodeId, session: u64, outcome: AttachOutcome) {
        let node = self.nodes.get_mut(&me).unwrap();
        let Role::Leading(leading) = &mut node.role else {
            return;
        };
        let (truncate_to, reset, expects, one_batch) = match outcome {
            AttachOutcome::Attached {
                truncate_to,
                expects,
                one_batch,
            } => (truncate_to, None, expects, one_batch),
            AttachOutcome::Reset { start } => (None, Some(start), start, true),
            AttachOutcome::Refused(why) => return self.send(me, from, Message::Refused { why }),
        };
        let cell = leading.tenure.cells.entry(from).or_default().0;
        let credits = Credits::new(5, 4, one_batch);
        leading.feeds.insert(
            session,
            Feed {
                node: from,
                confirmed: false,
                cell,
                next: 0,
                credits,
            },
        );
        let agreed = reset.or(truncate_to).unwrap_or(expects);
        let begun = node.log.epochs.iter().filter(|entry| entry.start <= agreed);
        let begun = begun.copied().collect();
        let message = Message::Attached {
            session,
            leader_epoch: leading.machine.leader_epoch(),
            truncate_to,
            reset,
            high_watermark: at(node.log.high_watermark),
            log_start: at(node.log.start),
            log_end: at(node.log.end()),
            epochs: begun,
            unclean: partition(&node.image).unclean_epoch,
        };
        self.send(me, from, message);
    }
}
