//! DescribeGroups: the state and members of groups.

use plimsoll_group_coordinator::{
    DescribedGroup as Group, DescribedMember as Member, GroupError, GroupState,
};
use plimsoll_wire::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::operations;
use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::{bytes, str_of};

/// From this version on a group that does not exist is an error; before, it is dead.
const NOT_FOUND_FROM_VERSION: i16 = 6;

pub(crate) async fn handle(
    context: &Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let may = request.include_authorized_operations;
    let groups = request.groups.into_iter().map(|group| {
        let mut described = describe(context, group);
        if may && described.error_code == ErrorCode::None.code() {
            described.authorized_operations = operations::GROUP;
        }
        described
    });
    DescribeGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    }
}

fn describe(context: &Context, group_id: Str) -> DescribedGroup {
    match context.broker.groups.describe(&group_id) {
        Ok(group) => described(group_id, &group),
        Err(GroupError::GroupIdNotFound) => not_found(context, group_id),
        Err(error) => DescribedGroup {
            error_code: error.code().code(),
            error_message: Some(error.to_string().into()),
            group_id,
            ..Default::default()
        },
    }
}

fn described(group_id: Str, group: &Group) -> DescribedGroup {
    let member = |member: &Member| DescribedGroupMember {
        member_id: str_of(&member.member),
        group_instance_id: member.instance.as_ref().map(str_of),
        client_id: str_of(&member.client_id),
        client_host: str_of(&member.client_host),
        member_metadata: bytes(&member.metadata),
        member_assignment: bytes(&member.assignment),
    };
    DescribedGroup {
        group_id,
        group_state: group.state.to_string().into(),
        protocol_type: str_of(&group.protocol_type),
        protocol_data: str_of(&group.protocol),
        members: group.members.iter().map(member).collect(),
        ..Default::default()
    }
}

fn not_found(context: &Context, group_id: Str) -> DescribedGroup {
    let dead = DescribedGroup {
        group_state: GroupState::Dead.to_string().into(),
        ..Default::default()
    };
    if context.version < NOT_FOUND_FROM_VERSION {
        return DescribedGroup { group_id, ..dead };
    }
    DescribedGroup {
        error_code: GroupError::GroupIdNotFound.code().code(),
        error_message: Some(format!("group {group_id} does not exist").into()),
        group_id,
        ..dead
    }
}
