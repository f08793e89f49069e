//! Kafka's error codes.
//!
//! Not here: which error an operation answers with; the broker decides that. What always holds:
//! names and numbers are Kafka's, and an unknown number is not an [`ErrorCode`].

use std::fmt;

macro_rules! error_codes {
    ($($code:literal $name:ident $variant:ident $retry:ident $message:literal)*) => {
        /// What a response says went wrong. Variants are Kafka's names in camel case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(i16)]
        pub enum ErrorCode { $(
            #[doc = concat!("`", stringify!($name), "`: ", $message, ".")]
            $variant = $code,
        )* }

        impl ErrorCode {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The error of this number, if Kafka has one.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$variant), )*
                    _ => None,
                }
            }

            /// Kafka's name for it, in capitals.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => stringify!($name), )* }
            }

            /// What it means, in words of ours.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $( Self::$variant => $message, )* }
            }

            /// Whether clients try again of their own accord.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self { $( Self::$variant => retriable!($retry), )* }
            }
        }
    };
}

macro_rules! retriable {
    (retry) => {
        true
    };
    (final_) => {
        false
    };
}

impl ErrorCode {
    /// Its number, as responses carry it.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether it says that nothing went wrong.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

/// `NAME (number)`, the form that logs and the command line show.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR UnknownServerError final_ "the broker met an error it did not expect"
    0 NONE None final_ "no error"
    1 OFFSET_OUT_OF_RANGE OffsetOutOfRange final_ "the offset is not within what the partition holds"
    2 CORRUPT_MESSAGE CorruptMessage retry "the records are damaged: their checksum or layout is wrong"
    3 UNKNOWN_TOPIC_OR_PARTITION UnknownTopicOrPartition retry "this node does not host the topic or partition"
    4 INVALID_FETCH_SIZE InvalidFetchSize final_ "the fetch size is not valid"
    5 LEADER_NOT_AVAILABLE LeaderNotAvailable retry "the partition has no leader at present"
    6 NOT_LEADER_OR_FOLLOWER NotLeaderOrFollower retry "this node does not lead the partition, or does not replicate it"
    7 REQUEST_TIMED_OUT RequestTimedOut retry "the request was not done in its time"
    8 BROKER_NOT_AVAILABLE BrokerNotAvailable final_ "the broker is not available"
    9 REPLICA_NOT_AVAILABLE ReplicaNotAvailable retry "the replica is not available for the partition"
    10 MESSAGE_TOO_LARGE MessageTooLarge final_ "the batch is larger than the topic takes"
    11 STALE_CONTROLLER_EPOCH StaleControllerEpoch final_ "the controller has moved to another node"
    12 OFFSET_METADATA_TOO_LARGE OffsetMetadataTooLarge final_ "the metadata of the offset is too large"
    13 NETWORK_EXCEPTION NetworkException retry "the connection was lost before an answer came"
    14 COORDINATOR_LOAD_IN_PROGRESS CoordinatorLoadInProgress retry "the coordinator is still loading its state"
    15 COORDINATOR_NOT_AVAILABLE CoordinatorNotAvailable retry "there is no coordinator at present"
    16 NOT_COORDINATOR NotCoordinator retry "this node is not the coordinator"
    17 INVALID_TOPIC_EXCEPTION InvalidTopicException final_ "the topic's name is not legal, or the topic cannot be used so"
    18 RECORD_LIST_TOO_LARGE RecordListTooLarge final_ "the batch is larger than a segment"
    19 NOT_ENOUGH_REPLICAS NotEnoughReplicas retry "fewer replicas are in sync than the topic requires; nothing was written"
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND NotEnoughReplicasAfterAppend retry "the records were written, but fewer replicas are in sync than the topic requires"
    21 INVALID_REQUIRED_ACKS InvalidRequiredAcks final_ "acks is none of 0, 1 and -1"
    22 ILLEGAL_GENERATION IllegalGeneration final_ "the generation is not the group's"
    23 INCONSISTENT_GROUP_PROTOCOL InconsistentGroupProtocol final_ "the member shares no protocol with the group"
    24 INVALID_GROUP_ID InvalidGroupId final_ "the group id is not legal"
    25 UNKNOWN_MEMBER_ID UnknownMemberId final_ "the group does not know the member"
    26 INVALID_SESSION_TIMEOUT InvalidSessionTimeout final_ "the session timeout is outside what the broker allows"
    27 REBALANCE_IN_PROGRESS RebalanceInProgress final_ "the group is rebalancing, the member has to join again"
    28 INVALID_COMMIT_OFFSET_SIZE InvalidCommitOffsetSize final_ "the offset and its metadata are too large"
    29 TOPIC_AUTHORIZATION_FAILED TopicAuthorizationFailed final_ "the client may not do this to the topic"
    30 GROUP_AUTHORIZATION_FAILED GroupAuthorizationFailed final_ "the client may not do this to the group"
    31 CLUSTER_AUTHORIZATION_FAILED ClusterAuthorizationFailed final_ "the client may not do this to the cluster"
    32 INVALID_TIMESTAMP InvalidTimestamp final_ "the timestamp is outside what the topic accepts"
    33 UNSUPPORTED_SASL_MECHANISM UnsupportedSaslMechanism final_ "the broker does not know the SASL mechanism"
    34 ILLEGAL_SASL_STATE IllegalSaslState final_ "the request is not valid in this state of authentication"
    35 UNSUPPORTED_VERSION UnsupportedVersion final_ "the version of the API is not supported"
    36 TOPIC_ALREADY_EXISTS TopicAlreadyExists final_ "a topic of this name exists"
    37 INVALID_PARTITIONS InvalidPartitions final_ "the number of partitions is not valid"
    38 INVALID_REPLICATION_FACTOR InvalidReplicationFactor final_ "the replication factor is below 1 or above the number of nodes"
    39 INVALID_REPLICA_ASSIGNMENT InvalidReplicaAssignment final_ "the assignment of replicas is not valid"
    40 INVALID_CONFIG InvalidConfig final_ "a setting is not valid"
    41 NOT_CONTROLLER NotController retry "this node is not the controller"
    42 INVALID_REQUEST InvalidRequest final_ "the request contradicts itself or the protocol"
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT UnsupportedForMessageFormat final_ "the format of the records does not support this"
    44 POLICY_VIOLATION PolicyViolation final_ "the request is against a policy of the cluster"
    45 OUT_OF_ORDER_SEQUENCE_NUMBER OutOfOrderSequenceNumber final_ "the producer's sequence number is not the next one"
    46 DUPLICATE_SEQUENCE_NUMBER DuplicateSequenceNumber final_ "the producer's sequence number was used before"
    47 INVALID_PRODUCER_EPOCH InvalidProducerEpoch final_ "a producer of the same id has a later epoch"
    48 INVALID_TXN_STATE InvalidTxnState final_ "the transaction is not in a state for this"
    49 INVALID_PRODUCER_ID_MAPPING InvalidProducerIdMapping final_ "the producer id does not belong to the transactional id"
    50 INVALID_TRANSACTION_TIMEOUT InvalidTransactionTimeout final_ "the transaction timeout is longer than the broker allows"
    51 CONCURRENT_TRANSACTIONS ConcurrentTransactions retry "another operation on the transaction is under way"
    52 TRANSACTION_COORDINATOR_FENCED TransactionCoordinatorFenced final_ "the transaction coordinator has been replaced"
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED TransactionalIdAuthorizationFailed final_ "the client may not use the transactional id"
    54 SECURITY_DISABLED SecurityDisabled final_ "security is not enabled"
    55 OPERATION_NOT_ATTEMPTED OperationNotAttempted final_ "the operation was not tried, since another part of the request failed"
    56 KAFKA_STORAGE_ERROR KafkaStorageError retry "the disk failed under the log"
    57 LOG_DIR_NOT_FOUND LogDirNotFound final_ "the data directory is not known to the broker"
    58 SASL_AUTHENTICATION_FAILED SaslAuthenticationFailed final_ "authentication failed"
    59 UNKNOWN_PRODUCER_ID UnknownProducerId final_ "the broker knows nothing of the producer"
    60 REASSIGNMENT_IN_PROGRESS ReassignmentInProgress final_ "the partition is being moved"
    61 DELEGATION_TOKEN_AUTH_DISABLED DelegationTokenAuthDisabled final_ "delegation tokens are not enabled"
    62 DELEGATION_TOKEN_NOT_FOUND DelegationTokenNotFound final_ "the delegation token does not exist"
    63 DELEGATION_TOKEN_OWNER_MISMATCH DelegationTokenOwnerMismatch final_ "the delegation token belongs to somebody else"
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DelegationTokenRequestNotAllowed final_ "delegation tokens cannot be asked for on this connection"
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED DelegationTokenAuthorizationFailed final_ "the client may not do this to the delegation token"
    66 DELEGATION_TOKEN_EXPIRED DelegationTokenExpired final_ "the delegation token has expired"
    67 INVALID_PRINCIPAL_TYPE InvalidPrincipalType final_ "the type of principal is not supported"
    68 NON_EMPTY_GROUP NonEmptyGroup final_ "the group has members"
    69 GROUP_ID_NOT_FOUND GroupIdNotFound final_ "the group does not exist"
    70 FETCH_SESSION_ID_NOT_FOUND FetchSessionIdNotFound retry "the fetch session does not exist"
    71 INVALID_FETCH_SESSION_EPOCH InvalidFetchSessionEpoch retry "the fetch session expects another epoch"
    72 LISTENER_NOT_FOUND ListenerNotFound retry "the leader has no listener like the one asked on"
    73 TOPIC_DELETION_DISABLED TopicDeletionDisabled final_ "topics cannot be deleted"
    74 FENCED_LEADER_EPOCH FencedLeaderEpoch retry "the leader epoch is older than the partition's"
    75 UNKNOWN_LEADER_EPOCH UnknownLeaderEpoch retry "the leader epoch is newer than this node knows"
    76 UNSUPPORTED_COMPRESSION_TYPE UnsupportedCompressionType final_ "the compression is not supported in this version of the API"
    77 STALE_BROKER_EPOCH StaleBrokerEpoch final_ "the broker has been registered anew"
    78 OFFSET_NOT_AVAILABLE OffsetNotAvailable retry "the leader does not know the high watermark yet"
    79 MEMBER_ID_REQUIRED MemberIdRequired final_ "the member has to join again with the id it was given"
    80 PREFERRED_LEADER_NOT_AVAILABLE PreferredLeaderNotAvailable retry "the preferred leader is not available"
    81 GROUP_MAX_SIZE_REACHED GroupMaxSizeReached final_ "the group is full"
    82 FENCED_INSTANCE_ID FencedInstanceId final_ "another member has joined under the same instance id"
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE EligibleLeadersNotAvailable retry "none of the replicas that may lead is available"
    84 ELECTION_NOT_NEEDED ElectionNotNeeded retry "the partition has the leader it should have"
    85 NO_REASSIGNMENT_IN_PROGRESS NoReassignmentInProgress final_ "the partition is not being moved"
    86 GROUP_SUBSCRIBED_TO_TOPIC GroupSubscribedToTopic final_ "the group still reads the topic"
    87 INVALID_RECORD InvalidRecord final_ "a record is not valid for the topic"
    88 UNSTABLE_OFFSET_COMMIT UnstableOffsetCommit retry "a transaction has commits of the offset pending"
    89 THROTTLING_QUOTA_EXCEEDED ThrottlingQuotaExceeded retry "the client has used up its quota"
    90 PRODUCER_FENCED ProducerFenced final_ "a newer producer uses the transactional id"
    91 RESOURCE_NOT_FOUND ResourceNotFound final_ "the resource does not exist"
    92 DUPLICATE_RESOURCE DuplicateResource final_ "the resource is named twice, or exists"
    93 UNACCEPTABLE_CREDENTIAL UnacceptableCredential final_ "the credential does not meet the requirements"
    94 INCONSISTENT_VOTER_SET InconsistentVoterSet final_ "the set of voters is not the one expected"
    95 INVALID_UPDATE_VERSION InvalidUpdateVersion final_ "the version of the update is not the next one"
    96 FEATURE_UPDATE_FAILED FeatureUpdateFailed final_ "the features could not be updated"
    97 PRINCIPAL_DESERIALIZATION_FAILURE PrincipalDeserializationFailure final_ "the forwarded principal could not be read"
    98 SNAPSHOT_NOT_FOUND SnapshotNotFound final_ "the snapshot does not exist"
    99 POSITION_OUT_OF_RANGE PositionOutOfRange final_ "the position is not within the snapshot"
    100 UNKNOWN_TOPIC_ID UnknownTopicId retry "this node does not host a topic of this id"
    101 DUPLICATE_BROKER_REGISTRATION DuplicateBrokerRegistration final_ "another broker is registered under the id"
    102 BROKER_ID_NOT_REGISTERED BrokerIdNotRegistered final_ "no broker is registered under the id"
    103 INCONSISTENT_TOPIC_ID InconsistentTopicId retry "the topic's id is not the one in the log"
    104 INCONSISTENT_CLUSTER_ID InconsistentClusterId final_ "the cluster's id is another one"
    105 TRANSACTIONAL_ID_NOT_FOUND TransactionalIdNotFound final_ "the transactional id does not exist"
    106 FETCH_SESSION_TOPIC_ID_ERROR FetchSessionTopicIdError retry "the fetch session mixes topic ids and names"
    107 INELIGIBLE_REPLICA IneligibleReplica final_ "the replica may not join the in-sync set"
    108 NEW_LEADER_ELECTED NewLeaderElected final_ "the change led to a new leader, which must be asked"
    109 OFFSET_MOVED_TO_TIERED_STORAGE OffsetMovedToTieredStorage final_ "the offset is in remote storage alone"
    110 FENCED_MEMBER_EPOCH FencedMemberEpoch final_ "the coordinator has fenced the member, which has to join anew"
    111 UNRELEASED_INSTANCE_ID UnreleasedInstanceId final_ "another member still holds the instance id"
    112 UNSUPPORTED_ASSIGNOR UnsupportedAssignor final_ "the broker does not know the assignor"
    113 STALE_MEMBER_EPOCH StaleMemberEpoch final_ "the member's epoch is old, it has to heartbeat first"
    114 MISMATCHED_ENDPOINT_TYPE MismatchedEndpointType final_ "the request went to a listener of another kind"
    115 UNSUPPORTED_ENDPOINT_TYPE UnsupportedEndpointType final_ "the kind of listener is not supported"
    116 UNKNOWN_CONTROLLER_ID UnknownControllerId final_ "the controller id is not known"
    117 UNKNOWN_SUBSCRIPTION_ID UnknownSubscriptionId final_ "the telemetry subscription is out of date"
    118 TELEMETRY_TOO_LARGE TelemetryTooLarge final_ "the telemetry is larger than the broker takes"
    119 INVALID_REGISTRATION InvalidRegistration final_ "the registration of the broker is not valid"
    120 TRANSACTION_ABORTABLE TransactionAbortable final_ "the transaction met an error and can only be aborted"
    121 INVALID_RECORD_STATE InvalidRecordState final_ "the record is not in a state for this"
    122 SHARE_SESSION_NOT_FOUND ShareSessionNotFound retry "the share session does not exist"
    123 INVALID_SHARE_SESSION_EPOCH InvalidShareSessionEpoch retry "the share session expects another epoch"
    124 FENCED_STATE_EPOCH FencedStateEpoch final_ "the share state has a newer epoch"
    125 INVALID_VOTER_KEY InvalidVoterKey final_ "the voter's directory id is not the one expected"
    126 DUPLICATE_VOTER DuplicateVoter final_ "the voter is in the set already"
    127 VOTER_NOT_FOUND VoterNotFound final_ "the voter is not in the set"
    128 INVALID_REGULAR_EXPRESSION InvalidRegularExpression final_ "the regular expression is not valid"
    129 REBOOTSTRAP_REQUIRED RebootstrapRequired final_ "the client has to begin again from its bootstrap servers"
    130 STREAMS_INVALID_TOPOLOGY StreamsInvalidTopology final_ "the streams topology is not valid"
    131 STREAMS_INVALID_TOPOLOGY_EPOCH StreamsInvalidTopologyEpoch final_ "the streams topology epoch is not valid"
    132 STREAMS_TOPOLOGY_FENCED StreamsTopologyFenced final_ "the streams topology epoch is older than the group's"
    133 SHARE_SESSION_LIMIT_REACHED ShareSessionLimitReached retry "the broker has as many share sessions as it takes"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_found_by_its_number() {
        for error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(*error));
        }
    }

    #[test]
    fn numbers_have_no_gap() {
        for (error, code) in ErrorCode::ALL.iter().zip(-1..) {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn an_unknown_number_is_no_error_code() {
        assert_eq!(ErrorCode::from_code(-2), None);
        assert_eq!(ErrorCode::from_code(9_999), None);
    }
}
