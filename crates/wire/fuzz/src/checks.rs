//! What the fuzz targets check of any bytes; the test `corpus` replays the kept inputs with it.

#![allow(dead_code, reason = "each target uses one of these")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as oracle, RequestKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use plimsoll_wire::frame::{FrameError, Splitter};
use plimsoll_wire::peer::{Reply, Request, StreamFrame};
use plimsoll_wire::{
    ApiKey, Reason, RequestError, RequestHeader, decode_request as decode, decode_response as read,
    encode_request, encode_response,
};

/// The cap on frames while fuzzing.
const MAX_FRAME_BYTES: usize = 1 << 16;

/// The first byte is the length of the pieces, the rest the stream.
pub(crate) fn split_frames(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = frames_of([stream].into_iter());
    let pieces = frames_of(stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces, "however the stream comes");
}

fn frames_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Result<(), FrameError>) {
    let mut splitter = Splitter::new(MAX_FRAME_BYTES);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        let wanted = splitter.wanted(&buffer).expect("no error a moment ago");
        assert!(
            wanted <= buffer.len().max(8 * 1024),
            "room grows with what came"
        );
    }
    assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME_BYTES));
    (frames, Ok(()))
}

/// The bytes are a frame.
pub(crate) fn decode_request(bytes: &[u8]) {
    let Ok((header, request)) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let client_id = header.client_id.as_deref();
    let version = header.api_version;
    let encoded = encode_request(version, header.correlation_id, client_id, &request).concat();
    let again = decode(encoded.slice(4..)).expect("what was written is read");
    assert_eq!(again, (header, request));
}

/// The first byte chooses the API, the second its version, the rest is a frame.
pub(crate) fn decode_response(bytes: &[u8]) {
    let [api, version, frame @ ..] = bytes else {
        return;
    };
    let api = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let (first, last) = api.served().into_inner();
    let version = first + i16::from(*version) % (last - first + 1);
    let Ok((correlation_id, response)) = read(api, version, Bytes::copy_from_slice(frame)) else {
        return;
    };
    let header = RequestHeader {
        api_key: api.code(),
        api_version: version,
        correlation_id,
        client_id: None,
    };
    let encoded = encode_response(&header, &response).concat();
    let again = read(api, version, encoded.slice(4..)).expect("what was written is read");
    // Of these the encoder leaves out what clients would stumble over, and reads error 35 in
    // version 0.
    if api != ApiKey::ApiVersions {
        assert_eq!(again, (correlation_id, response));
    }
}

/// The bytes are a frame. Only what was found sound is given to the oracle: it takes memory by
/// counts that it has not checked, and reads past the size of a tagged field.
pub(crate) fn differential_request(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    match decode(frame.clone()) {
        Ok((header, request)) => {
            let (version, id) = (header.api_version, header.client_id.as_deref());
            let encoded = encode_request(version, header.correlation_id, id, &request).concat();
            let ours = encoded.slice(4..);
            let (left, theirs) = through_oracle(header.api_key, version, ours.clone())
                .expect("the oracle reads what we write");
            assert_eq!(left, 0, "the oracle reads all of it");
            assert_eq!(theirs, ours, "and writes the same");
        }
        Err(RequestError::Malformed {
            api,
            version,
            malformed,
        }) if matches!(malformed.reason, Reason::Trailing { .. })
            // Here the oracle takes a cursor marked 0 for null, which Kafka takes for present.
            && api != ApiKey::DescribeTopicPartitions =>
        {
            if let Some((left, _)) = through_oracle(api.code(), version, frame) {
                assert_ne!(left, 0, "{malformed}, but not to the oracle");
            }
        }
        Err(_) => {}
    }
}

/// What the oracle leaves unread of the frame, and what it writes.
fn through_oracle(api_key: i16, version: i16, mut frame: Bytes) -> Option<(usize, Bytes)> {
    let key = oracle::ApiKey::try_from(api_key).ok()?;
    let header_version = key.request_header_version(version);
    let header = oracle::RequestHeader::decode(&mut frame, header_version).ok()?;
    let request = RequestKind::decode(key, &mut frame, version).ok()?;
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).ok()?;
    request.encode(&mut out, version).ok()?;
    Some((frame.len(), out.freeze()))
}

/// The first byte chooses which message of the peer protocol the rest is, and where a stream
/// frame's records begin. There is one way to write each message: what is read is what was there.
pub(crate) fn decode_peer(bytes: &[u8]) {
    let Some((choice, message)) = bytes.split_first() else {
        return;
    };
    let message = Bytes::copy_from_slice(message);
    match *choice {
        0 => {
            if let Ok(request) = Request::decode(message.clone()) {
                assert_eq!(request.encode(), message);
            }
        }
        1 => {
            if let Ok(reply) = Reply::decode(message.clone()) {
                assert_eq!(reply.encode(), message);
            }
        }
        at => {
            let (mut head, at) = (message, usize::from(at));
            let tail = head.split_off(at.min(head.len()));
            if let Ok(frame) = StreamFrame::decode(head.clone(), tail.clone()) {
                let (head_again, tail_again) = frame.encode();
                assert_eq!((head_again, tail_again.concat()), (head, tail.to_vec()));
            }
        }
    }
}
