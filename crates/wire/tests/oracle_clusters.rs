//! The messages that administer a cluster, against another implementation.
//!
//! They are stated, and not yet in the list of APIs served: so their bodies are compared alone.

mod common;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use common::generate;
use common::shape::{Shape, assert_alike};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use plimsoll_wire::{
    Message, alter_partition_reassignments as alter, decode, describe_quorum as quorum,
    elect_leaders as elect, encode, list_partition_reassignments as list,
    unregister_broker as unregister,
};
use proptest::prelude::*;

fn agree<Ours, Theirs>(choices: &[u8])
where
    Ours: Message,
    Theirs: Decodable + Encodable + Debug,
{
    for version in Ours::VERSIONS {
        let context = format!("{} v{version}", Ours::SCHEMA.name);
        let flexible = Ours::FLEXIBLE_FROM.is_some_and(|from| version >= from);
        let body = Bytes::from(generate::message(&Ours::SCHEMA, version, flexible, choices));
        let ours: Ours = decode(version, &body).expect("well-formed");
        assert_eq!(encode(version, &ours).concat(), body, "ours, {context}");
        let mut rest = body.clone();
        let theirs = Theirs::decode(&mut rest, version).expect("the oracle reads it");
        assert!(rest.is_empty(), "the oracle reads all of it, {context}");
        let mut out = BytesMut::new();
        theirs
            .encode(&mut out, version)
            .expect("the oracle writes it");
        assert_eq!(out.freeze(), body, "theirs, {context}");
        let is_beyond = |_: &str, field: &str| field == "unknown_tagged_fields";
        assert_alike(&Shape::of(&ours), &Shape::of(&theirs), &is_beyond, &context);
    }
}

fn all_agree(choices: &[u8]) {
    agree::<elect::ElectLeadersRequest, theirs::ElectLeadersRequest>(choices);
    agree::<elect::ElectLeadersResponse, theirs::ElectLeadersResponse>(choices);
    agree::<alter::AlterPartitionReassignmentsRequest, theirs::AlterPartitionReassignmentsRequest>(
        choices,
    );
    agree::<alter::AlterPartitionReassignmentsResponse, theirs::AlterPartitionReassignmentsResponse>(
        choices,
    );
    agree::<list::ListPartitionReassignmentsRequest, theirs::ListPartitionReassignmentsRequest>(
        choices,
    );
    agree::<list::ListPartitionReassignmentsResponse, theirs::ListPartitionReassignmentsResponse>(
        choices,
    );
    agree::<quorum::DescribeQuorumRequest, theirs::DescribeQuorumRequest>(choices);
    agree::<quorum::DescribeQuorumResponse, theirs::DescribeQuorumResponse>(choices);
    agree::<unregister::UnregisterBrokerRequest, theirs::UnregisterBrokerRequest>(choices);
    agree::<unregister::UnregisterBrokerResponse, theirs::UnregisterBrokerResponse>(choices);
}

proptest! {
    #[test]
    fn every_version_agrees_with_the_oracle(
        choices in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        all_agree(&choices);
    }
}

#[test]
fn defaults_agree_with_the_oracle() {
    all_agree(&[]);
}
