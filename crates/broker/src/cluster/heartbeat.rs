//! Signs of life: to the active controller, and as it takes them.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_controller::liveness::{DiskState, HeartbeatFacts, Liveness};
use plimsoll_controller::rules;
use plimsoll_types::{NodeId, PartitionKey};
use plimsoll_wire::peer::{Disk, Heartbeat, HeartbeatReply, Reply, Request};

use super::Member;
use crate::Broker;
use crate::catalog::{Hosted, Place};
use crate::deadline::Deadline;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(400);
/// How many nodes are asked for the controller in one round.
const HOPS: usize = 4;
/// How often is asked whether this node's leaderships are taken, when it is about to stop.
const DRAINED: Duration = Duration::from_millis(10);
/// After which it stops all the same.
const DRAIN_ROUNDS: usize = 200;

impl Broker {
    pub(super) async fn run_heartbeats(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            self.beat(member).await;
            let mut deadline = Deadline::at(
                &self.clock,
                self.clock.now() + self.config.cluster.heartbeat,
            );
            let _rung = deadline.bound(member.beat.notified()).await;
        }
    }

    /// Tells the controller of this node, and takes what it says.
    async fn beat(self: &Arc<Self>, member: &Member) {
        let Some(broker_epoch) = member.session.epoch() else {
            return;
        };
        let sent = self.clock.now();
        let suspects = member.session.suspects(sent, super::SESSION);
        let recovered = self.is_recovered() && self.host.lost().is_empty();
        let heartbeat = Heartbeat {
            node: self.config.node,
            broker_epoch,
            // Nothing counts as known before the logs are open and what was lost is told, which
            // must not be waited for here: then it may take roles.
            applied_version: if recovered {
                self.metadata.image().version()
            } else {
                0
            },
            drain: member.session.is_draining(),
            disk: self.disk(),
            offline: self.offline_partitions(),
            suspects,
        };
        let Some(reply) = self.tell_controller(member, &heartbeat).await else {
            return;
        };
        // A reply that is older than this process is another's.
        if reply.stale_epoch && reply.version >= broker_epoch.0 {
            tracing::warn!(event = "registration_lost", broker_epoch = broker_epoch.0);
            member.session.lost();
            self.join().await;
        } else if !reply.stale_epoch {
            member.session.answered(sent, reply.drained, reply.fenced);
        }
    }

    /// Finds the active controller, which alone answers with more than a hint.
    async fn tell_controller(
        &self,
        member: &Member,
        heartbeat: &Heartbeat,
    ) -> Option<HeartbeatReply> {
        let me = self.config.node;
        let mut others = self.voters();
        let mut next = self.metadata.leader();
        for _ in 0..HOPS {
            let to = next.take().or_else(|| others.pop())?;
            others.retain(|node| *node != to);
            if to == me {
                let reply = self.hear(heartbeat);
                if reply.controller {
                    return Some(reply);
                }
                next = reply.leader.filter(|leader| *leader != me);
                continue;
            }
            let request = Request::Heartbeat(heartbeat.clone());
            match member.peers.call(to, request, ANSWER).await {
                Ok(Reply::Heartbeat(reply)) if reply.controller => return Some(reply),
                Ok(Reply::Heartbeat(reply)) => next = reply.leader.filter(|leader| *leader != to),
                Ok(_) | Err(_) => {}
            }
        }
        None
    }

    fn voters(&self) -> Vec<NodeId> {
        self.metadata.log().status().voters.into_keys().collect()
    }

    /// Takes a node's heartbeat, if this node is the active controller.
    pub(super) fn hear(&self, heartbeat: &Heartbeat) -> HeartbeatReply {
        let controls = |member: &&Member| self.controls(member);
        let Some(member) = self.member.as_ref().filter(controls) else {
            return HeartbeatReply {
                controller: false,
                leader: self.metadata.leader(),
                fenced: true,
                drained: false,
                stale_epoch: false,
                version: self.metadata.image().version(),
            };
        };
        let disk = match heartbeat.disk {
            Disk::Healthy => DiskState::Healthy,
            Disk::Slow { .. } => DiskState::Slow,
            Disk::Full => DiskState::Full,
            Disk::Failed => DiskState::Failed,
        };
        let facts = HeartbeatFacts {
            applied_version: heartbeat.applied_version,
            ready: heartbeat.applied_version > 0,
            drain: heartbeat.drain,
            disk,
            offline: heartbeat.offline.clone(),
            suspects: heartbeat.suspects.clone(),
        };
        let (node, epoch, now) = (heartbeat.node, heartbeat.broker_epoch, self.clock.now());
        let eager = facts.drain
            || !facts.suspects.is_empty()
            || !facts.offline.is_empty()
            || facts.disk != DiskState::Healthy;
        member.liveness.lock().heartbeat(node, epoch, now, facts);
        if eager {
            self.look(member);
        }
        let standing = Liveness::standing(&self.metadata.image(), node, epoch);
        HeartbeatReply {
            controller: true,
            leader: Some(self.config.node),
            fenced: standing.fenced,
            drained: standing.drained,
            stale_epoch: standing.stale_epoch,
            version: standing.version,
        }
    }

    /// Replicas of this node that cannot be used.
    pub(super) fn offline_partitions(&self) -> Vec<PartitionKey> {
        let mut offline = Vec::new();
        for topic in self.host.catalog.topics() {
            for ((at, index), hosted) in (0..).zip(0_u32..).zip(&topic.partitions) {
                let unusable = match hosted {
                    Hosted::Online(partition) => partition.offline().is_some(),
                    Hosted::Offline(_) => topic.place(at) == Place::Here,
                };
                if unusable {
                    let topic = topic.id;
                    offline.push(PartitionKey { topic, index });
                }
            }
        }
        offline
    }

    /// Has this node's leaderships taken by others, and the node fenced: it is about to stop.
    /// Returns when that is so, or takes too long.
    pub async fn drain(self: &Arc<Self>) {
        let Some(member) = &self.member else { return };
        member.session.drain();
        for _ in 0..DRAIN_ROUNDS {
            self.beat(member).await;
            if member.session.is_drained() {
                break;
            }
            self.pause(DRAINED).await;
        }
        let (node, epoch) = (self.config.node, member.session.epoch());
        let Some(epoch) = epoch else { return };
        let fenced = self.change_until_done(move |image| rules::fence_node(image, node, epoch));
        let mut deadline = Deadline::at(&self.clock, self.clock.now() + super::SESSION);
        match deadline.bound(fenced).await {
            Some(Ok(())) => tracing::info!(event = "drained"),
            Some(Err(error)) => tracing::warn!(event = "not_drained", %error),
            None => tracing::warn!(event = "not_drained", error = "no controller in time"),
        }
    }
}
