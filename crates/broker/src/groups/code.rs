//! What a refusal of the coordinator is called in the protocol: the same.

use plimsoll_group_coordinator::GroupError;
use plimsoll_wire::ErrorCode;

use crate::error_code::Coded;

impl Coded for GroupError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            Self::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::UnknownMemberId => ErrorCode::UnknownMemberId,
            Self::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
            Self::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            Self::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            Self::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            Self::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            Self::MemberIdRequired => ErrorCode::MemberIdRequired,
            Self::FencedInstanceId => ErrorCode::FencedInstanceId,
            Self::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            Self::UnknownServerError => ErrorCode::UnknownServerError,
            // A refusal that this table does not know yet.
            _ => ErrorCode::UnknownServerError,
        }
    }
}

/// The code of a result.
pub(crate) fn code_of<T>(result: &Result<T, GroupError>) -> i16 {
    result
        .as_ref()
        .map_or_else(|error| error.code().code(), |_| ErrorCode::None.code())
}
