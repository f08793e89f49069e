//! Finding, describing, listing and deleting groups.

use crate::membership::stable;
use crate::node::{Node, versions};
use crate::offsets::{commit, commit_request};
use plimsoll_wire::delete_groups::DeleteGroupsRequest;
use plimsoll_wire::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use plimsoll_wire::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use plimsoll_wire::list_groups::ListGroupsRequest;
use plimsoll_wire::offset_fetch::OffsetFetchRequest;
use plimsoll_wire::{ApiKey, ErrorCode, Response, Str};

fn find(node: &mut Node, version: i16, key_type: i8) -> FindCoordinatorResponse {
    let request = FindCoordinatorRequest {
        key: if version < 4 {
            "g".into()
        } else {
            Str::default()
        },
        key_type,
        coordinator_keys: if version < 4 {
            vec![]
        } else {
            vec!["g".into(), "h".into()]
        },
    };
    match node.call(version, request) {
        Response::FindCoordinator(found) => found,
        other => panic!("another response: {other:?}"),
    }
}

fn describe(node: &mut Node, version: i16, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest {
        groups: vec![group.into()],
        ..Default::default()
    };
    match node.call(version, request) {
        Response::DescribeGroups(mut described) => described.groups.remove(0),
        other => panic!("another response: {other:?}"),
    }
}

fn list(node: &mut Node, version: i16, states: &[&str], types: &[&str]) -> Vec<(String, String)> {
    let names = |list: &[&str]| list.iter().map(|name| Str::from(*name)).collect();
    let request = ListGroupsRequest {
        states_filter: names(states),
        types_filter: names(types),
    };
    match node.call(version, request) {
        Response::ListGroups(listed) => {
            assert_eq!(listed.error_code, 0);
            let row = |g: &plimsoll_wire::list_groups::ListedGroup| {
                (g.group_id.to_string(), g.protocol_type.to_string())
            };
            listed.groups.iter().map(row).collect()
        }
        other => panic!("another response: {other:?}"),
    }
}

#[test]
fn coordinator_is_this_node_in_every_version() {
    let mut node = Node::new();
    for version in versions(ApiKey::FindCoordinator) {
        let found = find(&mut node, version, 0);
        if version < 4 {
            assert_eq!((found.error_code, found.node_id, found.port), (0, 1, 9092));
            assert_eq!(found.host, "127.0.0.1");
        } else {
            let keys: Vec<_> = found
                .coordinators
                .iter()
                .map(|c| c.key.to_string())
                .collect();
            assert_eq!(keys, ["g", "h"]);
            assert!(
                found
                    .coordinators
                    .iter()
                    .all(|c| c.error_code == 0 && c.node_id == 1)
            );
        }
    }
}

#[test]
fn transactions_and_other_keys_have_no_coordinator() {
    let mut node = Node::new();
    let transactional = find(&mut node, 3, 1);
    assert_eq!(
        transactional.error_code,
        ErrorCode::TransactionalIdAuthorizationFailed.code()
    );
    let share = find(&mut node, 6, 2);
    let invalid = ErrorCode::InvalidRequest.code();
    assert!(
        share
            .coordinators
            .iter()
            .all(|c| c.error_code == invalid && c.node_id == -1)
    );
}

#[test]
fn group_requests_before_the_topic_exists_send_clients_to_find_it() {
    let mut node = Node::new();
    node.create_topic("orders");
    let code = commit(&mut node, 7, commit_request("orders", 0, 1));
    assert_eq!(code, ErrorCode::NotCoordinator.code());
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: None,
        ..Default::default()
    };
    let Response::OffsetFetch(fetched) = node.call(7, request) else {
        panic!("another response")
    };
    assert_eq!(fetched.error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(list(&mut node, 4, &[], &[]), []);
}

