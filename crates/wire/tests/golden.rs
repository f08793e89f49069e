//! Frames written down by hand, byte by byte, as clients and brokers send them.
//!
//! The oracle could share a misreading with us; these were read off the protocol's description
//! and off what librdkafka puts on the wire.

use bytes::Bytes;
use plimsoll_types::TopicId;
use plimsoll_wire::api_versions::{ApiVersion, ApiVersionsResponse, SupportedFeatureKey};
use plimsoll_wire::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use plimsoll_wire::metadata::MetadataRequest;
use plimsoll_wire::{
    ApiKey, ErrorCode, Records, Request, RequestError, RequestHeader, Response, decode_request,
    decode_response, encode_request, encode_response,
};

/// Joins the parts that a frame is written down in.
fn frame(parts: &[&[u8]]) -> Bytes {
    Bytes::from(parts.concat())
}

/// Reads a request and shows that writing it gives the same bytes, and its size before them.
fn exact(frame: &Bytes) -> (RequestHeader, Request) {
    let (header, request) = decode_request(frame.clone()).expect("well-formed");
    let client_id = header.client_id.as_deref();
    let encoded = encode_request(
        header.api_version,
        header.correlation_id,
        client_id,
        &request,
    );
    let mut size_and_frame = u32::try_from(frame.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    size_and_frame.extend_from_slice(frame);
    assert_eq!(encoded.concat(), size_and_frame);
    (header, request)
}

fn to(api: ApiKey, api_version: i16) -> RequestHeader {
    RequestHeader {
        api_key: api.code(),
        api_version,
        correlation_id: 1,
        client_id: None,
    }
}

#[test]
fn librdkafka_opens_with_api_versions_3() {
    let (header, request) = exact(&frame(&[
        b"\x00\x12\x00\x03\x00\x00\x00\x01", // ApiVersions 3, correlation id 1
        b"\x00\x07rdkafka",                  // the client id has a two-byte length even here
        b"\x00",                             // no tagged fields of the header
        b"\x0blibrdkafka",                   // compact: one more than the length
        b"\x072.15.0",
        b"\x00", // no tagged fields of the body
    ]));
    assert_eq!(header.client_id.as_deref(), Some("rdkafka"));
    let Request::ApiVersions(request) = request else {
        panic!("{request:?}")
    };
    assert_eq!(request.client_software_name, "librdkafka");
    assert_eq!(request.client_software_version, "2.15.0");
}

#[test]
fn an_api_versions_request_from_the_future_is_told_from_other_unsupported_requests() {
    let future = frame(&[
        b"\x00\x12\x00\x63\x00\x00\x00\x05",
        b"whatever its header holds",
    ]);
    let error = decode_request(future).expect_err("not served");
    let RequestError::ApiVersionsUnsupported { asked: 99, header } = error else {
        panic!("{error:?}")
    };
    let answer = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion {
            api_key: 18,
            min_version: 0,
            max_version: 4,
        }],
        ..Default::default()
    };
    let encoded = encode_response(&header, &answer.clone().into()).concat();
    let expected = frame(&[
        b"\x00\x00\x00\x10\x00\x00\x00\x05", // 16 bytes, correlation id 5
        b"\x00\x23",                         // error 35
        b"\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04",
    ]);
    assert_eq!(encoded, expected);
    // A client that asked in version 4 reads it all the same.
    let read = decode_response(ApiKey::ApiVersions, 4, encoded.slice(4..)).expect("well-formed");
    assert_eq!(read, (5, answer.into()));
}

#[test]
fn other_unsupported_requests_say_which() {
    for (bytes, api_key, version) in [
        (b"\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff", 0, 2), // Produce 2 is advertised only
        (b"\x00\x00\x00\x0e\x00\x00\x00\x01\xff\xff", 0, 14),
        (b"\x00\x16\x00\x06\x00\x00\x00\x01\xff\xff", 22, 6), // InitProducerId 6 is unstable
        (b"\x00\x04\x00\x00\x00\x00\x00\x01\xff\xff", 4, 0),
        (b"\xff\xff\x00\x00\x00\x00\x00\x01\xff\xff", -1, 0),
        (b"\x00\x03\xff\xff\x00\x00\x00\x01\xff\xff", 3, -1),
    ] {
        let error = decode_request(Bytes::from_static(bytes)).expect_err("not served");
        assert_eq!(error, RequestError::Unsupported { api_key, version });
    }
}

#[test]
fn an_api_versions_response_has_a_plain_header_even_when_flexible() {
    let answer = ApiVersionsResponse {
        api_keys: vec![ApiVersion {
            api_key: 3,
            min_version: 0,
            max_version: 13,
        }],
        supported_features: vec![
            SupportedFeatureKey {
                name: "from.zero".into(),
                min_version: 0,
                max_version: 1,
            },
            SupportedFeatureKey {
                name: "f".into(),
                min_version: 1,
                max_version: 2,
            },
        ],
        ..Default::default()
    };
    let encoded = encode_response(&to(ApiKey::ApiVersions, 3), &answer.into()).concat();
    let expected = frame(&[
        b"\x00\x00\x00\x1d\x00\x00\x00\x01", // 29 bytes, correlation id 1, nothing more
        b"\x00\x00",                         // no error
        b"\x02\x00\x03\x00\x00\x00\x0d\x00", // one API, no tagged fields of it
        b"\x00\x00\x00\x00",                 // no throttling
        b"\x01\x00\x08\x02\x02f\x00\x01\x00\x02\x00", // tag 0, 8 bytes: the feature from version 1
    ]);
    assert_eq!(encoded, expected);
}

