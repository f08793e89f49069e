//! Running the replicator: its clock, its work, its proposals and what it reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use plimsoll_controller::rules::{self, AlterRefusal, IsrChange};
use plimsoll_partition::Role;
use plimsoll_replicator::{Decision, IsrProposal, Replicas, Report, Work};
use plimsoll_types::{Offset, PartitionEpoch, PartitionKey};
use plimsoll_wire::peer::{DigestReply, DigestRequest, Reply, Request};

use crate::Broker;

/// Between two ticks of the replicas.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks for a range to compare.
const CHECK: Duration = Duration::from_millis(500);
/// How long a leader may take to read a range.
const DIGEST: Duration = Duration::from_secs(5);
/// Between two rounds over the followers' log starts.
const TRIM: Duration = Duration::from_millis(500);
/// Between two looks at the replicas' log starts.
const LOOK: Duration = Duration::from_millis(50);
/// Between two writes of the flight recorder.
const HISTORY: Duration = Duration::from_secs(1);
/// Where the flight recorder's files are, in the data directory.
const HISTORY_DIR: &str = "history";
/// Most pieces of work at once; each takes a worker.
const MAX_WORK: usize = 8;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Broker {
    /// The replicas of this node, for whoever has the links to the other nodes; `None` where there
    /// are no others.
    #[must_use]
    pub fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.host.in_cluster.then_some(&self.host.replicas)
    }

    /// Ticks the replicas, if those of lower numbers hang.
    pub(super) async fn run_ticks(self: Arc<Self>, ticker: usize) {
        let Some(member) = &self.member else { return };
        loop {
            self.pause(TICK).await;
            if member.rounds.begin(ticker, self.clock.now()) {
                self.host.replicas.tick(self.clock.now());
                member.rounds.end(ticker);
            }
        }
    }

    /// Cutting, copying and the like, several at a time: one that is slow keeps no other waiting.
    pub(super) async fn run_work(self: Arc<Self>) {
        let mut running: Vec<Running> = Vec::new();
        let mut next = self.next_work();
        std::future::poll_fn(move |cx| {
            loop {
                running.retain_mut(|work| work.as_mut().poll(cx).is_pending());
                if running.len() >= MAX_WORK {
                    return Poll::Pending;
                }
                match next.as_mut().poll(cx) {
                    Poll::Ready(work) => {
                        running.push(Box::pin(Arc::clone(&self).work(work)));
                        next = self.next_work();
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn next_work(&self) -> Pin<Box<dyn Future<Output = Work> + Send>> {
        let replicas = Arc::clone(&self.host.replicas);
        Box::pin(async move { replicas.work().await })
    }

    async fn work(self: Arc<Self>, work: Work) {
        let (replicas, clock) = (Arc::clone(&self.host.replicas), Arc::clone(&self.clock));
        let done = self.blocking(move || work.run(&replicas, clock.now()));
        // Nobody is left to do it when the node is stopping.
        let _ = done.await;
    }

    /// Puts what the leaders here propose to the controller's rule, and takes the answers back.
    pub(super) async fn run_proposals(self: Arc<Self>) {
        loop {
            let proposals = self.host.replicas.proposals().await;
            let changes: Vec<_> = proposals.iter().map(change).collect();
            match self.alter_isr(changes).await {
                Ok(outcomes) => {
                    let now = self.clock.now();
                    for (proposal, outcome) in proposals.iter().zip(outcomes) {
                        self.host.replicas.decided(proposal, decision(outcome), now);
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "isr_not_changed", %error);
                    let now = self.clock.now();
                    for proposal in &proposals {
                        self.host.replicas.decided(proposal, Decision::Unknown, now);
                    }
                }
            }
        }
    }

    /// Compares what is at rest with the leaders', a range at a time.
    pub(super) async fn run_checks(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            self.pause(CHECK).await;
            let (replicas, now) = (Arc::clone(&self.host.replicas), self.clock.now());
            let next = self.blocking(move || replicas.next_check(now)).await;
            let Some(check) = next.flatten() else {
                continue;
            };
            let request = Request::Digest(DigestRequest {
                key: check.key,
                leader_epoch: check.leader_epoch,
                from: check.from,
                to: check.to,
            });
            let reply = member.peers.call(check.leader, request, DIGEST).await;
            let Ok(Reply::Digest(DigestReply { digest, .. })) = reply else {
                continue;
            };
            let (replicas, now) = (Arc::clone(&self.host.replicas), self.clock.now());
            let compared = self.blocking(move || replicas.checked(&check, digest, now));
            // A comparison that is not made is made another time.
            let _ = compared.await;
        }
    }

    /// Takes off the front of followers' logs what their leaders took off theirs.
    pub(super) async fn run_trims(self: Arc<Self>) {
        loop {
            self.pause(TRIM).await;
            let broker = Arc::clone(&self);
            let trimmed = self.blocking(move || {
                let (now, wall) = (broker.clock.now(), broker.clock.wall());
                for partition in broker.partitions() {
                    if matches!(*partition.role(), Role::Follower { .. })
                        && let Err(error) = partition.maintain(now, wall)
                    {
                        let partition = partition.id();
                        tracing::debug!(event = "follower_not_trimmed", %partition, %error);
                    }
                }
            });
            // What is not done now is done in the next round.
            let _ = trimmed.await;
        }
    }

    /// Returns once every replica in sync has its log start at `log_start` or later, so that no
    /// other leader could bring the records before it back.
    pub(crate) async fn log_start_everywhere(&self, key: PartitionKey, log_start: Offset) {
        loop {
            let image = self.metadata.image();
            let Some(partition) = image.partition_by_key(key) else {
                return;
            };
            let mut behind = false;
            for node in partition
                .isr
                .iter()
                .filter(|node| **node != self.config.node)
            {
                let answer = self.log_info_of(*node, key).await;
                behind |= answer.is_none_or(|log| log.log_start < log_start);
            }
            if !behind {
                return;
            }
            self.pause(LOOK).await;
        }
    }

    /// Keeps what happened to the replicas in a file.
    pub(super) async fn run_history(self: Arc<Self>) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let dir = self.data_dir().join(HISTORY_DIR);
        let replicas = Arc::clone(&self.host.replicas);
        let opened = self.blocking(move || {
            std::fs::create_dir_all(&dir)?;
            replicas.record_to(&dir, wall, now)
        });
        if let Some(Err(error)) = opened.await {
            tracing::warn!(event = "no_flight_recorder", %error);
            return;
        }
        loop {
            self.pause(HISTORY).await;
            let replicas = Arc::clone(&self.host.replicas);
            let written = self.blocking(move || replicas.write_history()).await;
            if let Some(Err(error)) = written {
                tracing::debug!(event = "history_not_written", %error);
            }
        }
    }

    /// Tells the controller, or a person, what the replicas found.
    pub(super) async fn run_reports(self: Arc<Self>) {
        loop {
            let reports = self.host.replicas.reports().await;
            for report in &reports {
                tracing::error!(event = "replica_reports", ?report);
            }
            let corrupt = reports.iter().filter_map(|report| match report {
                Report::Corrupt { key, .. } => Some(*key),
                // A person's, and the hosting side's; both see the replica offline.
                Report::Diverged { .. } | Report::Offline { .. } => None,
            });
            let corrupt: Vec<PartitionKey> = corrupt.collect();
            let epoch = self.member.as_ref().and_then(|m| m.session.epoch());
            let (false, Some(epoch)) = (corrupt.is_empty(), epoch) else {
                continue;
            };
            let node = self.config.node;
            let told = self.change_until_done(move |image| {
                rules::report_corrupt(image, node, epoch, &corrupt)
            });
            if let Err(error) = told.await {
                tracing::warn!(event = "damage_not_reported", %error);
            }
        }
    }
}

fn change(proposal: &IsrProposal) -> IsrChange {
    IsrChange {
        key: proposal.key,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        new_isr: proposal.new_isr.clone(),
    }
}

/// The rule ran on what is committed, so a refusal says for certain that nothing was applied.
fn decision(outcome: Result<PartitionEpoch, AlterRefusal>) -> Decision {
    match outcome {
        Ok(version) => Decision::Committed(version),
        Err(AlterRefusal::Ineligible(nodes)) => Decision::Ineligible(nodes),
        Err(AlterRefusal::NotAttempted) => Decision::NotAttempted,
        Err(AlterRefusal::StaleVersion) => Decision::StaleVersion,
        // Another term, leader or process: the metadata that says so is on its way here.
        Err(_) => Decision::Superseded,
    }
}
