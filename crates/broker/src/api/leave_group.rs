//! LeaveGroup: members go, or are removed by an administrator.

use plimsoll_group_coordinator::{GroupError, Input, LeaveRequest, LeaveResult, Leaver, Response};
use plimsoll_wire::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::code_of;
use crate::groups::convert::text;

/// From this version on several members can leave at once.
const BATCH_FROM_VERSION: i16 = 3;

pub(crate) async fn handle(context: &Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let batch = context.version >= BATCH_FROM_VERSION;
    let members = if batch {
        request.members
    } else {
        vec![MemberIdentity {
            member_id: request.member_id,
            ..Default::default()
        }]
    };
    let left = leave(context, text(&request.group_id), &members).await;
    let results = match left {
        Ok(results) => results,
        // No such group: then none of them is a member.
        Err(error @ GroupError::UnknownMemberId) => vec![Err(error); members.len()],
        Err(error) => return failed(error.code().code()),
    };
    if !batch {
        return failed(results.first().map_or(0, code_of));
    }
    let response = |(member, result): (MemberIdentity, LeaveResult)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code_of(&result),
    };
    let members = members.into_iter().zip(results).map(response).collect();
    LeaveGroupResponse {
        members,
        ..Default::default()
    }
}

fn failed(error_code: i16) -> LeaveGroupResponse {
    LeaveGroupResponse {
        error_code,
        ..Default::default()
    }
}

async fn leave(
    context: &Context,
    group: plimsoll_group_coordinator::Text,
    members: &[MemberIdentity],
) -> Result<Vec<LeaveResult>, GroupError> {
    let leaver = |member: &MemberIdentity| {
        if let Some(reason) = &member.reason {
            let member = &member.member_id;
            tracing::debug!(event = "member_leaves", %group, %member, %reason);
        }
        Leaver {
            member: text(&member.member_id),
            instance: member.group_instance_id.as_ref().map(text),
        }
    };
    let members = members.iter().map(leaver).collect();
    let request = LeaveRequest {
        group: group.clone(),
        members,
    };
    match context
        .broker
        .ask_group(&group, |reply| Input::Leave { reply, request })
        .await?
    {
        Response::Leave(result) => result,
        other => unreachable!("a leave is answered as one, not with {other:?}"),
    }
}
