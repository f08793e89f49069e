//! A partition of the offsets topic that cannot be loaded.

use crate::node::Node;
use crate::offsets::{commit, commit_request};
use plimsoll_broker::{GroupError, Hosted};
use plimsoll_record_batch::{BatchBuilder, BatchHeader, Compression, RecordToWrite};
use plimsoll_segment_log::ToAppend;
use plimsoll_types::{Offset, Timestamp};
use plimsoll_wire::ErrorCode;
use std::time::Duration;

/// A record that no version of any broker wrote.
fn garbage() -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = RecordToWrite {
        timestamp: Timestamp::from_millis(0),
        key: Some(b"\0\x01garbage"),
        value: Some(b"?"),
        headers: &[],
    };
    builder.push(&record).expect("small");
    let bytes = builder.build(Offset::ZERO).expect("small");
    let header = BatchHeader::decode(&bytes).expect("just built");
    ToAppend { header, bytes }
}

/// Puts garbage into every partition but one.
fn spoil_all_but(node: &mut Node, spared: usize) {
    let topic = node.broker().catalog().topic("__consumer_offsets");
    let topic = topic.expect("a coordinator was looked for");
    for (index, hosted) in topic.partitions.iter().enumerate() {
        let Hosted::Online(partition) = hosted else {
            panic!("a partition is offline")
        };
        if index != spared {
            node.run(partition.append(garbage())).expect("appended");
        }
    }
}

#[test]
fn groups_of_a_damaged_partition_are_refused_and_those_of_others_served() {
    let mut node = Node::ready();
    spoil_all_but(&mut node, 0);
    let mut node = node.restart();
    let mut served = 0;
    let mut refused = 0;
    for n in 0..20 {
        let mut request = commit_request("orders", 0, 1);
        request.group_id = format!("group-{n}").into();
        match commit(&mut node, 7, request) {
            0 => served += 1,
            code => {
                assert_eq!(code, ErrorCode::CoordinatorNotAvailable.code());
                refused += 1;
            }
        }
    }
    assert!(
        served > 0 && refused > served,
        "{served} served, {refused} refused"
    );
    let (groups, failure) = node.broker().groups().list(&Default::default());
    assert_eq!(groups.len(), served);
    assert_eq!(failure, Some(GroupError::CoordinatorNotAvailable));
}

#[test]
fn damaged_partition_is_tried_again() {
    let mut node = Node::ready();
    spoil_all_but(&mut node, 0);
    let mut node = node.restart();
    // What damaged it goes, as if an operator had repaired it.
    let topic = node.broker().catalog().topic("__consumer_offsets");
    let topic = topic.expect("it is there");
    for hosted in &topic.partitions {
        if let Hosted::Online(partition) = hosted {
            partition.delete_records(None).expect("a repair");
        }
    }
    node.pass(Duration::from_secs(5));
    for n in 0..20 {
        let mut request = commit_request("orders", 0, 1);
        request.group_id = format!("group-{n}").into();
        assert_eq!(commit(&mut node, 7, request), 0);
    }
}
