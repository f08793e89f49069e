//! Which answer belongs to which request, as types.

use plimsoll_wire::{Request, Response};

/// A request whose answer's type is known.
pub trait Ask: Into<Request> + Send {
    /// The answer to it.
    type Answer: Send;

    /// The answer within `response`, if it is of this API.
    #[must_use]
    fn answer(response: Response) -> Option<Self::Answer>;
}

macro_rules! asks {
    ($($api:ident: $module:ident::$request:ident => $response:ident,)*) => { $(
        impl Ask for plimsoll_wire::$module::$request {
            type Answer = plimsoll_wire::$module::$response;

            fn answer(response: Response) -> Option<Self::Answer> {
                match response {
                    Response::$api(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    )* };
}

asks! {
    Produce: produce::ProduceRequest => ProduceResponse,
    Fetch: fetch::FetchRequest => FetchResponse,
    ListOffsets: list_offsets::ListOffsetsRequest => ListOffsetsResponse,
    Metadata: metadata::MetadataRequest => MetadataResponse,
    OffsetCommit: offset_commit::OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch: offset_fetch::OffsetFetchRequest => OffsetFetchResponse,
    FindCoordinator: find_coordinator::FindCoordinatorRequest => FindCoordinatorResponse,
    JoinGroup: join_group::JoinGroupRequest => JoinGroupResponse,
    Heartbeat: heartbeat::HeartbeatRequest => HeartbeatResponse,
    LeaveGroup: leave_group::LeaveGroupRequest => LeaveGroupResponse,
    SyncGroup: sync_group::SyncGroupRequest => SyncGroupResponse,
    DescribeGroups: describe_groups::DescribeGroupsRequest => DescribeGroupsResponse,
    ListGroups: list_groups::ListGroupsRequest => ListGroupsResponse,
    ApiVersions: api_versions::ApiVersionsRequest => ApiVersionsResponse,
    CreateTopics: create_topics::CreateTopicsRequest => CreateTopicsResponse,
    DeleteTopics: delete_topics::DeleteTopicsRequest => DeleteTopicsResponse,
    DeleteRecords: delete_records::DeleteRecordsRequest => DeleteRecordsResponse,
    InitProducerId: init_producer_id::InitProducerIdRequest => InitProducerIdResponse,
    OffsetForLeaderEpoch: offset_for_leader_epoch::OffsetForLeaderEpochRequest
        => OffsetForLeaderEpochResponse,
    DescribeConfigs: describe_configs::DescribeConfigsRequest => DescribeConfigsResponse,
    AlterConfigs: alter_configs::AlterConfigsRequest => AlterConfigsResponse,
    DescribeLogDirs: describe_log_dirs::DescribeLogDirsRequest => DescribeLogDirsResponse,
    CreatePartitions: create_partitions::CreatePartitionsRequest => CreatePartitionsResponse,
    DeleteGroups: delete_groups::DeleteGroupsRequest => DeleteGroupsResponse,
    IncrementalAlterConfigs: incremental_alter_configs::IncrementalAlterConfigsRequest
        => IncrementalAlterConfigsResponse,
    AlterPartitionReassignments:
        alter_partition_reassignments::AlterPartitionReassignmentsRequest
        => AlterPartitionReassignmentsResponse,
    OffsetDelete: offset_delete::OffsetDeleteRequest => OffsetDeleteResponse,
    DescribeCluster: describe_cluster::DescribeClusterRequest => DescribeClusterResponse,
    DescribeTopicPartitions: describe_topic_partitions::DescribeTopicPartitionsRequest
        => DescribeTopicPartitionsResponse,
}
