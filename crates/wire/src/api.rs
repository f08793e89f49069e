//! The APIs served, and the sum of their messages.
//!
//! Not here: headers and frames. What always holds: an API's versions are those of its request's
//! statement, said nowhere else.

use std::fmt;
use std::ops::RangeInclusive;

use crate::codec::{Context, Input, Malformed, Message, Output, Struct, StructSchema};
use crate::messages::*;

macro_rules! apis {
    ($($name:ident = $code:literal, $module:ident :: { $request:ident, $response:ident };)*) => {
        /// An API this crate speaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(i16)]
        pub enum ApiKey { $(
            #[doc = concat!("See [`", stringify!($module), "`](crate::", stringify!($module), ").")]
            $name = $code,
        )* }

        impl ApiKey {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The API of this number, if it is served.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// Kafka's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )* }
            }

            /// The versions that requests may have.
            #[must_use]
            pub fn served(self) -> RangeInclusive<i16> {
                match self {
                    $( Self::$name => <$module::$request as Message>::VERSIONS, )*
                }
            }

            /// The first flexible version, if any is.
            #[must_use]
            pub const fn flexible_from(self) -> Option<i16> {
                match self {
                    $( Self::$name => <$module::$request as Message>::FLEXIBLE_FROM, )*
                }
            }

            /// The statement of its request, as data.
            #[must_use]
            pub const fn request_schema(self) -> &'static StructSchema {
                match self { $( Self::$name => &<$module::$request as Struct>::SCHEMA, )* }
            }

            /// The statement of its response, as data.
            #[must_use]
            pub const fn response_schema(self) -> &'static StructSchema {
                match self { $( Self::$name => &<$module::$response as Struct>::SCHEMA, )* }
            }
        }

        /// The body of a request. Exhaustive on purpose: who answers requests must not build
        /// while it leaves one out that is advertised.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $(
            #[doc = concat!("Of [`ApiKey::", stringify!($name), "`].")]
            $name($module::$request),
        )* }

        /// The body of a response.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response { $(
            #[doc = concat!("Of [`ApiKey::", stringify!($name), "`].")]
            $name($module::$response),
        )* }

        impl Request {
            /// The API it is of.
            #[must_use]
            pub const fn api(&self) -> ApiKey {
                match self { $( Self::$name(_) => ApiKey::$name, )* }
            }

            pub(crate) fn read(
                api: ApiKey,
                version: i16,
                input: &mut Input<'_>,
            ) -> Result<Self, Malformed> {
                let context = Context::new(version, api.flexible_from());
                match api {
                    $( ApiKey::$name => Struct::read(input, context).map(Self::$name), )*
                }
            }

            pub(crate) fn write(&self, out: &mut Output, version: i16) {
                let context = Context::new(version, self.api().flexible_from());
                match self { $( Self::$name(body) => Struct::write(body, out, context), )* }
            }
        }

        impl Response {
            /// The API it is of.
            #[must_use]
            pub const fn api(&self) -> ApiKey {
                match self { $( Self::$name(_) => ApiKey::$name, )* }
            }

            pub(crate) fn read(
                api: ApiKey,
                version: i16,
                input: &mut Input<'_>,
            ) -> Result<Self, Malformed> {
                let context = Context::new(version, api.flexible_from());
                match api {
                    $( ApiKey::$name => Struct::read(input, context).map(Self::$name), )*
                }
            }

            pub(crate) fn write(&self, out: &mut Output, version: i16) {
                let context = Context::new(version, self.api().flexible_from());
                match self { $( Self::$name(body) => Struct::write(body, out, context), )* }
            }
        }

        $(
            impl From<$module::$request> for Request {
                fn from(body: $module::$request) -> Self {
                    Self::$name(body)
                }
            }

            impl From<$module::$response> for Response {
                fn from(body: $module::$response) -> Self {
                    Self::$name(body)
                }
            }

            const _: () = assert!(
                *<$module::$request as Message>::VERSIONS.start()
                    == *<$module::$response as Message>::VERSIONS.start()
                    && *<$module::$request as Message>::VERSIONS.end()
                        == *<$module::$response as Message>::VERSIONS.end(),
                "request and response have the same versions"
            );
        )*
    };
}

apis! {
    Produce = 0, produce::{ProduceRequest, ProduceResponse};
    Fetch = 1, fetch::{FetchRequest, FetchResponse};
    ListOffsets = 2, list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
    Metadata = 3, metadata::{MetadataRequest, MetadataResponse};
    OffsetCommit = 8, offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
    OffsetFetch = 9, offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
    FindCoordinator = 10, find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
    JoinGroup = 11, join_group::{JoinGroupRequest, JoinGroupResponse};
    Heartbeat = 12, heartbeat::{HeartbeatRequest, HeartbeatResponse};
    LeaveGroup = 13, leave_group::{LeaveGroupRequest, LeaveGroupResponse};
    SyncGroup = 14, sync_group::{SyncGroupRequest, SyncGroupResponse};
    DescribeGroups = 15, describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
    ListGroups = 16, list_groups::{ListGroupsRequest, ListGroupsResponse};
    ApiVersions = 18, api_versions::{ApiVersionsRequest, ApiVersionsResponse};
    CreateTopics = 19, create_topics::{CreateTopicsRequest, CreateTopicsResponse};
    DeleteTopics = 20, delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
    DeleteRecords = 21, delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
    InitProducerId = 22, init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
    OffsetForLeaderEpoch = 23,
        offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
    DescribeConfigs = 32, describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
    AlterConfigs = 33, alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
    DescribeLogDirs = 35, describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
    CreatePartitions = 37, create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
    DeleteGroups = 42, delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
    ElectLeaders = 43, elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
    IncrementalAlterConfigs = 44,
        incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
    AlterPartitionReassignments = 45,
        alter_partition_reassignments::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
    ListPartitionReassignments = 46,
        list_partition_reassignments::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
    OffsetDelete = 47, offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
    DescribeQuorum = 55, describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
    DescribeCluster = 60, describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
    UnregisterBroker = 64, unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
    DescribeTopicPartitions = 75,
        describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
}

impl ApiKey {
    /// Its number, as headers carry it.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The versions to tell clients of, which are those served but for Produce: librdkafka before
    /// 2.11 takes a least version above 2 for a broker that knows no compression (KAFKA-18659).
    #[must_use]
    pub fn advertised(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 0..=*self.served().end(),
            _ => self.served(),
        }
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.flexible_from() {
            Some(from) => version >= from,
            None => false,
        }
    }

    /// Whether the response's header has tagged fields. Never with ApiVersions: a client reads
    /// that response before it knows what the broker speaks.
    pub(crate) const fn is_response_header_flexible(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.is_flexible(version)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
