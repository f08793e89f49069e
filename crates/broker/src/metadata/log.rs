//! The log behind the metadata: a node's own where it is alone, the quorum's in a cluster.

use bytes::Bytes;
use plimsoll_quorum::raft::{self, QuorumError, Role};
use plimsoll_quorum::{Quorum, Room, Snapshot, Stopped};
use plimsoll_types::NodeId;

/// Where entries are proposed.
pub(super) enum Log {
    Lone(Quorum),
    Cluster(raft::Quorum),
}

/// Why an entry is not known to be committed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing was done; it may be later.
    NotNow,
    /// It may still come.
    Unknown,
    /// Nothing was done, or nothing will be any more.
    Failed(Box<dyn std::error::Error>),
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

impl Log {
    /// Puts an entry into the log and waits until it is committed.
    pub(super) fn propose(&self, room: Room, entry: Bytes) -> Result<u64, Fault> {
        match self {
            Self::Lone(quorum) => {
                let proposal = quorum.propose_within(room, entry);
                let proposal = proposal.map_err(|error| Fault::Failed(error.into()))?;
                proposal.wait().map_err(|error| Fault::Failed(error.into()))
            }
            Self::Cluster(quorum) => Ok(quorum.propose(entry, room).wait()?),
        }
    }

    /// The index up to which this node must have applied the log to know all that is committed
    /// now; `None` where it always does.
    pub(super) fn barrier(&self) -> Result<Option<u64>, Fault> {
        match self {
            Self::Lone(_) => Ok(None),
            Self::Cluster(quorum) => Ok(Some(quorum.read_barrier().wait()?)),
        }
    }

    /// The term in which this node leads the quorum, if it does.
    pub(super) fn leading_term(&self) -> Option<u64> {
        match self {
            Self::Lone(_) => Some(0),
            Self::Cluster(quorum) => {
                let status = quorum.status();
                (status.role == Role::Leader).then_some(status.term)
            }
        }
    }

    /// Who leads the quorum, as far as this node, which is `me`, knows.
    pub(super) fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self {
            Self::Lone(_) => Some(me),
            Self::Cluster(quorum) => quorum.status().leader,
        }
    }

    pub(super) fn stopped(&self) -> Option<Stopped> {
        match self {
            Self::Lone(quorum) => quorum.stopped(),
            Self::Cluster(quorum) => quorum.stopped(),
        }
    }

    pub(super) fn wants_snapshot(&self) -> bool {
        match self {
            Self::Lone(quorum) => quorum.wants_snapshot(),
            Self::Cluster(quorum) => quorum.wants_snapshot(),
        }
    }

    pub(super) fn install_snapshot(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(), plimsoll_quorum::SnapshotError> {
        match self {
            Self::Lone(quorum) => quorum.install_snapshot(snapshot),
            Self::Cluster(quorum) => quorum.install_snapshot(snapshot),
        }
    }
}
