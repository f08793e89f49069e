//! What other nodes ask this one.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_types::{NodeId, PartitionKey};
use plimsoll_wire::peer::{
    DigestReply, DigestRequest, FailureCode, Identity, LogInfo, Reply, Request,
};

use super::standing::{QUESTION, Standing};
use crate::Broker;

/// Most partitions of one request.
const MAX_PARTITIONS: usize = 10_000;

impl Broker {
    /// Answers a request of the node `from`.
    pub async fn answer_peer(self: &Arc<Self>, from: NodeId, request: Request) -> Reply {
        match request {
            Request::Identify => Reply::Identity(Identity {
                cluster_id: Some(self.config.cluster_id.clone()),
                node: self.config.node,
                has_metadata: self.metadata.image().version() > 0,
            }),
            Request::Probe => Reply::Alive,
            Request::Quorum(payload) => Reply::Quorum(self.metadata.log().handle(payload).await),
            Request::Heartbeat(heartbeat) if heartbeat.node == from => {
                Reply::Heartbeat(self.hear(&heartbeat))
            }
            Request::Heartbeat(_) => {
                Reply::failed(FailureCode::Malformed, "the heartbeat is another node's")
            }
            Request::LogInfo(keys) if keys.len() > MAX_PARTITIONS => {
                Reply::failed(FailureCode::Malformed, "too many partitions at once")
            }
            Request::LogInfo(keys) => Reply::LogInfo(self.log_infos(keys).await),
            Request::Digest(digest) => self.digest(digest).await,
            Request::Query(question) => self.answer_question(question).await,
        }
    }

    /// What the logs of these partitions hold, as far as they lie here.
    pub(super) async fn log_infos(&self, keys: Vec<PartitionKey>) -> Vec<LogInfo> {
        let found = keys.into_iter().filter_map(|key| {
            let topic = self.host.catalog.topic_by_id(key.topic)?;
            let partition = topic.partition(i32::try_from(key.index).ok()?).ok()?;
            Some((key, Arc::clone(partition)))
        });
        let found: Vec<_> = found.collect();
        let work = move || {
            let row = |(key, partition): (PartitionKey, Arc<plimsoll_partition::Partition>)| {
                let info = partition.log_info();
                LogInfo {
                    key,
                    last_epoch: info.last_epoch,
                    log_start: info.log_start,
                    log_end: info.log_end,
                    durable_end: info.durable_end,
                    high_watermark: info.high_watermark,
                    trusted: info.trusted,
                }
            };
            found.into_iter().map(row).collect()
        };
        self.blocking(work).await.unwrap_or_default()
    }

    async fn answer_question(self: &Arc<Self>, question: Bytes) -> Reply {
        if &question[..] == QUESTION {
            return Reply::Query(Standing::of(&self.quorum_status()).encode());
        }
        let broker = Arc::clone(self);
        let work = move || {
            let answerer = broker.member.as_ref()?.answerer.get()?;
            Some(answerer(question))
        };
        match self.blocking(work).await.flatten() {
            Some(answer) => Reply::Query(answer),
            None => Reply::failed(FailureCode::NotReady, "nobody answers questions here yet"),
        }
    }

    /// The digest of a range, by the replica that leads in the term that was asked for: what it
    /// cannot read whole it reports, and says nothing.
    async fn digest(&self, asked: DigestRequest) -> Reply {
        let (replicas, now) = (Arc::clone(&self.host.replicas), self.clock.now());
        let DigestRequest {
            key,
            leader_epoch,
            from,
            to,
        } = asked;
        let work = move || replicas.digest(key, leader_epoch, from, to, now);
        match self.blocking(work).await {
            Some(digest) => Reply::Digest(DigestReply { from, to, digest }),
            None => Reply::failed(FailureCode::NotReady, "the node is stopping"),
        }
    }
}
