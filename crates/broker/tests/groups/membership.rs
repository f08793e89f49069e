//! Joining, syncing, living and leaving.

use crate::node::{Call, Node, versions};
use plimsoll_wire::consumer::ConsumerProtocolSubscription;
use plimsoll_wire::heartbeat::HeartbeatRequest;
use plimsoll_wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use plimsoll_wire::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use plimsoll_wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use plimsoll_wire::{ApiKey, ErrorCode, Response, Str};
use std::time::Duration;

pub(crate) fn join_request(member: &Str) -> JoinGroupRequest {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into()],
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.clone(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: subscription.to_member(1),
        }],
        ..Default::default()
    }
}

fn begin_join(node: &mut Node, version: i16, member: &Str) -> Call {
    let mut request = join_request(member);
    if version == 0 {
        request.rebalance_timeout_ms = -1;
    }
    node.begin(version, request)
}

fn joined(response: Response) -> JoinGroupResponse {
    match response {
        Response::JoinGroup(joined) => joined,
        other => panic!("another response: {other:?}"),
    }
}

/// Joins, twice where the version wants that.
fn join(node: &mut Node, version: i16, member: &Str) -> JoinGroupResponse {
    let call = begin_join(node, version, member);
    let first = joined(node.end(call));
    if first.error_code != ErrorCode::MemberIdRequired.code() {
        return first;
    }
    let call = begin_join(node, version, &first.member_id);
    joined(node.end(call))
}

fn begin_sync(node: &mut Node, version: i16, joined: &JoinGroupResponse) -> Call {
    let assignment = |member: &Str| SyncGroupRequestAssignment {
        member_id: member.clone(),
        assignment: member.clone().into_bytes(),
    };
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: (version >= 5).then(|| "consumer".into()),
        protocol_name: (version >= 5).then(|| "range".into()),
        assignments: joined
            .members
            .iter()
            .map(|m| assignment(&m.member_id))
            .collect(),
        ..Default::default()
    };
    node.begin(version, request)
}

fn sync(node: &mut Node, version: i16, joined: &JoinGroupResponse) -> SyncGroupResponse {
    let call = begin_sync(node, version, joined);
    synced(node.end(call))
}

fn synced(response: Response) -> SyncGroupResponse {
    match response {
        Response::SyncGroup(synced) => synced,
        other => panic!("another response: {other:?}"),
    }
}

pub(crate) fn heartbeat(node: &mut Node, version: i16, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    match node.call(version, request) {
        Response::Heartbeat(beat) => beat.error_code,
        other => panic!("another response: {other:?}"),
    }
}

fn leave(node: &mut Node, version: i16, member: &Str) -> LeaveGroupResponse {
    let member_id = member.clone();
    let request = if version < 3 {
        LeaveGroupRequest {
            group_id: "g".into(),
            member_id,
            ..Default::default()
        }
    } else {
        let members = vec![MemberIdentity {
            member_id,
            ..Default::default()
        }];
        LeaveGroupRequest {
            group_id: "g".into(),
            members,
            ..Default::default()
        }
    };
    match node.call(version, request) {
        Response::LeaveGroup(left) => left,
        other => panic!("another response: {other:?}"),
    }
}

/// A stable group of one member.
pub(crate) fn stable(node: &mut Node) -> JoinGroupResponse {
    let joined = join(node, 5, &Str::default());
    assert_eq!(sync(node, 3, &joined).error_code, 0);
    joined
}

#[test]
fn member_joins_syncs_and_leaves_in_every_version() {
    let mut node = Node::ready();
    for version in versions(ApiKey::JoinGroup) {
        let joined = join(&mut node, version, &Str::default());
        assert_eq!((joined.error_code, version), (0, version));
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        let synced = sync(&mut node, version.min(5), &joined);
        assert_eq!((synced.error_code, version), (0, version));
        assert_eq!(synced.assignment, joined.member_id.clone().into_bytes());
        assert_eq!(heartbeat(&mut node, version.min(4), &joined), 0);
        let left = leave(&mut node, version.min(5), &joined.member_id);
        assert_eq!(left.error_code, 0);
        assert!(left.members.iter().all(|member| member.error_code == 0));
    }
}

#[test]
fn new_member_must_come_back_with_its_id_from_version_4_on() {
    let mut node = Node::ready();
    for version in versions(ApiKey::JoinGroup) {
        let call = begin_join(&mut node, version, &Str::default());
        let first = joined(node.end(call));
        let required = first.error_code == ErrorCode::MemberIdRequired.code();
        assert_eq!(required, version >= 4, "version {version}");
        leave(&mut node, 1, &first.member_id);
    }
}

