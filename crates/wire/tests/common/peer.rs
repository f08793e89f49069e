//! Frames of the peer protocol, made up by proptest.

use bytes::Bytes;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionKey, TopicId};
use plimsoll_wire::Records;
use plimsoll_wire::peer::{
    Ack, Acks, Append, Attach, Attached, Detach, DigestReply, DigestRequest, Disk, EpochStart,
    FailureCode, Heartbeat, HeartbeatReply, Identity, LogInfo, Mark, Marks, Nack, NackReason,
    Refused, RefusedReason, Reply, Request, Reset, Revoke, StreamFrame,
};
use proptest::option::of;
use proptest::prelude::*;

pub(crate) fn id(id: u32) -> NodeId {
    NodeId::new(id).expect("small")
}

pub(crate) fn key(index: u32) -> PartitionKey {
    PartitionKey {
        topic: TopicId::from_bytes([index.to_le_bytes()[0]; 16]),
        index,
    }
}

fn node() -> impl Strategy<Value = NodeId> {
    (0..=1000_u32).prop_map(id)
}

fn keys() -> impl Strategy<Value = PartitionKey> {
    any::<u32>().prop_map(key)
}

fn offset() -> impl Strategy<Value = Offset> {
    (0..=i64::MAX).prop_map(|value| Offset::from_wire(value).expect("not negative"))
}

fn epoch() -> impl Strategy<Value = LeaderEpoch> {
    (0..=i32::MAX).prop_map(|value| LeaderEpoch::from_wire(value).expect("not negative"))
}

fn uptime() -> impl Strategy<Value = BrokerEpoch> {
    any::<u64>().prop_map(BrokerEpoch)
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé ]{0,20}"
}

fn list<T: Strategy>(element: T) -> impl Strategy<Value = Vec<T::Value>> {
    prop::collection::vec(element, 0..4)
}

fn epochs() -> impl Strategy<Value = Vec<EpochStart>> {
    list((epoch(), offset()).prop_map(|(epoch, start)| EpochStart { epoch, start }))
}

