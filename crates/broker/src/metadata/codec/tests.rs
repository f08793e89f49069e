//! Every record there and back, and bytes that are none.

use super::*;
use plimsoll_controller::{Assignment, ConfigResource, Drain, Listener};
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName};
use proptest::prelude::*;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("in range")
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).expect("legal")
}

fn assignment(leader: Option<NodeId>) -> Assignment {
    Assignment {
        replicas: vec![node(1), node(300)],
        isr: vec![node(1)],
        leader,
        leader_epoch: LeaderEpoch::new(7),
        partition_epoch: PartitionEpoch(9),
        ..Assignment::default()
    }
}

/// One of each kind, so made that they fit one another.
fn every_record() -> Vec<Record> {
    let id = TopicId::from_bytes(*b"0123456789abcdef");
    vec![
        Record::NodeRegistered {
            node: node(1),
            broker_epoch: BrokerEpoch(1),
            incarnation: [3; 16],
            dir_id: [4; 16],
            peer: "ünï.example:9093".into(),
            listeners: vec![Listener {
                name: "PLAINTEXT".into(),
                host: "ünï.example".into(),
                port: 9092,
            }],
            rack: Some("a".into()),
        },
        Record::TopicCreated {
            name: name("orders.v1"),
            id,
            partitions: vec![assignment(Some(node(1))), assignment(None)],
        },
        Record::PartitionsAdded {
            id,
            first: 2,
            partitions: vec![assignment(None)],
        },
        Record::PartitionChanged {
            id,
            partition: 1,
            state: Assignment {
                replicas: vec![node(300), node(1), node(2), node(3), node(4)],
                isr: vec![node(300), node(1)],
                elr: vec![node(2)],
                last_known_elr: vec![node(3)],
                adding: vec![node(3), node(4)],
                removing: vec![node(1)],
                leader: Some(node(300)),
                leader_epoch: LeaderEpoch::new(i32::MAX.unsigned_abs()),
                partition_epoch: PartitionEpoch(u32::MAX),
                unclean_epoch: Some(LeaderEpoch::new(3)),
                recovering: true,
            },
        },
        Record::NodeStateSet {
            node: node(1),
            fenced: false,
            drain: Drain {
                stopping: false,
                kept: true,
            },
        },
        Record::ConfigSet {
            resource: ConfigResource::Topic(name("orders.v1")),
            key: "retention.ms".into(),
            value: "-1".into(),
        },
        Record::ConfigSet {
            resource: ConfigResource::Node(node(1)),
            key: "log.retention.ms".into(),
            value: "5".into(),
        },
        Record::ConfigSet {
            resource: ConfigResource::EveryNode,
            key: "log.retention.ms".into(),
            value: "6".into(),
        },
        Record::ProducerIdsReserved { next: u64::MAX },
    ]
}

fn image() -> Image {
    let mut image = Image::default();
    for record in every_record() {
        image.apply(&record).expect("the records fit one another");
    }
    image
}

#[test]
fn records_come_back_as_they_were() {
    let mut records = every_record();
    records.push(Record::TopicDeleted {
        id: TopicId::from_bytes([9; 16]),
    });
    records.push(Record::ConfigUnset {
        resource: ConfigResource::EveryNode,
        key: "k".into(),
    });
    records.push(Record::NodeRemoved { node: node(1) });
    assert_eq!(decode(&encode(&records)), Ok(records));
    assert_eq!(decode(&encode(&[])), Ok(vec![]));
}

#[test]
fn an_image_comes_back_as_it_was() {
    let image = image();
    let last = LastChanges::from([(node(1), (u64::MAX, 7)), (node(2), (3, 9))]);
    let snapshot = encode_snapshot(&image, &last);
    assert_eq!(decode_snapshot(&snapshot), Ok((image.clone(), last)));
    // One of before the changes were kept in it.
    let bare = encode_snapshot(&image, &LastChanges::default());
    let (none, bare) = bare.split_last().expect("a count");
    assert_eq!(*none, 0);
    assert_eq!(decode_snapshot(bare), Ok((image, LastChanges::default())));
}

#[test]
fn the_bytes_of_version_2_stay_what_they_are() {
    let entry = encode(&every_record()[5..6]);
    let expected = b"\x02\x01\x05\x1b\x00\x09orders.v1\x0cretention.ms\x02-1";
    assert_eq!(entry.as_ref(), expected);
}

#[test]
fn whatever_another_program_wrote_is_an_error() {
    assert_eq!(decode(&[1, 0]), Err(CodecError::Version { version: 1 }));
    assert_eq!(
        decode(&[2, 1, 99, 0]),
        Err(CodecError::UnknownRecord { tag: 99 })
    );
    let longer = [2, 1, 7, 2, 5, 5];
    assert_eq!(
        decode(&longer),
        Err(CodecError::Trailing {
            bytes: 1,
            what: "a record"
        })
    );
    let after = [2, 1, 7, 1, 5, 5];
    assert_eq!(
        decode(&after),
        Err(CodecError::Trailing {
            bytes: 1,
            what: "the entry"
        })
    );
}

#[test]
fn every_prefix_of_an_entry_is_an_error() {
    let entry = encode(&every_record());
    for length in 0..entry.len() {
        assert!(decode(&entry[..length]).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(
        at in 0_usize..400, with in any::<u8>(), random in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut flipped = encode(&every_record()).to_vec();
        let at = at % flipped.len();
        flipped[at] = with;
        for bytes in [flipped, random] {
            if let Ok(records) = decode(&bytes) {
                prop_assert_eq!(encode(&records), &bytes[..]);
            }
            let _ = decode_snapshot(&bytes);
        }
    }
}