#[test]
fn metadata_tells_all_topics_from_none_in_each_version() {
    let topics = |frame: &Bytes| match exact(frame).1 {
        Request::Metadata(MetadataRequest { topics, .. }) => topics,
        other => panic!("{other:?}"),
    };
    let v0_empty = frame(&[
        b"\x00\x03\x00\x00\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x00",
    ]);
    let v1_empty = frame(&[
        b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x00",
    ]);
    let v1_null = frame(&[
        b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff",
        b"\xff\xff\xff\xff",
    ]);
    let v9 = b"\x00\x03\x00\x09\x00\x00\x00\x01\xff\xff\x00";
    let v9_empty = frame(&[v9, b"\x01\x01\x00\x00\x00"]);
    let v9_null = frame(&[v9, b"\x00\x01\x00\x00\x00"]);
    assert_eq!(topics(&v0_empty), None);
    assert_eq!(topics(&v1_empty), Some(vec![]));
    assert_eq!(topics(&v1_null), None);
    assert_eq!(topics(&v9_empty), Some(vec![]));
    assert_eq!(topics(&v9_null), None);
}

#[test]
fn null_is_refused_where_a_version_does_not_have_it() {
    let v0_null = frame(&[
        b"\x00\x03\x00\x00\x00\x00\x00\x01\xff\xff",
        b"\xff\xff\xff\xff",
    ]);
    let error = decode_request(v0_null).expect_err("null").to_string();
    assert!(
        error.contains("topics") && error.contains("null"),
        "{error}"
    );
}

#[test]
fn produce_3_and_9_hold_the_same_in_their_two_ways() {
    let v3 = frame(&[
        b"\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02me",
        b"\xff\xff",                         // no transactional id
        b"\xff\xff\x00\x00\x75\x30",         // acks all, 30,000 ms
        b"\x00\x00\x00\x01\x00\x01t",        // one topic
        b"\x00\x00\x00\x01\x00\x00\x00\x02", // one partition, index 2
        b"\x00\x00\x00\x04\xde\xad\xbe\xef", // four bytes of records
    ]);
    let v9 = frame(&[
        b"\x00\x00\x00\x09\x00\x00\x00\x01\x00\x02me\x00",
        b"\x00",
        b"\xff\xff\x00\x00\x75\x30",
        b"\x02\x02t",
        b"\x02\x00\x00\x00\x02",
        b"\x05\xde\xad\xbe\xef\x00", // records, and the tagged fields of the partition,
        b"\x00\x00",                 // the topic, the request
    ]);
    let (_, three) = exact(&v3);
    assert_eq!(exact(&v9).1, three);
    let Request::Produce(produce) = three else {
        panic!("{three:?}")
    };
    assert_eq!((produce.acks, produce.timeout_ms), (-1, 30_000));
    let partition = &produce.topic_data[0].partition_data[0];
    assert_eq!(partition.index, 2);
    let records = partition.records.as_ref().expect("records").to_bytes();
    assert_eq!(records, b"\xde\xad\xbe\xef"[..]);
    assert_eq!(
        records.as_ptr(),
        v3[v3.len() - 4..].as_ptr(),
        "a part of the frame, not a copy"
    );
}

#[test]
fn fetch_4_is_plain() {
    let (_, request) = exact(&frame(&[
        b"\x00\x01\x00\x04\x00\x00\x00\x01\xff\xff",
        b"\xff\xff\xff\xff\x00\x00\x01\xf4\x00\x00\x00\x01", // consumer, 500 ms, 1 byte at least
        b"\x00\x10\x00\x00\x01",                             // 1 MiB at most, read_committed
        b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x04\x00",
    ]));
    let Request::Fetch(fetch) = request else {
        panic!("{request:?}")
    };
    assert_eq!(
        (fetch.max_wait_ms, fetch.max_bytes, fetch.isolation_level),
        (500, 1 << 20, 1)
    );
    assert_eq!(
        (fetch.session_id, fetch.session_epoch),
        (0, -1),
        "Kafka's defaults"
    );
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 42);
}

/// The body of a Fetch request that every flexible version has, up to the topics.
const FETCH_12_START: &[u8] = b"\x00\x00\x01\xf4\x00\x00\x00\x01\x00\x10\x00\x00\x00\
    \x00\x00\x00\x00\xff\xff\xff\xff\x02";

/// A partition from version 12 on: index 0, epoch 5, offset 42, no epoch, no log start, 1 KiB.
const FETCH_12_PARTITION: &[u8] = b"\x02\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\
    \x00\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x04\x00\x00";

