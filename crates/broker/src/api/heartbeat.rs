//! Heartbeat: a member lives, and hears of rebalances.

use plimsoll_group_coordinator::{GroupError, HeartbeatRequest as Beat, Input, Response};
use plimsoll_wire::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use crate::context::Context;
use crate::groups::code_of;
use crate::groups::convert::text;

pub(crate) async fn handle(context: &Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let result = heartbeat(context, &request).await;
    HeartbeatResponse {
        error_code: code_of(&result),
        ..Default::default()
    }
}

async fn heartbeat(context: &Context, request: &HeartbeatRequest) -> Result<(), GroupError> {
    let request = Beat {
        group: text(&request.group_id),
        member: text(&request.member_id),
        instance: request.group_instance_id.as_ref().map(text),
        generation: request.generation_id,
    };
    let group = request.group.clone();
    match context
        .broker
        .ask_group(&group, |reply| Input::Heartbeat { reply, request })
        .await?
    {
        Response::Heartbeat(result) => result,
        other => unreachable!("a heartbeat is answered as one, not with {other:?}"),
    }
}