fn disk() -> impl Strategy<Value = Disk> {
    prop_oneof![
        Just(Disk::Healthy),
        any::<u32>().prop_map(|ms| Disk::Slow { ms }),
        Just(Disk::Full),
        Just(Disk::Failed),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let heartbeat = (
        (node(), uptime(), any::<u64>(), any::<bool>(), disk()),
        (list(keys()), list(node())),
    )
        .prop_map(
            |((node, broker_epoch, applied_version, drain, disk), (offline, suspects))| {
                Request::Heartbeat(Heartbeat {
                    node,
                    broker_epoch,
                    applied_version,
                    drain,
                    disk,
                    offline,
                    suspects,
                })
            },
        );
    let digest = (keys(), epoch(), offset(), offset()).prop_map(|(key, leader_epoch, from, to)| {
        Request::Digest(DigestRequest {
            key,
            leader_epoch,
            from,
            to,
        })
    });
    prop_oneof![
        Just(Request::Identify),
        Just(Request::Probe),
        payload().prop_map(Request::Quorum),
        heartbeat,
        list(keys()).prop_map(Request::LogInfo),
        digest,
        payload().prop_map(Request::Query),
    ]
}

fn log_info() -> impl Strategy<Value = LogInfo> {
    (
        keys(),
        of(epoch()),
        offset(),
        offset(),
        offset(),
        offset(),
        any::<bool>(),
    )
        .prop_map(
            |(key, last_epoch, log_start, log_end, durable_end, high_watermark, trusted)| LogInfo {
                key,
                last_epoch,
                log_start,
                log_end,
                durable_end,
                high_watermark,
                trusted,
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    let identity =
        (of(text()), node(), any::<bool>()).prop_map(|(cluster_id, node, has_metadata)| {
            Reply::Identity(Identity {
                cluster_id,
                node,
                has_metadata,
            })
        });
    let heartbeat = (any::<[bool; 4]>(), of(node()), any::<u64>()).prop_map(
        |([controller, fenced, drained, stale_epoch], leader, version)| {
            Reply::Heartbeat(HeartbeatReply {
                controller,
                leader,
                fenced,
                drained,
                stale_epoch,
                version,
            })
        },
    );
    let digest = (offset(), offset(), of(any::<u64>()))
        .prop_map(|(from, to, digest)| Reply::Digest(DigestReply { from, to, digest }));
    let code = prop::sample::select(vec![
        FailureCode::NotReady,
        FailureCode::Unsupported,
        FailureCode::UnknownPartition,
        FailureCode::NotLeader,
        FailureCode::Storage,
        FailureCode::Busy,
        FailureCode::Malformed,
        FailureCode::Internal,
    ]);
    prop_oneof![
        identity,
        Just(Reply::Alive),
        payload().prop_map(Reply::Quorum),
        heartbeat,
        list(log_info()).prop_map(Reply::LogInfo),
        digest,
        payload().prop_map(Reply::Query),
        (code, text()).prop_map(|(code, message)| Reply::failed(code, message)),
    ]
}

fn attach() -> impl Strategy<Value = StreamFrame> {
    (
        (
            keys(),
            epoch(),
            uptime(),
            epochs(),
            any::<bool>(),
            any::<u32>(),
        ),
        [offset(), offset(), offset(), offset()],
    )
        .prop_map(
            |(
                (key, leader_epoch, broker_epoch, epochs, more, window),
                [log_start, log_end, durable_end, high_watermark],
            )| {
                StreamFrame::Attach(Attach {
                    key,
                    leader_epoch,
                    broker_epoch,
                    log_start,
                    log_end,
                    durable_end,
                    high_watermark,
                    epochs,
                    more,
                    window,
                })
            },
        )
}

fn attached() -> impl Strategy<Value = StreamFrame> {
    (
        (
            keys(),
            any::<u64>(),
            epoch(),
            of(offset()),
            epochs(),
            of(epoch()),
        ),
        [offset(), offset(), offset()],
    )
        .prop_map(
            |(
                (key, session, leader_epoch, truncate_to, epochs, unclean_epoch),
                [log_start, high_watermark, log_end],
            )| {
                StreamFrame::Attached(Attached {
                    key,
                    session,
                    leader_epoch,
                    truncate_to,
                    log_start,
                    high_watermark,
                    log_end,
                    epochs,
                    unclean_epoch,
                })
            },
        )
}

fn reset() -> impl Strategy<Value = StreamFrame> {
    (
        (keys(), any::<u64>(), epoch(), epochs()),
        [offset(), offset(), offset()],
    )
        .prop_map(
            |((key, session, leader_epoch, epochs), [start, log_start, high_watermark])| {
                StreamFrame::Reset(Reset {
                    key,
                    session,
                    leader_epoch,
                    start,
                    log_start,
                    high_watermark,
                    epochs,
                })
            },
        )
}

fn append() -> impl Strategy<Value = StreamFrame> {
    let chunks = prop::collection::vec(payload(), 0..3).prop_map(|mut chunks| {
        chunks.push(Bytes::from_static(b"x"));
        chunks
    });
    let offsets = [offset(), offset(), offset(), offset()];
    let places = (0..9_u32, 0..9_u32, any::<u32>());
    (any::<[u64; 2]>(), offsets, places, chunks).prop_map(
        |([session, seq], [from, high_watermark, log_start, log_end], places, chunks)| {
            let (at, after, seal) = places;
            let records = Records::from(chunks);
            StreamFrame::Append(Append {
                session,
                seq,
                from,
                high_watermark,
                log_start,
                log_end,
                total: at + after + u32::try_from(records.len()).expect("small"),
                at,
                seal,
                records,
            })
        },
    )
}

fn refused() -> impl Strategy<Value = StreamFrame> {
    let reason = prop_oneof![
        of(node()).prop_map(|leader| RefusedReason::NotLeader { leader }),
        epoch().prop_map(|current| RefusedReason::FencedEpoch { current }),
        Just(RefusedReason::UnknownEpoch),
        Just(RefusedReason::NotAReplica),
        Just(RefusedReason::StaleBrokerEpoch),
        Just(RefusedReason::Storage),
        any::<u32>().prop_map(|ms| RefusedReason::Throttled { ms }),
        Just(RefusedReason::LostLog),
    ];
    (keys(), epoch(), reason).prop_map(|(key, leader_epoch, reason)| {
        StreamFrame::Refused(Refused {
            key,
            leader_epoch,
            reason,
        })
    })
}

fn nack() -> impl Strategy<Value = StreamFrame> {
    let reason = prop_oneof![
        offset().prop_map(|at| NackReason::Corrupt { at }),
        offset().prop_map(|expected| NackReason::Gap { expected }),
        Just(NackReason::DiskFull),
        Just(NackReason::IoError),
        Just(NackReason::EpochRegression),
    ];
    (any::<u64>(), reason).prop_map(|(session, reason)| StreamFrame::Nack(Nack { session, reason }))
}

fn stream() -> impl Strategy<Value = StreamFrame> {
    let offsets = || [offset(), offset(), offset()];
    let ack =
        (any::<u64>(), offsets()).prop_map(|(session, [log_end, durable_end, log_start])| Ack {
            session,
            log_end,
            durable_end,
            log_start,
        });
    let mark =
        (any::<u64>(), offsets()).prop_map(|(session, [high_watermark, log_start, log_end])| {
            Mark {
                session,
                high_watermark,
                log_start,
                log_end,
            }
        });
    prop_oneof![
        attach(),
        (any::<u64>(), list(ack)).prop_map(|(echo, acks)| StreamFrame::Acks(Acks { echo, acks })),
        nack(),
        (keys(), any::<u64>())
            .prop_map(|(key, session)| StreamFrame::Detach(Detach { key, session })),
        (keys(), any::<u64>(), any::<bool>()).prop_map(|(key, session, counts)| {
            StreamFrame::Revoke(Revoke {
                key,
                session,
                counts,
            })
        }),
        attached(),
        refused(),
        append(),
        reset(),
        (any::<u64>(), list(mark))
            .prop_map(|(seq, marks)| StreamFrame::Marks(Marks { seq, marks })),
    ]
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Request(Request),
    Reply(Reply),
    Stream(StreamFrame),
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        request().prop_map(Message::Request),
        reply().prop_map(Message::Reply),
        stream().prop_map(Message::Stream),
    ]
}
