//! The active controller's duties: fencing, elections, completing reassignments, giving
//! leaderships back to the preferred leaders, and recovery by inspection.
//!
//! One part looks, ten times a second, and must never wait; another does what was decided.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use plimsoll_controller::liveness::Decision;
use plimsoll_controller::rules::{self, LogAnswer, RecoverUnclean};
use plimsoll_controller::{Image, Record, Refusal};
use plimsoll_types::{Monotonic, NodeId, PartitionKey};
use plimsoll_wire::peer::{LogInfo, Reply, Request};

use super::{Member, PeerError};
use crate::Broker;
use crate::deadline::Deadline;
use crate::metadata::ChangeError;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// How long a node may take to say that it is there.
const PROBE: Duration = Duration::from_millis(200);
/// Between two rounds of what is not urgent.
const UPKEEP: Duration = Duration::from_secs(1);
/// How long a node may take to say what its logs hold.
const INSPECT: Duration = Duration::from_secs(1);
/// How long is waited for all to say so, where the policy does not wait for ever.
const INSPECTION: Duration = Duration::from_secs(5);
/// Most partitions that are inspected in one round.
const MAX_INSPECTED: usize = 100;

impl Broker {
    /// Looks after the nodes, while the quorum leads here.
    pub(super) async fn run_watch(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            if self.controls(member) {
                self.look(member);
            }
            let mut deadline = Deadline::at(&self.clock, self.clock.now() + TICK);
            let _rung = deadline.bound(member.look.notified()).await;
        }
    }

    /// Whether this node is the active controller. Whoever is to judge, or hears a node, asks this
    /// first: it begins to judge in the moment that the quorum leads here.
    pub(super) fn controls(&self, member: &Member) -> bool {
        let leads = self.metadata.leading_term();
        let mut judging = member.judging.lock();
        if leads != *judging {
            let mut liveness = member.liveness.lock();
            match leads {
                Some(_) => liveness.became_controller(self.clock.now()),
                None => liveness.resigned(),
            }
            *judging = leads;
            tracing::info!(event = "controller", active = leads.is_some(), term = leads);
        }
        leads.is_some()
    }

    /// Follows who leads the quorum: a new controller is told of this node, and of those that it
    /// misses, without waiting for a clock.
    pub(super) async fn run_leadership(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        let mut known = (None, 0);
        while let Ok(now) = self.metadata.log().leadership(known).await {
            known = now;
            let (leader, term) = (now.0.map(NodeId::get), now.1);
            tracing::info!(event = "quorum_leader", leader, term);
            member.look.notify();
            member.beat.notify();
        }
    }

    /// Decides by what is known now. Does not wait for anything.
    pub(super) fn look(&self, member: &Member) {
        let image = self.metadata.image();
        let decisions = member.liveness.lock().tick(self.clock.now(), &image);
        if decisions.is_empty() {
            return;
        }
        let mut waiting = member.decisions.lock();
        for decision in decisions {
            if !waiting.contains(&decision) {
                waiting.push(decision);
            }
        }
        drop(waiting);
        member.decided.notify();
    }

    /// Does what was decided.
    pub(super) async fn run_decisions(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            member.decided.notified().await;
            let decisions = std::mem::take(&mut *member.decisions.lock());
            if self.metadata.leading_term().is_none() {
                continue;
            }
            let (probes, others): (Vec<_>, Vec<_>) = decisions
                .into_iter()
                .partition(|decision| matches!(decision, Decision::Probe { .. }));
            for decision in others {
                self.carry_out(decision).await;
            }
            self.probe(member, &probes).await;
            self.settle_cluster().await;
        }
    }

    /// Finds out which of these nodes are gone, all at the same time.
    async fn probe(&self, member: &Member, probes: &[Decision]) {
        let nodes = probes.iter().filter_map(|probe| match probe {
            Decision::Probe { node } => Some(*node),
            _ => None,
        });
        let mut asked: Vec<_> = nodes
            .map(|node| {
                let asked = member.peers.call(node, Request::Probe, PROBE);
                Box::pin(async move { (node, asked.await) })
            })
            .collect();
        std::future::poll_fn(|cx| {
            asked.retain_mut(|asked| match asked.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready((node, answer)) => {
                    if let Err(PeerError::Unreachable(why)) = answer {
                        tracing::info!(event = "node_gone", %node, why);
                        member.liveness.lock().suspect(node, self.clock.now());
                        self.look(member);
                    }
                    false
                }
            });
            if asked.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    async fn carry_out(self: &Arc<Self>, decision: Decision) {
        tracing::info!(event = "controller_decided", decision = ?decision);
        let told = format!("{decision:?}");
        let done = self.change_until_done(move |image| decision.records(image));
        if let Err(error) = done.await {
            tracing::info!(event = "decision_overtaken", decision = told, %error);
        }
    }

    /// Elects whom can be elected and completes what can be completed.
    async fn settle_cluster(self: &Arc<Self>) {
        if rules::settle(&self.metadata.image()).is_empty() {
            return;
        }
        let settled = self.change_until_done(|image| Ok(rules::settle(image)));
        report("settle", settled.await);
    }

    /// What can wait a second, while the quorum leads here.
    pub(super) async fn run_upkeep(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        let mut leaderless: BTreeMap<PartitionKey, Monotonic> = BTreeMap::new();
        loop {
            self.pause(UPKEEP).await;
            if self.metadata.leading_term().is_none() {
                leaderless.clear();
                continue;
            }
            self.settle_cluster().await;
            self.fill_quorum().await;
            let stable = member.liveness.lock().stable(self.clock.now());
            if !rules::balance_leaders(&self.metadata.image(), &stable).is_empty() {
                let rule = move |image: &Image| {
                    let records = rules::balance_leaders(image, &stable);
                    Ok::<(Vec<Record>, ()), Refusal>((records, ()))
                };
                report("balance", self.commit(rule).await);
            }
            self.inspect(&mut leaderless).await;
        }
    }

    /// Asks what the logs of partitions without a leader hold, where their policy allows to choose
    /// by that.
    async fn inspect(self: &Arc<Self>, since: &mut BTreeMap<PartitionKey, Monotonic>) {
        let image = self.metadata.image();
        let wanted: Vec<_> = rules::recoveries_wanted(&image)
            .take(MAX_INSPECTED)
            .collect();
        since.retain(|key, _| wanted.iter().any(|wanted| wanted.key == *key));
        for wanted in wanted {
            let mut answers = Vec::new();
            for node in &wanted.ask {
                answers.extend(self.log_answer(&image, *node, wanted.key).await);
            }
            let now = self.clock.now();
            let begun = *since.entry(wanted.key).or_insert(now);
            let wish = RecoverUnclean {
                key: wanted.key,
                answers,
                timed_out: now.since(begun) >= INSPECTION,
            };
            let rule = move |image: &Image| Ok((rules::recover_unclean(image, &wish)?, ()));
            report("recovery", self.commit(rule).await);
        }
    }

    /// What the replicas of a partition hold, as far as their nodes say so.
    pub(crate) async fn log_answers(&self, image: &Image, key: PartitionKey) -> Vec<LogAnswer> {
        let Some(partition) = image.partition_by_key(key) else {
            return Vec::new();
        };
        let mut answers = Vec::new();
        for node in partition
            .replicas
            .iter()
            .filter(|node| image.is_alive(**node))
        {
            answers.extend(self.log_answer(image, *node, key).await);
        }
        answers
    }

    /// What another node says that its log of a partition holds.
    pub(super) async fn log_info_of(&self, node: NodeId, key: PartitionKey) -> Option<LogInfo> {
        let member = self.member.as_ref()?;
        let request = Request::LogInfo(vec![key]);
        let Ok(Reply::LogInfo(rows)) = member.peers.call(node, request, INSPECT).await else {
            return None;
        };
        rows.into_iter().find(|row| row.key == key)
    }

    async fn log_answer(
        &self,
        image: &Image,
        node: NodeId,
        key: PartitionKey,
    ) -> Option<LogAnswer> {
        let broker_epoch = image.node(node)?.broker_epoch;
        let row = if node == self.config.node {
            self.log_infos(vec![key]).await.pop()?
        } else {
            self.log_info_of(node, key).await?
        };
        Some(LogAnswer {
            node,
            broker_epoch,
            last_epoch: row.last_epoch,
            log_end: row.log_end,
            durable_end: row.durable_end,
            trusted: row.trusted,
        })
    }
}

fn report(what: &str, outcome: Result<(), ChangeError<Refusal>>) {
    if let Err(error) = outcome {
        tracing::info!(event = "controller_change_failed", what, %error);
    }
}
