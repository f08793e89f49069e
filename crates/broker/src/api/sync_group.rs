//! SyncGroup: hand in the assignment, or ask for one's part of it. Answered when it is durable.

use plimsoll_group_coordinator::{GroupError, Input, Response, SyncRequest, Synced};
use plimsoll_wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::{blob, bytes, str_of, text};

/// From this version on a member must say which protocol it believes in (KIP-559).
const PROTOCOL_FROM_VERSION: i16 = 5;

pub(crate) async fn handle(context: &Context, request: SyncGroupRequest) -> SyncGroupResponse {
    match sync(context, &request).await {
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.as_ref().map(str_of),
            protocol_name: synced.protocol.as_ref().map(str_of),
            assignment: bytes(&synced.assignment),
            ..Default::default()
        },
        Err(error) => SyncGroupResponse {
            error_code: error.code().code(),
            ..Default::default()
        },
    }
}

async fn sync(context: &Context, request: &SyncGroupRequest) -> Result<Synced, GroupError> {
    let silent = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.version >= PROTOCOL_FROM_VERSION && silent {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    let assignment = |a: &SyncGroupRequestAssignment| (text(&a.member_id), blob(&a.assignment));
    let request = SyncRequest {
        group: text(&request.group_id),
        member: text(&request.member_id),
        instance: request.group_instance_id.as_ref().map(text),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(text),
        protocol: request.protocol_name.as_ref().map(text),
        assignments: request.assignments.iter().map(assignment).collect(),
    };
    let group = request.group.clone();
    match context
        .broker
        .ask_group(&group, |reply| Input::Sync { reply, request })
        .await?
    {
        Response::Sync(result) => result,
        other => unreachable!("a sync is answered as one, not with {other:?}"),
    }
}