/// A Fetch request in version 12 that ends in these tagged fields, and in one of its header.
fn fetch_12(tagged_fields: &[u8]) -> Bytes {
    frame(&[
        b"\x00\x01\x00\x0c\x00\x00\x00\x01\xff\xff",
        b"\x01\x63\x02hi", // the header has a tagged field 99 of two bytes
        b"\xff\xff\xff\xff",
        FETCH_12_START,
        b"\x02t",
        FETCH_12_PARTITION,
        b"\x00",     // no tagged fields of the topic
        b"\x01\x01", // nothing forgotten, no rack
        tagged_fields,
    ])
}

#[test]
fn fetch_12_is_flexible_and_its_unknown_tagged_fields_are_passed_over() {
    // Two tagged fields: the cluster id, "c", and number 7, which nobody knows.
    let request = fetch_12(b"\x02\x00\x02\x02c\x07\x01x");
    let (_, request) = decode_request(request).expect("well-formed");
    let Request::Fetch(fetch) = request else {
        panic!("{request:?}")
    };
    assert_eq!(fetch.cluster_id.as_deref(), Some("c"));
    assert_eq!(fetch.topics[0].topic, "t");
    assert_eq!(fetch.topics[0].partitions[0].current_leader_epoch, 5);
}

#[test]
fn a_tagged_field_has_to_fill_its_size() {
    // Field 0 has three bytes, of which the string of length one takes two.
    let error = decode_request(fetch_12(b"\x01\x00\x03\x02c!")).expect_err("a byte left over");
    assert!(error.to_string().contains("cluster_id at byte"), "{error}");
    // It has one byte, and the string would go on into what follows.
    let error = decode_request(fetch_12(b"\x02\x00\x01\x02\x07\x00")).expect_err("cut short");
    assert!(error.to_string().contains("cluster_id at byte"), "{error}");
}

#[test]
fn fetch_13_names_topics_by_id() {
    let id = [7; 16];
    let (_, request) = exact(&frame(&[
        b"\x00\x01\x00\x0d\x00\x00\x00\x01\xff\xff\x00",
        b"\xff\xff\xff\xff",
        FETCH_12_START,
        &id,
        FETCH_12_PARTITION,
        b"\x00\x01\x01\x00",
    ]));
    let Request::Fetch(fetch) = request else {
        panic!("{request:?}")
    };
    assert_eq!(fetch.topics[0].topic_id, TopicId::from_bytes(id));
    assert_eq!(fetch.topics[0].topic, "");
    assert_eq!(fetch.topics[0].partitions[0].fetch_offset, 42);
}

#[test]
fn records_of_a_fetch_response_go_out_as_the_chunks_they_came_in() {
    let chunks = [
        Bytes::from(vec![1; 100]),
        Bytes::new(),
        Bytes::from(vec![2; 50]),
    ];
    let partition = |index, records: Vec<Bytes>| PartitionData {
        partition_index: index,
        high_watermark: 9,
        aborted_transactions: None,
        records: Some(Records::from(records)),
        ..Default::default()
    };
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![partition(0, chunks.to_vec()), partition(1, vec![])],
            ..Default::default()
        }],
        ..Default::default()
    };
    let encoded = encode_response(&to(ApiKey::Fetch, 12), &Response::Fetch(response.clone()));
    let [head, first, second, tail] = encoded.chunks.as_slice() else {
        panic!("{encoded:?}")
    };
    assert_eq!(first.as_ptr(), chunks[0].as_ptr(), "not copied");
    assert_eq!(second.as_ptr(), chunks[2].as_ptr(), "not copied");
    assert_eq!(encoded.bytes, head.len() + 150 + tail.len());
    let whole = encoded.concat();
    assert_eq!(
        whole[..4],
        u32::try_from(whole.len() - 4).expect("small").to_be_bytes()
    );
    let (_, read) = decode_response(ApiKey::Fetch, 12, whole.slice(4..)).expect("well-formed");
    assert_eq!(read, Response::Fetch(response));
}

#[test]
fn bytes_after_a_message_are_an_error() {
    let heartbeat = frame(&[b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff", b"?"]);
    let error = decode_request(heartbeat)
        .expect_err("a byte too many")
        .to_string();
    assert!(error.contains("1 bytes follow the end"), "{error}");
}

#[test]
fn metadata_for_all_topics_as_librdkafka_writes_it_is_read_as_kafka_reads_it() {
    // Version 13, with the reserved bytes of a count left behind a compact null.
    let frame = Bytes::from_static(
        b"\x00\x03\x00\x0d\x00\x00\x00\x03\x00\x07rdkafka\x00\x00\x00\x00\x00\x01\x00\x00",
    );
    let (header, request) = decode_request(frame).expect("Kafka reads it");
    assert_eq!(header.api_version, 13);
    let Request::Metadata(metadata) = request else {
        panic!("{request:?}")
    };
    assert_eq!(metadata.topics, None);
    assert!(!metadata.allow_auto_topic_creation);
}
