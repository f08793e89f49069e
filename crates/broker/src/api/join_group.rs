//! JoinGroup: become a member, or join the next generation. Answered when that generation begins.

use plimsoll_group_coordinator::{Input, JoinRequest, Joined, Protocol, Refused, Response};
use plimsoll_wire::Str;
use plimsoll_wire::consumer::PROTOCOL_TYPE;
use plimsoll_wire::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};

use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::convert::{blob, bytes, duration, str_of, subscribed_topics, text};

/// From this version on a new dynamic member must come back with the id it is given (KIP-394);
/// older clients would not understand and wait for ever.
const MEMBER_ID_REQUIRED_FROM_VERSION: i16 = 4;
/// From this version on a refused client may be told of no protocol.
const PROTOCOL_NULLABLE_FROM_VERSION: i16 = 7;
/// From this version on a leader can be told to leave the assignment as it is (KIP-814).
const SKIP_ASSIGNMENT_FROM_VERSION: i16 = 9;

pub(crate) async fn handle(context: &Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let member = text(&request.member_id);
    if let Some(reason) = &request.reason {
        let group = &request.group_id;
        tracing::debug!(event = "member_joins", %group, %member, %reason);
    }
    let request = join_request(context, &request);
    let group = request.group.clone();
    let asked = context
        .broker
        .ask_group(&group, |reply| Input::Join { reply, request });
    match asked.await {
        Ok(Response::Join(Ok(joined))) => joined_response(&joined),
        Ok(Response::Join(Err(refused))) => refused_response(context, &refused),
        Ok(other) => unreachable!("a join is answered as one, not with {other:?}"),
        Err(error) => refused_response(context, &Refused { error, member }),
    }
}

fn join_request(context: &Context, request: &JoinGroupRequest) -> JoinRequest {
    let consumer = request.protocol_type == PROTOCOL_TYPE;
    let protocol = |offered: &JoinGroupRequestProtocol| Protocol {
        name: text(&offered.name),
        metadata: blob(&offered.metadata),
        topics: if consumer {
            subscribed_topics(&offered.metadata)
        } else {
            None
        },
    };
    let session_timeout = duration(request.session_timeout_ms);
    let rebalance_timeout = match request.rebalance_timeout_ms {
        -1 => session_timeout,
        ms => duration(ms),
    };
    let dynamic = request.group_instance_id.is_none();
    JoinRequest {
        group: text(&request.group_id),
        member: text(&request.member_id),
        instance: request.group_instance_id.as_ref().map(text),
        client_id: context.client_id.as_ref().map(text).unwrap_or_default(),
        // As Java writes an address that it did not look up; tools show it as it is.
        client_host: format!("/{}", context.connection.peer.ip()).into(),
        session_timeout,
        rebalance_timeout,
        protocol_type: text(&request.protocol_type),
        protocols: request.protocols.iter().map(protocol).collect(),
        require_member_id: dynamic && context.version >= MEMBER_ID_REQUIRED_FROM_VERSION,
        may_skip_assignment: context.version >= SKIP_ASSIGNMENT_FROM_VERSION,
        fresh_id: uuid::Uuid::from_bytes(context.broker.clock.fresh_id())
            .to_string()
            .into(),
    }
}

fn joined_response(joined: &Joined) -> JoinGroupResponse {
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: str_of(&member.member),
        group_instance_id: member.instance.as_ref().map(str_of),
        metadata: bytes(&member.metadata),
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_ref().map(str_of),
        protocol_name: joined.protocol.as_ref().map(str_of),
        leader: str_of(&joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: str_of(&joined.member),
        members: members.collect(),
        ..Default::default()
    }
}

fn refused_response(context: &Context, refused: &Refused) -> JoinGroupResponse {
    let nullable = context.version >= PROTOCOL_NULLABLE_FROM_VERSION;
    JoinGroupResponse {
        error_code: refused.error.code().code(),
        protocol_name: if nullable { None } else { Some(Str::default()) },
        member_id: str_of(&refused.member),
        ..Default::default()
    }
}