#[test]
fn offsets_topic_is_internal_compacted_and_synced() {
    let node = Node::ready();
    let topic = node
        .broker()
        .catalog()
        .topic("__consumer_offsets")
        .expect("created");
    assert_eq!(topic.partitions.len(), 4);
    let config = &topic.policy.config;
    assert!(config.cleanup.compact && !config.cleanup.delete);
    assert_eq!(
        config.durability,
        plimsoll_controller::config::Durability::Fsync
    );
}

#[test]
fn group_is_described_in_every_version() {
    let mut node = Node::ready();
    let member = stable(&mut node);
    for version in versions(ApiKey::DescribeGroups) {
        let group = describe(&mut node, version, "g");
        assert_eq!((group.error_code, &*group.group_state), (0, "Stable"));
        assert_eq!(
            (&*group.protocol_type, &*group.protocol_data),
            ("consumer", "range")
        );
        assert_eq!(group.authorized_operations, i32::MIN);
        let described = &group.members[0];
        assert_eq!(described.member_id, member.member_id);
        assert_eq!(
            (&*described.client_id, &*described.client_host),
            ("test", "/127.0.0.1")
        );
        assert_eq!(
            described.member_assignment,
            member.member_id.clone().into_bytes()
        );
        assert!(!described.member_metadata.is_empty());
    }
}

#[test]
fn operations_are_told_to_whom_asks() {
    let mut node = Node::ready();
    stable(&mut node);
    let request = DescribeGroupsRequest {
        groups: vec!["g".into()],
        include_authorized_operations: true,
    };
    let Response::DescribeGroups(described) = node.call(5, request) else {
        panic!("another response")
    };
    // Read, delete, describe, describe configs, alter configs.
    assert_eq!(described.groups[0].authorized_operations, 0b1101_0100_1000);
}

#[test]
fn unknown_group_is_dead_and_from_version_6_on_an_error() {
    let mut node = Node::ready();
    for version in versions(ApiKey::DescribeGroups) {
        let group = describe(&mut node, version, "nobody");
        let not_found = if version < 6 {
            0
        } else {
            ErrorCode::GroupIdNotFound.code()
        };
        assert_eq!((group.error_code, &*group.group_state), (not_found, "Dead"));
        assert_eq!(group.error_message.is_some(), version >= 6);
    }
}

#[test]
fn groups_are_listed_in_every_version_and_filtered_where_that_is_known() {
    let mut node = Node::ready();
    stable(&mut node);
    let mut simple = commit_request("orders", 0, 1);
    simple.group_id = "simple".into();
    assert_eq!(commit(&mut node, 7, simple), 0);
    let both = [
        ("g".to_owned(), "consumer".to_owned()),
        ("simple".to_owned(), String::new()),
    ];
    for version in versions(ApiKey::ListGroups) {
        let mut listed = list(&mut node, version, &[], &[]);
        listed.sort();
        assert_eq!(listed, both, "version {version}");
    }
    assert_eq!(list(&mut node, 4, &["stable"], &[]), both[..1]);
    assert_eq!(list(&mut node, 5, &["Empty"], &["Classic"]), both[1..]);
    assert_eq!(list(&mut node, 5, &[], &["share"]), []);
}

#[test]
fn group_without_members_is_deleted_with_its_offsets() {
    let mut node = Node::ready();
    stable(&mut node);
    let mut simple = commit_request("orders", 0, 1);
    simple.group_id = "simple".into();
    assert_eq!(commit(&mut node, 7, simple), 0);
    let groups_names = vec!["simple".into(), "g".into(), "nobody".into()];
    let request = DeleteGroupsRequest { groups_names };
    let Response::DeleteGroups(deleted) = node.call(2, request) else {
        panic!("another response")
    };
    let codes: Vec<i16> = deleted.results.iter().map(|r| r.error_code).collect();
    let (full, unknown) = (
        ErrorCode::NonEmptyGroup.code(),
        ErrorCode::GroupIdNotFound.code(),
    );
    assert_eq!(codes, [0, full, unknown]);
    let node = node.restart();
    assert_eq!(node.broker().groups().committed("simple"), Ok(Vec::new()));
    assert_eq!(node.broker().groups().stats().groups, 1);
}
