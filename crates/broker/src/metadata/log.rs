//! The log behind the metadata: what the broker asks of the quorum that it is part of.

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_quorum::raft::{self, Event, QuorumError, Status};
use plimsoll_quorum::{Room, Snapshot, SnapshotError, Stopped};
use plimsoll_types::NodeId;

/// A node's part of the metadata quorum, as the broker uses it. [`raft::Opened`] is one.
#[async_trait]
pub trait MetadataLog: Send + Sync {
    /// Puts an entry into the log, here or at the leader; its index once it is committed.
    async fn propose(&self, entry: Bytes, room: Room) -> Result<u64, QuorumError>;

    /// The index up to which this node must have applied the log to know all that was committed
    /// when this began.
    async fn read_barrier(&self) -> Result<u64, QuorumError>;

    /// The next of what is committed, in order. One task asks.
    async fn next(&self) -> Result<Event, Stopped>;

    /// How the quorum stands, as far as this node knows.
    fn status(&self) -> Status;

    /// Who leads, and in which term, as soon as it is not `known` any more.
    async fn leadership(
        &self,
        known: (Option<NodeId>, u64),
    ) -> Result<(Option<NodeId>, u64), Stopped>;

    /// Why this node takes no part any more, if so.
    fn stopped(&self) -> Option<Stopped>;

    /// Whether enough log has gathered for a snapshot.
    fn wants_snapshot(&self) -> bool;

    /// Keeps what all entries up to an applied one amount to. Blocks.
    fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// Answers another node's part of the quorum.
    async fn handle(&self, request: Bytes) -> Bytes;

    /// The process of `node` is gone.
    fn suspect(&self, node: NodeId);

    /// Makes a learner a voter.
    async fn promote(&self, node: NodeId) -> Result<(), QuorumError>;

    /// Takes a node out of the quorum.
    async fn remove(&self, node: NodeId) -> Result<(), QuorumError>;

    /// Takes no part any more; returns once its files are closed. Blocks.
    fn shutdown(&self);
}

#[async_trait]
impl MetadataLog for raft::Opened {
    async fn propose(&self, entry: Bytes, room: Room) -> Result<u64, QuorumError> {
        self.quorum.propose(entry, room).await
    }

    async fn read_barrier(&self) -> Result<u64, QuorumError> {
        self.quorum.read_barrier().await
    }

    async fn next(&self) -> Result<Event, Stopped> {
        std::future::poll_fn(|cx| self.committed.poll_next(cx)).await
    }

    fn status(&self) -> Status {
        self.quorum.status()
    }

    async fn leadership(
        &self,
        known: (Option<NodeId>, u64),
    ) -> Result<(Option<NodeId>, u64), Stopped> {
        let mut watch = self.quorum.watch_leader();
        match watch.wait_for(|now| *now != known).await {
            Ok(now) => Ok(*now),
            Err(_) => {
                let reason = "its thread ended".into();
                Err(self.quorum.stopped().unwrap_or(Stopped { reason }))
            }
        }
    }

    fn stopped(&self) -> Option<Stopped> {
        self.quorum.stopped()
    }

    fn wants_snapshot(&self) -> bool {
        self.quorum.wants_snapshot()
    }

    fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.quorum.install_snapshot(snapshot)
    }

    async fn handle(&self, request: Bytes) -> Bytes {
        self.quorum.handle(request).await
    }

    fn suspect(&self, node: NodeId) {
        self.quorum.suspect(node);
    }

    async fn promote(&self, node: NodeId) -> Result<(), QuorumError> {
        self.quorum.promote(node).await
    }

    async fn remove(&self, node: NodeId) -> Result<(), QuorumError> {
        self.quorum.remove(node).await
    }

    fn shutdown(&self) {
        self.quorum.shutdown();
    }
}

/// Why an entry is not known to be committed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing was done; it may be later.
    NotNow,
    /// It may still come.
    Unknown,
    /// Nothing was done, or nothing will be any more.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<QuorumError> for Fault {
    fn from(error: QuorumError) -> Self {
        match error {
            QuorumError::NoLeader | QuorumError::Busy => Self::NotNow,
            QuorumError::Unknown { .. } => Self::Unknown,
            error => Self::Failed(error.into()),
        }
    }
}
