//! DeleteGroups: forget groups without members, and their offsets. Answered when that is durable.

use plimsoll_group_coordinator::{GroupError, Input, Response};
use plimsoll_wire::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use crate::context::Context;
use crate::groups::code_of;
use crate::groups::convert::text;

pub(crate) async fn handle(
    context: &Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    // All begin before one is waited for: their writes share a sync.
    let begin = |group_id: plimsoll_wire::Str| {
        let group = text(&group_id);
        let asked = context
            .broker
            .ask_group(&group_id, |reply| Input::DeleteGroup { reply, group });
        (group_id, asked)
    };
    let begun: Vec<_> = request.groups_names.into_iter().map(begin).collect();
    let mut results = Vec::with_capacity(begun.len());
    for (group_id, asked) in begun {
        let result = match asked.await {
            Ok(Response::DeleteGroup(result)) => result,
            Ok(other) => unreachable!("a deletion is answered as one, not with {other:?}"),
            Err(error) => Err::<(), GroupError>(error),
        };
        results.push(DeletableGroupResult {
            group_id,
            error_code: code_of(&result),
        });
    }
    DeleteGroupsResponse {
        results,
        ..Default::default()
    }
}
