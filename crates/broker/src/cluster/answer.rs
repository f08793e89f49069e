//! What other nodes ask this one.

use std::sync::Arc;

use plimsoll_types::{NodeId, PartitionKey};
use plimsoll_wire::peer::{
    DigestReply, DigestRequest, FailureCode, Identity, LogInfo, Reply, Request,
};

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
            Request::Quorum(payload) => match self.metadata.quorum() {
                Some(quorum) => Reply::Quorum(quorum.handle(payload).await),
                None => Reply::failed(FailureCode::Unsupported, "this node is alone"),
            },
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
            Request::Query(_) => {
                Reply::failed(FailureCode::Unsupported, "the question is not known here")
            }
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

    async fn digest(&self, asked: DigestRequest) -> Reply {
        let topic = self.host.catalog.topic_by_id(asked.key.topic);
        let index = i32::try_from(asked.key.index).unwrap_or(-1);
        let Some(partition) = topic.and_then(|topic| topic.partition(index).ok().cloned()) else {
            return Reply::failed(FailureCode::UnknownPartition, "it does not lie here");
        };
        let work = move || partition.digest(asked.from, asked.to);
        match self.blocking(work).await {
            Some(Ok(digest)) => Reply::Digest(DigestReply {
                from: asked.from,
                to: asked.to,
                digest: digest.as_ref().map(|digest| digest.digest),
                batches: digest.as_ref().map_or(0, |digest| digest.batches),
                bytes: digest.as_ref().map_or(0, |digest| digest.bytes),
            }),
            Some(Err(error)) => Reply::failed(FailureCode::Storage, error.to_string()),
            None => Reply::failed(FailureCode::NotReady, "the node is stopping"),
        }
    }
}