#[test]
fn static_member_need_not_come_back() {
    let mut node = Node::ready();
    let mut request = join_request(&Str::default());
    request.group_instance_id = Some("i".into());
    let response = node.call(9, request);
    assert_eq!(joined(response).error_code, 0);
}

#[test]
fn two_members_share_a_group_and_one_inherits_it() {
    let mut node = Node::ready();
    let first = stable(&mut node);
    let mut newcomer = begin_join(&mut node, 3, &Str::default());
    assert_eq!(
        node.try_end(&mut newcomer).map(joined),
        None,
        "it waits for the first"
    );
    let told = heartbeat(&mut node, 3, &first);
    assert_eq!(told, ErrorCode::RebalanceInProgress.code());
    let again = begin_join(&mut node, 5, &first.member_id);
    let (leader, second) = (joined(node.end(again)), joined(node.end(newcomer)));
    assert_eq!(leader.members.len(), 2);
    assert!(second.members.is_empty());
    let mut waiting = begin_sync(&mut node, 3, &second);
    assert_eq!(
        node.try_end(&mut waiting).map(synced),
        None,
        "it waits for the leader"
    );
    assert_eq!(sync(&mut node, 3, &leader).error_code, 0);
    let theirs = synced(node.end(waiting));
    assert_eq!(theirs.assignment, second.member_id.clone().into_bytes());
    leave(&mut node, 3, &leader.member_id);
    let alone = join(&mut node, 5, &second.member_id);
    assert_eq!(alone.leader, second.member_id);
}

#[test]
fn stopping_node_lets_no_join_wait() {
    let mut node = Node::ready();
    stable(&mut node);
    let mut newcomer = begin_join(&mut node, 3, &Str::default());
    assert_eq!(node.try_end(&mut newcomer).map(joined), None);
    node.broker().stop_groups();
    let told = joined(node.end(newcomer));
    assert_eq!(told.error_code, ErrorCode::NotCoordinator.code());
    let late = begin_join(&mut node, 3, &Str::default());
    let told = joined(node.end(late));
    assert_eq!(told.error_code, ErrorCode::CoordinatorNotAvailable.code());
}

#[test]
fn silent_member_is_out_after_its_session() {
    let mut node = Node::ready();
    let member = stable(&mut node);
    node.pass(Duration::from_secs(9));
    assert_eq!(heartbeat(&mut node, 3, &member), 0);
    node.pass(Duration::from_secs(10));
    let told = heartbeat(&mut node, 3, &member);
    assert_eq!(told, ErrorCode::UnknownMemberId.code());
}

#[test]
fn group_outlives_a_restart_of_the_broker() {
    let mut node = Node::ready();
    let member = stable(&mut node);
    let mut node = node.restart();
    assert_eq!(heartbeat(&mut node, 4, &member), 0);
    let synced = sync(&mut node, 3, &member);
    assert_eq!(synced.assignment, member.member_id.clone().into_bytes());
}

#[test]
fn member_of_no_group_is_told_so_in_every_version() {
    let mut node = Node::ready();
    let unknown = ErrorCode::UnknownMemberId.code();
    let ghost = JoinGroupResponse {
        member_id: "ghost".into(),
        ..Default::default()
    };
    for version in versions(ApiKey::LeaveGroup) {
        let left = leave(&mut node, version, &ghost.member_id);
        if version < 3 {
            assert_eq!(left.error_code, unknown);
        } else {
            assert_eq!(left.error_code, 0);
            assert_eq!(left.members[0].error_code, unknown);
        }
    }
    for version in versions(ApiKey::Heartbeat) {
        assert_eq!(heartbeat(&mut node, version, &ghost), unknown);
    }
    for version in versions(ApiKey::SyncGroup) {
        assert_eq!(sync(&mut node, version, &ghost).error_code, unknown);
    }
}

#[test]
fn sync_without_a_protocol_is_refused_where_it_must_be_told() {
    let mut node = Node::ready();
    let member = stable(&mut node);
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: member.generation_id,
        member_id: member.member_id,
        ..Default::default()
    };
    let response = synced(node.call(5, request));
    assert_eq!(
        response.error_code,
        ErrorCode::InconsistentGroupProtocol.code()
    );
}

#[test]
fn refused_join_names_no_protocol() {
    let mut node = Node::ready();
    for version in versions(ApiKey::JoinGroup) {
        let mut request = join_request(&Str::default());
        request.session_timeout_ms = 1;
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let response = joined(node.call(version, request));
        assert_eq!(response.error_code, ErrorCode::InvalidSessionTimeout.code());
        let expected = if version >= 7 { None } else { Some("") };
        assert_eq!(response.protocol_name.as_deref(), expected);
        assert_eq!(response.generation_id, -1);
    }
}
