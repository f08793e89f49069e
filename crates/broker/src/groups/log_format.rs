//! Groups and offsets as records of `__consumer_offsets`, in Kafka's own format.
//!
//! Written as Kafka 3 and 4 write them by default (offsets in version 3, or 1 where a client asked
//! for a retention of its own; groups in version 3), read in every version Kafka ever wrote.
//! Knows no batches and no partitions.

use bytes::Bytes;
use plimsoll_group_coordinator::{Blob, CommittedOffset, GroupSnapshot, LogRecord, MemberSnapshot};
use plimsoll_types::{LeaderEpoch, Timestamp, TopicName};
use plimsoll_wire::internal::{
    self, GroupMetadataKey, GroupMetadataValue, Key, MemberMetadata, OffsetCommitKey,
    OffsetCommitValue,
};
use plimsoll_wire::{Malformed, Str};
use std::time::Duration;

use super::convert::{bytes, millis, str_of, subscribed_topics, text};

const OFFSET_KEY_VERSION: i16 = 1;
const OFFSET_VALUE_VERSION: i16 = 3;
/// The one version that knows when an offset is to end.
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const GROUP_VALUE_VERSION: i16 = 3;

/// A record that is none of a group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FormatError {
    /// It has no key.
    #[error("a record without a key")]
    NoKey,
    /// Key or value cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A number is not one that the field can have.
    #[error("{field} is {value}")]
    Range {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: i64,
    },
    /// The topic's name is not legal.
    #[error(transparent)]
    Topic(#[from] plimsoll_types::InvalidTopicName),
}

/// Key and value of a record; without a value it is a tombstone.
pub(super) fn encode(record: &LogRecord) -> (Bytes, Option<Bytes>) {
    match record {
        LogRecord::Group { group, value } => {
            let key = GroupMetadataKey {
                group: str_of(group),
            };
            let value = value.as_ref().map(encode_group);
            (internal::encode(GROUP_KEY_VERSION, &key), value)
        }
        LogRecord::Offset {
            group,
            topic,
            partition,
            value,
        } => {
            let key = OffsetCommitKey {
                group: str_of(group),
                topic: topic.as_str().into(),
                partition: i32::try_from(*partition).unwrap_or(i32::MAX),
            };
            let value = value.as_ref().map(encode_offset);
            (internal::encode(OFFSET_KEY_VERSION, &key), value)
        }
    }
}

fn encode_offset(offset: &CommittedOffset) -> Bytes {
    let version = match offset.expires_at {
        Some(_) => EXPIRING_OFFSET_VALUE_VERSION,
        None => OFFSET_VALUE_VERSION,
    };
    let value = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch.map_or(-1, LeaderEpoch::to_wire),
        metadata: str_of(&offset.metadata),
        commit_timestamp: offset.committed_at.as_millis(),
        expire_timestamp: offset.expires_at.map_or(-1, Timestamp::as_millis),
    };
    internal::encode(version, &value)
}

fn encode_group(group: &GroupSnapshot) -> Bytes {
    let member = |m: &MemberSnapshot| MemberMetadata {
        member_id: str_of(&m.member),
        group_instance_id: m.instance.as_ref().map(str_of),
        client_id: str_of(&m.client_id),
        client_host: str_of(&m.client_host),
        rebalance_timeout: millis(m.rebalance_timeout),
        session_timeout: millis(m.session_timeout),
        subscription: bytes(&m.subscription),
        assignment: bytes(&m.assignment),
    };
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.as_ref().map(str_of).unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.as_ref().map(str_of),
        leader: group.leader.as_ref().map(str_of),
        current_state_timestamp: group.state_since.unwrap_or(Timestamp::NONE).as_millis(),
        members: group.members.iter().map(member).collect(),
    };
    internal::encode(GROUP_VALUE_VERSION, &value)
}

