//! Every message, in every version and both ways, against another implementation.
//!
//! Three writers meet here: the generator (from the statement as data), the crate, and the crate
//! `kafka-protocol`. They have to agree on every byte and on the name of every field.

mod common;

use bytes::{Bytes, BytesMut};
use common::shape::{Shape, assert_alike};
use common::{CORRELATION_ID, Direction, every_message, framed, generate};
use kafka_protocol::messages::{self as theirs, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use plimsoll_wire::{
    ApiKey, ErrorCode, RequestHeader, decode_request, decode_response, encode_request,
    encode_response,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_version_of_every_message_agrees_with_the_oracle(
        choices in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        for (direction, api, version) in every_message() {
            let schema = direction.schema(api);
            let body = generate::message(schema, version, api.is_flexible(version), &choices);
            let frame = Bytes::from(framed(direction, api, version, &body));
            let context = format!("{direction:?} {api} v{version}");
            let (reencoded, our_shape) = through_ours(direction, api, version, frame.clone());
            prop_assert_eq!(&reencoded, &frame, "ours, {}", &context);
            let (oracles, their_shape) = through_theirs(direction, api, version, reencoded);
            prop_assert_eq!(&oracles, &frame, "theirs, {}", &context);
            let (back, _) = through_ours(direction, api, version, oracles);
            prop_assert_eq!(&back, &frame, "theirs through ours, {}", &context);
            assert_alike(&our_shape, &their_shape, &is_beyond, &context);
        }
    }
}

#[test]
fn defaults_agree_with_the_oracle() {
    for (direction, api, version) in every_message() {
        let context = format!("default of {direction:?} {api} v{version}");
        let schema = direction.schema(api);
        let body = generate::message(schema, version, api.is_flexible(version), &[]);
        let frame = Bytes::from(framed(direction, api, version, &body));
        let (_, ours) = through_ours(direction, api, version, frame.clone());
        let (_, theirs) = through_theirs(direction, api, version, frame);
        assert_alike(&ours, &theirs, &is_beyond, &context);
    }
}

#[test]
fn the_first_flexible_versions_agree_with_the_oracle() {
    for api in ApiKey::ALL {
        let key = theirs::ApiKey::try_from(api.code()).expect("the oracle knows it");
        for version in api.served() {
            let flexible = key.request_header_version(version) == 2;
            assert_eq!(api.is_flexible(version), flexible, "{api} v{version}");
        }
    }
}

#[test]
fn error_codes_agree_with_the_oracle() {
    use kafka_protocol::ResponseError;
    for error in ErrorCode::ALL.iter().filter(|error| !error.is_none()) {
        match ResponseError::try_from_code(error.code()) {
            Some(ResponseError::Unknown(_)) | None => {}
            Some(theirs) => {
                assert_eq!(format!("{theirs:?}"), format!("{error:?}"));
                // The oracle has this one from a Kafka in which it was final.
                let retriable =
                    theirs.is_retriable() || *error == ErrorCode::ConcurrentTransactions;
                assert_eq!(retriable, error.is_retriable(), "{error}");
            }
        }
    }
}

/// Fields the oracle has for versions that are not served, and its store of unknown tags.
fn is_beyond(structure: &str, field: &str) -> bool {
    matches!(
        (structure, field),
        (_, "unknown_tagged_fields")
            | ("FetchPartition", "high_watermark")
            | ("OffsetCommitRequestTopic", "topic_id")
            | ("OffsetCommitResponseTopic", "topic_id")
            | ("OffsetFetchRequestTopics", "topic_id")
            | ("OffsetFetchResponseTopics", "topic_id")
            | ("InitProducerIdRequest", "enable_2_pc" | "keep_prepared_txn")
            | (
                "InitProducerIdResponse",
                "ongoing_txn_producer_id" | "ongoing_txn_producer_epoch"
            )
    )
}

/// Reads the frame with this crate, writes it again, and shows what was read.
fn through_ours(direction: Direction, api: ApiKey, version: i16, frame: Bytes) -> (Bytes, Shape) {
    let (encoded, shape) = match direction {
        Direction::Request => {
            let (header, request) = decode_request(frame).expect("well-formed");
            let client_id = header.client_id.as_deref();
            let encoded = encode_request(version, header.correlation_id, client_id, &request);
            let mut shape = Shape::of(&request);
            if (api, version) == (ApiKey::Metadata, 0) {
                all_topics_as_the_oracle_has_it(&mut shape);
            }
            (encoded, shape)
        }
        Direction::Response => {
            let (correlation_id, response) =
                decode_response(api, version, frame).expect("well-formed");
            let header = RequestHeader {
                api_key: api.code(),
                api_version: version,
                correlation_id,
                client_id: None,
            };
            (encode_response(&header, &response), Shape::of(&response))
        }
    };
    let mut whole = encoded.concat();
    assert_eq!(whole.len(), encoded.bytes);
    let prefix = whole.split_to(4);
    let size = i32::from_be_bytes(prefix[..].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(size), Ok(whole.len()));
    (whole, shape)
}

/// The oracle leaves version 0's "all topics" as the empty list it is on the wire.
fn all_topics_as_the_oracle_has_it(shape: &mut Shape) {
    if let Shape::Struct(_, fields) = shape {
        let topics = fields.get_mut("topics").expect("a field");
        if *topics == Shape::Plain("None".to_owned()) {
            *topics = Shape::Some(Box::new(Shape::List(Vec::new())));
        }
    }
}

/// The same with the oracle.
fn through_theirs(
    direction: Direction,
    api: ApiKey,
    version: i16,
    mut frame: Bytes,
) -> (Bytes, Shape) {
    let key = theirs::ApiKey::try_from(api.code()).expect("the oracle knows it");
    let mut out = BytesMut::new();
    let shape = match direction {
        Direction::Request => {
            let header_version = key.request_header_version(version);
            let header = theirs::RequestHeader::decode(&mut frame, header_version).expect("header");
            assert_eq!(header.correlation_id, CORRELATION_ID);
            assert_eq!(header.client_id.as_ref().map(StrBytes::as_str), Some("me"));
            let request = RequestKind::decode(key, &mut frame, version).expect("request");
            header.encode(&mut out, header_version).expect("header");
            request.encode(&mut out, version).expect("request");
            Shape::of(&request)
        }
        Direction::Response => {
            let header_version = key.response_header_version(version);
            let header =
                theirs::ResponseHeader::decode(&mut frame, header_version).expect("header");
            assert_eq!(header.correlation_id, CORRELATION_ID);
            let response = ResponseKind::decode(key, &mut frame, version).expect("response");
            header.encode(&mut out, header_version).expect("header");
            response.encode(&mut out, version).expect("response");
            Shape::of(&response)
        }
    };
    assert!(frame.is_empty(), "the oracle reads all of it");
    (out.freeze(), shape)
}
