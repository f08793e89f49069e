//! The one table from what went wrong to what the protocol calls it.
//!
//! Clients act on these: a code that is retriable makes them refresh their metadata and try again,
//! one that is not reaches the application. So each line is a decision about what a client does.

use plimsoll_controller::Refusal;
use plimsoll_partition::{AppendError, ReadError};
use plimsoll_record_batch::BatchError;
use plimsoll_segment_log::ReadError as LogReadError;
use plimsoll_wire::ErrorCode;

use crate::catalog::LookupError;
use crate::metadata::ChangeError;

/// An error that has a name in the protocol.
pub(crate) trait Coded {
    /// Its code.
    fn code(&self) -> ErrorCode;
}

impl Coded for LookupError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic | Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId => ErrorCode::UnknownTopicId,
            Self::NotLeader(_) | Self::NotHere | Self::Opening => ErrorCode::NotLeaderOrFollower,
            Self::Offline { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Idle { .. } => ErrorCode::NotLeaderOrFollower,
            Self::Damaged { .. } => ErrorCode::CorruptMessage,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for LogReadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::BelowStart { .. } | Self::AboveEnd { .. } => ErrorCode::OffsetOutOfRange,
            Self::Damaged { .. } => ErrorCode::CorruptMessage,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

impl Coded for BatchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length { .. } | Self::Checksum { .. } => {
                ErrorCode::CorruptMessage
            }
            Self::Codec { .. } => ErrorCode::UnsupportedCompressionType,
            Self::TooManyRecords { .. } | Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            _ => ErrorCode::InvalidRecord,
        }
    }
}

impl Coded for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName(_)
            | Self::ReservedName { .. }
            | Self::Collides { .. }
            | Self::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            Self::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::PartitionCount { .. } | Self::PartitionsNotMore { .. } => {
                ErrorCode::InvalidPartitions
            }
            Self::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
            Self::ReplicationFactor { .. } | Self::NotEnoughNodes { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            Self::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::NoUsableNodes { .. } => ErrorCode::InvalidReplicationFactor,
            Self::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::TooFewInSync { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::NoReassignmentInProgress { .. } => ErrorCode::NoReassignmentInProgress,
            Self::ElectionNotNeeded { .. } => ErrorCode::ElectionNotNeeded,
            Self::PreferredLeaderNotAvailable { .. } => ErrorCode::PreferredLeaderNotAvailable,
            Self::EligibleLeadersNotAvailable { .. } => ErrorCode::EligibleLeadersNotAvailable,
            Self::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
            Self::DuplicateNode { .. } => ErrorCode::DuplicateBrokerRegistration,
            Self::ProducerIdsExhausted => ErrorCode::UnknownServerError,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

impl<R: Coded> Coded for ChangeError<R> {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Storage { .. } => ErrorCode::KafkaStorageError,
            // Clients try again.
            Self::Conflict | Self::Busy | Self::NoController => ErrorCode::RequestTimedOut,
        }
    }
}
