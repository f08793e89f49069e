//! What links are for, how they are refused, and why a call has no answer.

use std::time::Duration;

use plimsoll_types::NodeId;

/// Why a node turned another away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedReason {
    /// They speak no version in common.
    Version,
    /// They belong to different clusters.
    WrongCluster,
    /// Another node lives at the address.
    WrongNode,
    /// Both have the same id.
    SameNode,
    /// It cannot yet; it may be able to soon.
    NotReady,
    /// The caller is an older uptime of its node.
    Stale,
    /// Something that this version does not know.
    Other,
}

impl DeniedReason {
    const ALL: [(Self, u8); 6] = [
        (Self::Version, 1),
        (Self::WrongCluster, 2),
        (Self::WrongNode, 3),
        (Self::SameNode, 4),
        (Self::NotReady, 5),
        (Self::Stale, 6),
    ];

    pub(super) fn code(self) -> u8 {
        let known = Self::ALL.into_iter().find(|(reason, _)| *reason == self);
        known.map_or(0, |(_, code)| code)
    }

    pub(super) fn of(code: u8) -> Self {
        let known = Self::ALL.into_iter().find(|(_, known)| *known == code);
        known.map_or(Self::Other, |(reason, _)| reason)
    }

    /// Whether trying again soon is of no use.
    pub(super) fn is_lasting(self) -> bool {
        !matches!(self, Self::NotReady | Self::Other)
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Nobody knows where the node lives.
    #[error("the node's address is not known")]
    Unknown,
    /// There is no connection. The request was not sent.
    #[error("the node cannot be reached: {why}")]
    Unreachable {
        /// Why.
        why: String,
    },
    /// The connection ended. The request may have been carried out.
    #[error("the connection was lost")]
    Lost,
    /// No answer came in time. The request may have been carried out.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Too many calls wait already. The request was not sent.
    #[error("too many calls wait for this node")]
    Busy,
    /// The request is larger than a frame may be. It was not sent.
    #[error("a request of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The other node would not answer.
    #[error("the node refused: {why}")]
    Failed {
        /// Its words.
        why: String,
    },
}

/// What a node at an address says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Its id.
    pub node: NodeId,
    /// Its cluster; none while that is to be formed.
    pub cluster_id: Option<String>,
    /// Whether its quorum log holds anything.
    pub has_metadata: bool,
}
