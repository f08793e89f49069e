//! What travels inside other messages and in records: the consumer protocol and the formats of
//! `__consumer_offsets`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable};
use plimsoll_wire::consumer::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use plimsoll_wire::internal::{
    self, GroupMetadataKey, GroupMetadataValue, Key, MemberMetadata, OffsetCommitKey,
    OffsetCommitValue,
};
use plimsoll_wire::{Message, Reason};

fn partitions() -> Vec<TopicPartition> {
    vec![
        TopicPartition {
            topic: "a".into(),
            partitions: vec![0, 2],
        },
        TopicPartition {
            topic: "b".into(),
            partitions: vec![],
        },
    ]
}

/// The bytes after the version, through the oracle.
fn reencoded<M: Decodable + Encodable>(bytes: &Bytes, version: i16) -> Bytes {
    let mut rest = bytes.slice(2..);
    let message = M::decode(&mut rest, version).expect("the oracle reads it");
    assert!(rest.is_empty(), "all of it");
    let mut out = BytesMut::new();
    out.put_i16(version);
    message
        .encode(&mut out, version)
        .expect("the oracle writes it");
    out.freeze()
}

#[test]
fn subscriptions_agree_with_the_oracle_in_every_version() {
    let full = ConsumerProtocolSubscription {
        topics: vec!["a".into(), "b".into()],
        user_data: Some(Bytes::from_static(b"sticky")),
        owned_partitions: partitions(),
        generation_id: 7,
        rack_id: Some("r".into()),
    };
    for version in ConsumerProtocolSubscription::VERSIONS {
        let bytes = full.to_member(version);
        assert_eq!(
            reencoded::<oracle::ConsumerProtocolSubscription>(&bytes, version),
            bytes
        );
        let read = ConsumerProtocolSubscription::from_member(&bytes).expect("well-formed");
        assert_eq!(read.to_member(version), bytes);
        assert_eq!(
            read == full,
            version == 3,
            "only the last version has all fields"
        );
    }
}

#[test]
fn assignments_agree_with_the_oracle_in_every_version() {
    let full = ConsumerProtocolAssignment {
        assigned_partitions: partitions(),
        user_data: None,
    };
    for version in ConsumerProtocolAssignment::VERSIONS {
        let bytes = full.to_member(version);
        assert_eq!(
            reencoded::<oracle::ConsumerProtocolAssignment>(&bytes, version),
            bytes
        );
        assert_eq!(
            ConsumerProtocolAssignment::from_member(&bytes).as_ref(),
            Ok(&full)
        );
    }
}

#[test]
fn an_offset_is_laid_out_as_kafka_lays_it_out() {
    let key = OffsetCommitKey {
        group: "g".into(),
        topic: "t".into(),
        partition: 3,
    };
    let bytes = internal::encode(1, &key);
    assert_eq!(bytes, b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03"[..]);
    assert_eq!(Key::decode(&bytes), Ok(Key::Offset(key)));
    let value = OffsetCommitValue {
        offset: 42,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_timestamp: 1,
        ..Default::default()
    };
    let bytes = internal::encode(3, &value);
    let expected = b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x05\x00\x01m\
        \x00\x00\x00\x00\x00\x00\x00\x01";
    assert_eq!(bytes, expected[..]);
    assert_eq!(internal::decode(&bytes), Ok(value));
}

#[test]
fn a_group_is_laid_out_as_kafka_lays_it_out() {
    let key = GroupMetadataKey { group: "g".into() };
    let bytes = internal::encode(2, &key);
    assert_eq!(bytes, b"\x00\x02\x00\x01g"[..]);
    assert_eq!(Key::decode(&bytes), Ok(Key::Group(key)));
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 1,
        protocol: None,
        leader: Some("m".into()),
        current_state_timestamp: 2,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: 3,
            session_timeout: 4,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b""),
        }],
    };
    let bytes = internal::encode(3, &value);
    let expected = b"\x00\x03\x00\x08consumer\x00\x00\x00\x01\xff\xff\x00\x01m\
        \x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01\
        \x00\x01m\xff\xff\x00\x01c\x00\x02/h\x00\x00\x00\x03\x00\x00\x00\x04\
        \x00\x00\x00\x01s\x00\x00\x00\x00";
    assert_eq!(bytes, expected[..]);
    for version in GroupMetadataValue::VERSIONS {
        let read: GroupMetadataValue =
            internal::decode(&internal::encode(version, &value)).expect("well-formed");
        assert_eq!(
            read == value,
            version >= 2,
            "older versions have fewer fields"
        );
    }
}

#[test]
fn keys_of_other_kinds_are_passed_over_and_values_of_other_versions_refused() {
    let key = Bytes::from_static(b"\x00\x09whatever");
    assert_eq!(Key::decode(&key), Ok(Key::Unknown { version: 9 }));
    let value = internal::decode::<OffsetCommitValue>(&key).expect_err("no such version");
    assert_eq!(value.reason, Reason::Version { version: 9 });
}
