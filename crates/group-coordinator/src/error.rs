//! What a request can be refused with, and how a write can fail.

/// A refusal, one to one with the error code of the Kafka protocol that bears the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// `COORDINATOR_LOAD_IN_PROGRESS`: try again, here.
    #[error("the coordinator is still reading its log")]
    CoordinatorLoadInProgress,
    /// `COORDINATOR_NOT_AVAILABLE`: try again, after looking the coordinator up.
    #[error("the coordinator cannot answer now")]
    CoordinatorNotAvailable,
    /// `NOT_COORDINATOR`: another node has the group now.
    #[error("this node no longer coordinates the group")]
    NotCoordinator,
    /// `ILLEGAL_GENERATION`
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    /// `INCONSISTENT_GROUP_PROTOCOL`
    #[error("the member and the group have no protocol in common")]
    InconsistentGroupProtocol,
    /// `INVALID_GROUP_ID`
    #[error("the group id is not legal here")]
    InvalidGroupId,
    /// `UNKNOWN_MEMBER_ID`
    #[error("the group has no such member")]
    UnknownMemberId,
    /// `INVALID_SESSION_TIMEOUT`
    #[error("the session timeout is out of the allowed range")]
    InvalidSessionTimeout,
    /// `REBALANCE_IN_PROGRESS`: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// `INVALID_COMMIT_OFFSET_SIZE`
    #[error("the committed offsets do not fit a record")]
    InvalidCommitOffsetSize,
    /// `OFFSET_METADATA_TOO_LARGE`
    #[error("the metadata of the offset is too long")]
    OffsetMetadataTooLarge,
    /// `NON_EMPTY_GROUP`
    #[error("the group has members")]
    NonEmptyGroup,
    /// `GROUP_ID_NOT_FOUND`
    #[error("there is no such group")]
    GroupIdNotFound,
    /// `GROUP_SUBSCRIBED_TO_TOPIC`
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// `MEMBER_ID_REQUIRED`: join again with the member id given.
    #[error("join again with the member id given")]
    MemberIdRequired,
    /// `FENCED_INSTANCE_ID`: another member has taken the instance id.
    #[error("another member has taken the instance id")]
    FencedInstanceId,
    /// `GROUP_MAX_SIZE_REACHED`
    #[error("the group is full")]
    GroupMaxSizeReached,
    /// `UNKNOWN_SERVER_ERROR`
    #[error("the coordinator cannot do this")]
    UnknownServerError,
}

/// Why a write did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The partition takes no writes now; nothing was appended.
    #[error("the partition takes no writes now")]
    Unavailable,
    /// This node stopped leading the partition, or its log takes no writes any more. The records
    /// may or may not survive: whoever runs the coordinator unloads it.
    #[error("this node no longer leads the partition")]
    NotLeader,
    /// The records are too large for the partition; nothing was appended.
    #[error("the records are too large for the partition")]
    TooLarge,
}

impl WriteError {
    /// What those hear who waited for a write of group metadata.
    pub(crate) fn of_group(self) -> GroupError {
        match self {
            Self::Unavailable => GroupError::CoordinatorNotAvailable,
            Self::NotLeader => GroupError::NotCoordinator,
            Self::TooLarge => GroupError::UnknownServerError,
        }
    }

    /// What those hear who waited for a write of offsets.
    pub(crate) fn of_offsets(self) -> GroupError {
        match self {
            Self::TooLarge => GroupError::InvalidCommitOffsetSize,
            Self::Unavailable | Self::NotLeader => self.of_group(),
        }
    }
}
