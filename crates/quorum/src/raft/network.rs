//! Requests to other nodes.

use super::codec::{LogId, Types, Vote};
use super::node::Shared;
use super::rpc::{Reply, Request};
use super::storage::RaftSnapshot;
use super::{Target, TransportError};
use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of entries in a request that has more than one.
const MAX_APPEND_BYTES: usize = 1 << 20;
/// Bytes of a snapshot in one request.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes clients of other nodes.
pub(crate) struct Factory(pub(crate) Arc<Shared>);

/// One other node.
pub(crate) struct Client {
    shared: Arc<Shared>,
    to: u64,
    address: String,
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        Client {
            shared: Arc::clone(&self.0),
            to: target,
            address: self.0.address_of(target, &node.addr),
        }
    }
}

fn unreachable(error: &dyn std::fmt::Display) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl Client {
    async fn call(&self, request: Request, timeout: Duration) -> Result<Reply, RPCError<Types>> {
        let to = Target::of(self.to, self.address.clone());
        let answer = self.shared.call(to, Some(self.to), request, timeout).await;
        match answer {
            Ok(Reply::NotReady) => Err(unreachable(&"the node is not ready")),
            Ok(Reply::Failed(error)) => Err(unreachable(&error)),
            Ok(reply) => Ok(reply),
            Err(error @ TransportError::Unreachable(_)) => Err(unreachable(&error)),
            Err(error) => Err(RPCError::Network(NetworkError::from_string(error))),
        }
    }

    fn unexpected() -> RPCError<Types> {
        RPCError::Network(NetworkError::from_string("an answer of another kind"))
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        only_asks: bool,
        timeout: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote {
            vote: rpc.vote,
            last: rpc.last_log_id,
            transfer: rpc.leadership_transfer,
            only_asks,
        };
        match self.call(request, timeout).await? {
            Reply::Voted {
                vote,
                granted,
                last,
            } => Ok(VoteResponse::new(vote, last, granted)),
            _ => Err(Self::unexpected()),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: RaftSnapshot,
        timeout: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let bytes = snapshot.snapshot;
        let mut at = 0;
        loop {
            let end = bytes.len().min(at + CHUNK_BYTES);
            let request = Request::Snapshot {
                vote,
                meta: snapshot.meta.clone(),
                total: bytes.len() as u64,
                at: at as u64,
                chunk: bytes.slice(at..end),
            };
            match self.call(request, timeout).await? {
                Reply::Chunk if end < bytes.len() => at = end,
                Reply::Installed(vote) | Reply::HigherVote(vote) => {
                    return Ok(SnapshotResponse::new(vote));
                }
                _ => return Err(Self::unexpected().into()),
            }
        }
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let all = rpc.entries.len();
        let mut bytes = 0;
        let mut entries = rpc.entries;
        let fitting = entries.iter().take_while(|entry| {
            let first = bytes == 0;
            bytes += super::codec::weight(entry);
            first || bytes <= MAX_APPEND_BYTES
        });
        let fitting = fitting.count();
        entries.truncate(fitting);
        let last: Option<LogId> = entries.last().map(|entry| entry.log_id);
        let request = Request::Append {
            vote: rpc.vote,
            previous: rpc.prev_log_id,
            entries,
            committed: rpc.leader_commit,
        };
        // Entries are answered once they are synced, which may take a slow disk longer than a
        // heartbeat; to send them again meanwhile helps nobody. A connection that ends is noticed
        // in any case.
        let timing = &self.shared.timing;
        let timeout = match last {
            Some(_) => timing.request / 2,
            None => option.soft_ttl().max(timing.heartbeat),
        };
        match self.call(request, timeout).await? {
            Reply::Appended if fitting < all => Ok(AppendEntriesResponse::PartialSuccess(last)),
            Reply::Appended => Ok(AppendEntriesResponse::Success),
            Reply::Conflict => Ok(AppendEntriesResponse::Conflict),
            Reply::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote)),
            _ => Err(Self::unexpected()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let timeout = self.shared.timing.request;
        let mut cancel = pin!(cancel);
        tokio::select! {
            biased;
            closed = &mut cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot, timeout) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = Request::Takeover {
            vote: *req.from_leader(),
            to: *req.to_node_id(),
            last: req.last_log_id().copied(),
        };
        match self.call(request, option.soft_ttl()).await? {
            Reply::Done(_) => Ok(Ok(())),
            _ => Err(Self::unexpected()),
        }
    }
}