/// What a record says; none if it is of a kind that other brokers write and we do not need.
pub(super) fn decode(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Option<LogRecord>, FormatError> {
    let key = Bytes::copy_from_slice(key.ok_or(FormatError::NoKey)?);
    let value = value.map(Bytes::copy_from_slice);
    let record = match Key::decode(&key)? {
        Key::Offset(key) => LogRecord::Offset {
            group: text(&key.group),
            topic: TopicName::new(&key.topic)?,
            partition: u32::try_from(key.partition).map_err(|_| FormatError::Range {
                field: "the partition",
                value: key.partition.into(),
            })?,
            value: value.as_ref().map(decode_offset).transpose()?,
        },
        Key::Group(key) => LogRecord::Group {
            group: text(&key.group),
            value: value.as_ref().map(decode_group).transpose()?,
        },
        _ => return Ok(None),
    };
    Ok(Some(record))
}

fn decode_offset(value: &Bytes) -> Result<CommittedOffset, FormatError> {
    let value: OffsetCommitValue = internal::decode(value)?;
    let expires_at = Timestamp::from_millis(value.expire_timestamp);
    Ok(CommittedOffset {
        offset: value.offset,
        leader_epoch: LeaderEpoch::from_wire(value.leader_epoch),
        metadata: text(&value.metadata),
        committed_at: Timestamp::from_millis(value.commit_timestamp),
        expires_at: Some(expires_at).filter(|at| *at != Timestamp::NONE),
    })
}

fn decode_group(value: &Bytes) -> Result<GroupSnapshot, FormatError> {
    let value: GroupMetadataValue = internal::decode(value)?;
    let known = |text: &Str| !text.is_empty();
    let since = Timestamp::from_millis(value.current_state_timestamp);
    let consumers = value.protocol_type == plimsoll_wire::consumer::PROTOCOL_TYPE;
    Ok(GroupSnapshot {
        protocol_type: Some(value.protocol_type).filter(known).as_ref().map(text),
        generation: value.generation,
        protocol: value.protocol.filter(known).as_ref().map(text),
        leader: value.leader.filter(known).as_ref().map(text),
        state_since: Some(since).filter(|at| *at != Timestamp::NONE),
        members: value
            .members
            .iter()
            .map(|m| decode_member(m, consumers))
            .collect(),
    })
}

fn decode_member(member: &MemberMetadata, consumer: bool) -> MemberSnapshot {
    let duration = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let session_timeout = duration(member.session_timeout);
    let rebalance_timeout = duration(member.rebalance_timeout);
    MemberSnapshot {
        member: text(&member.member_id),
        instance: member.group_instance_id.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        // The first version did not know it; then the session timeout was meant.
        rebalance_timeout: if rebalance_timeout.is_zero() {
            session_timeout
        } else {
            rebalance_timeout
        },
        session_timeout,
        subscription: Blob::from(&*member.subscription),
        topics: if consumer {
            subscribed_topics(&member.subscription)
        } else {
            None
        },
        assignment: Blob::from(&*member.assignment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_wire::consumer::ConsumerProtocolSubscription;

    fn round_trip(record: &LogRecord) -> LogRecord {
        let (key, value) = encode(record);
        decode(Some(&key), value.as_deref())
            .expect("what was written can be read")
            .expect("known")
    }

    fn offset(expires_at: Option<Timestamp>) -> LogRecord {
        LogRecord::Offset {
            group: "g".into(),
            topic: TopicName::new("orders").expect("legal"),
            partition: 7,
            value: Some(CommittedOffset {
                offset: 1 << 40,
                leader_epoch: Some(LeaderEpoch::new(3)),
                metadata: "wie weit".into(),
                committed_at: Timestamp::from_millis(1_700_000_000_000),
                expires_at,
            }),
        }
    }

    fn group() -> LogRecord {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["orders".into()],
            ..Default::default()
        };
        let member = MemberSnapshot {
            member: "m-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: Duration::from_secs(300),
            session_timeout: Duration::from_secs(45),
            subscription: Blob::from(&*subscription.to_member(1)),
            topics: Some(vec!["orders".into()]),
            assignment: Blob::from(&b"assigned"[..]),
        };
        LogRecord::Group {
            group: "g".into(),
            value: Some(GroupSnapshot {
                protocol_type: Some("consumer".into()),
                generation: 9,
                protocol: Some("range".into()),
                leader: Some("m-1".into()),
                state_since: Some(Timestamp::from_millis(5)),
                members: vec![member],
            }),
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for record in [group(), offset(None)] {
            assert_eq!(round_trip(&record), record);
        }
    }

    #[test]
    fn offset_with_an_end_loses_its_epoch_as_in_kafka() {
        let LogRecord::Offset {
            value: Some(value), ..
        } = round_trip(&offset(Some(Timestamp::from_millis(9))))
        else {
            panic!("an offset")
        };
        assert_eq!(value.expires_at, Some(Timestamp::from_millis(9)));
        assert_eq!(value.leader_epoch, None);
    }

    #[test]
    fn tombstones_keep_their_key() {
        let of_group = LogRecord::Group {
            group: "g".into(),
            value: None,
        };
        let topic = TopicName::new("orders").expect("legal");
        let of_offset = LogRecord::Offset {
            group: "g".into(),
            topic,
            partition: 0,
            value: None,
        };
        for record in [of_group, of_offset] {
            assert_eq!(encode(&record).1, None);
            assert_eq!(round_trip(&record), record);
        }
    }

    #[test]
    fn empty_group_without_members_has_no_protocol() {
        let record = LogRecord::Group {
            group: "g".into(),
            value: Some(GroupSnapshot {
                protocol_type: Some("consumer".into()),
                generation: 10,
                protocol: None,
                leader: None,
                state_since: None,
                members: Vec::new(),
            }),
        };
        assert_eq!(round_trip(&record), record);
    }

    #[test]
    fn bytes_are_those_of_kafka() {
        // Key version 1, "g", "t", partition 2; value version 3, offset 5, no epoch, "", 6.
        let record = LogRecord::Offset {
            group: "g".into(),
            topic: TopicName::new("t").expect("legal"),
            partition: 2,
            value: Some(CommittedOffset {
                offset: 5,
                leader_epoch: None,
                metadata: "".into(),
                committed_at: Timestamp::from_millis(6),
                expires_at: None,
            }),
        };
        let (key, value) = encode(&record);
        assert_eq!(&*key, b"\0\x01\0\x01g\0\x01t\0\0\0\x02");
        let expected = b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x06";
        assert_eq!(value.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn records_of_other_kinds_are_passed_over() {
        assert!(matches!(decode(Some(b"\0\x63rest"), None), Ok(None)));
    }

    #[test]
    fn damaged_records_are_told() {
        assert!(matches!(decode(None, None), Err(FormatError::NoKey)));
        let (key, value) = encode(&offset(None));
        assert!(decode(Some(&key[..3]), None).is_err());
        assert!(decode(Some(&key), value.as_deref().map(|v| &v[..5])).is_err());
        assert!(
            decode(Some(&key), Some(b"\0\x63")).is_err(),
            "a version that is not known"
        );
    }
}
