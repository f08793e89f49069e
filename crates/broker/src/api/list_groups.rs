//! ListGroups: the groups of this node, by state and type if the client wants.

use plimsoll_group_coordinator::{ListFilter, ListedGroup as Group};
use plimsoll_wire::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::{str_of, text};

pub(crate) async fn handle(context: &Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let filter = ListFilter {
        states: request.states_filter.iter().map(text).collect(),
        types: request.types_filter.iter().map(text).collect(),
    };
    let (groups, failure) = context.broker.groups.list(&filter);
    let listed = |group: Group| ListedGroup {
        group_id: str_of(&group.group),
        protocol_type: str_of(&group.protocol_type),
        group_state: group.state.to_string().into(),
        group_type: Group::TYPE.into(),
    };
    ListGroupsResponse {
        error_code: failure.map_or(0, |error| error.code().code()),
        groups: groups.into_iter().map(listed).collect(),
        ..Default::default()
    }
}
