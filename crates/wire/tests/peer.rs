//! The peer protocol: every message there and back, and what damaged bytes do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/peer.rs"]
mod messages;

use bytes::{Bytes, BytesMut};
use messages::{frame, id, key};
use plimsoll_types::{LeaderEpoch, Offset};
use plimsoll_wire::Records;
use plimsoll_wire::peer::{
    self, Append, Denied, DeniedReason, Frame, FrameFault, Hello, MAX_CONTROL_BYTES,
    MAX_HELLO_BYTES, MAX_STREAM_BYTES, Purpose, Reply, Request, Splitter, StreamFrame, VERSIONS,
    Versions,
};
use proptest::prelude::*;

/// The frame as a splitter gives it.
fn cut(encoded: &Bytes) -> Bytes {
    encoded.slice(peer::PREFIX_BYTES..)
}

fn append(records: Records) -> Append {
    Append {
        session: 7,
        seq: 9,
        from: Offset::new(100),
        high_watermark: Offset::new(90),
        log_start: Offset::new(10),
        log_end: Offset::new(500),
        total: u32::try_from(records.len()).unwrap(),
        at: 0,
        records,
    }
}

proptest! {
    #[test]
    fn every_frame_reads_back_what_was_written(frame in frame()) {
        let encoded = peer::encode(&frame);
        let whole = encoded.concat();
        prop_assert_eq!(whole.len(), encoded.bytes);
        let size = u32::from_be_bytes(*whole.first_chunk().unwrap());
        prop_assert_eq!(usize::try_from(size).unwrap(), whole.len() - 4);
        prop_assert_eq!(peer::decode(cut(&whole)), Ok(frame));
    }

    #[test]
    fn messages_read_back_without_frames(frame in frame()) {
        match frame {
            Frame::Request { body, .. } => {
                prop_assert_eq!(Request::decode(body.encode()), Ok(body));
            }
            Frame::Reply { body, .. } => {
                prop_assert_eq!(Reply::decode(body.encode()), Ok(body));
            }
            Frame::Stream(stream) => {
                let (head, tail) = stream.encode();
                prop_assert_eq!(StreamFrame::decode(head, tail.concat().into()), Ok(stream));
            }
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Denied(_) => {}
        }
    }

    #[test]
    fn a_frame_cut_short_is_refused(frame in frame(), at in any::<prop::sample::Index>()) {
        let whole = cut(&peer::encode(&frame).concat());
        let short = whole.slice(..at.index(whole.len()));
        match peer::decode(short) {
            Err(_) => {}
            // Only records may be missing: their run says how many there should be.
            Ok(Frame::Stream(StreamFrame::Append(short))) => prop_assert!(!short.is_whole()),
            Ok(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_flipped_bit_outside_of_records_is_refused(
        frame in frame(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut damaged = BytesMut::from(&cut(&peer::encode(&frame).concat())[..]);
        let place = at.index(damaged.len());
        damaged[place] ^= 1 << bit;
        match (peer::decode(damaged.freeze()), frame) {
            (Err(_), _) => {}
            (Ok(Frame::Stream(StreamFrame::Append(read))), Frame::Stream(StreamFrame::Append(sent))) => {
                let same_but_records = Append { records: sent.records.clone(), ..read.clone() };
                prop_assert_eq!(same_but_records, sent.clone());
                prop_assert_ne!(read.records, sent.records);
            }
            (Ok(read), sent) => prop_assert!(false, "{read:?} from {sent:?}"),
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = peer::decode(bytes.clone());
        let _ = StreamFrame::decode(bytes.clone(), bytes.clone());
        // There is one way to write each message.
        if let Ok(request) = Request::decode(bytes.clone()) {
            prop_assert_eq!(request.encode(), &bytes);
        }
        if let Ok(reply) = Reply::decode(bytes.clone()) {
            prop_assert_eq!(reply.encode(), &bytes);
        }
        if let Ok(frame) = StreamFrame::decode(bytes.clone(), Bytes::new()) {
            prop_assert_eq!(frame.encode().0, &bytes);
        }
        // With a good checksum, so that the body is read too.
        for kind in 0..8_u8 {
            let mut framed = vec![kind];
            framed.extend_from_slice(&bytes);
            let mut whole = crc32(&framed).to_be_bytes().to_vec();
            whole.extend_from_slice(&framed);
            let _ = peer::decode(Bytes::from(whole));
        }
    }

    #[test]
    fn a_stream_is_split_alike_however_it_is_cut(
        frames in prop::collection::vec(frame(), 1..8),
        steps in prop::collection::vec(1..200_usize, 1..50),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(|frame| peer::encode(frame).concat()).collect();
        let mut splitter = Splitter::new(MAX_HELLO_BYTES);
        let mut buffer = BytesMut::new();
        let (mut read, mut rest, mut turn) = (Vec::new(), &stream[..], steps.iter().cycle());
        while !rest.is_empty() {
            let step = (*turn.next().unwrap()).min(rest.len());
            let (now, later) = rest.split_at(step);
            buffer.extend_from_slice(now);
            rest = later;
            while let Some(frame) = splitter.next(&mut buffer).unwrap() {
                read.push(peer::decode(frame).unwrap());
            }
            prop_assert!(splitter.wanted(&buffer).unwrap() <= buffer.len().max(8192));
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(read, frames);
    }
}

/// Writes the seeds from which fuzzing starts: some of each message.
#[test]
#[ignore = "writes files: run it after adding a message"]
fn seeds_are_written() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode_peer");
    std::fs::create_dir_all(&corpus).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut kept = std::collections::BTreeMap::new();
    for _ in 0..500 {
        let (choice, message) = match frame().new_tree(&mut runner).unwrap().current() {
            Frame::Request { body, .. } => (0, body.encode()),
            Frame::Reply { body, .. } => (1, body.encode()),
            Frame::Stream(frame) => {
                let (head, tail) = frame.encode();
                let at = u8::try_from(head.len()).unwrap_or(u8::MAX).max(2);
                (at, [&head[..], &tail.concat()].concat().into())
            }
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Denied(_) => continue,
        };
        let name = format!(
            "{}-{}",
            choice.min(2),
            message.first().copied().unwrap_or(0)
        );
        let seed = [&[choice], &message[..]].concat();
        let longest = kept.entry(name).or_insert_with(Vec::new);
        if seed.len() > longest.len() {
            *longest = seed;
        }
    }
    for (name, seed) in kept {
        std::fs::write(corpus.join(name), seed).unwrap();
    }
}

/// The checksum by its definition, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

#[test]
fn an_append_shares_the_slices_of_its_records() {
    let slices = [Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 5])];
    let sent = append(Records::from(slices.to_vec()));
    let encoded = peer::encode(&Frame::Stream(StreamFrame::Append(sent.clone())));
    assert_eq!(encoded.chunks.len(), 3);
    for (chunk, slice) in encoded.chunks.iter().skip(1).zip(&slices) {
        assert_eq!(chunk.as_ptr(), slice.as_ptr());
    }
    let whole = encoded.concat();
    let Ok(Frame::Stream(StreamFrame::Append(read))) = peer::decode(cut(&whole)) else {
        panic!("an append is an append");
    };
    assert_eq!(read, sent);
    let range = whole.as_ptr_range();
    assert!(range.contains(&read.records.to_bytes().as_ptr()));
}

#[test]
fn a_chunk_outside_of_its_run_is_refused() {
    let mut beyond = append(Records::from(Bytes::from_static(b"batch")));
    beyond.at = 1;
    let whole = peer::encode(&Frame::Stream(StreamFrame::Append(beyond))).concat();
    assert!(matches!(
        peer::decode(cut(&whole)),
        Err(FrameFault::Malformed(_))
    ));
}

#[test]
fn a_size_outside_of_the_bounds_is_refused_at_the_prefix() {
    let refused = |max: usize, size: u32| {
        let mut buffer = BytesMut::from(&size.to_be_bytes()[..]);
        Splitter::new(max).next(&mut buffer)
    };
    assert_eq!(refused(64, 4), Err(FrameFault::TooSmall { bytes: 4 }));
    assert_eq!(refused(64, 5), Ok(None));
    for max_frame_bytes in [MAX_HELLO_BYTES, MAX_STREAM_BYTES, MAX_CONTROL_BYTES] {
        let bytes = max_frame_bytes + 1;
        let too_large = FrameFault::TooLarge {
            bytes,
            max_frame_bytes,
        };
        assert_eq!(
            refused(max_frame_bytes, u32::try_from(bytes).unwrap()),
            Err(too_large)
        );
    }
}

#[test]
fn strangers_are_refused_at_their_first_bytes() {
    for stranger in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"\0\0\0\x01",
    ] {
        let mut buffer = BytesMut::from(stranger);
        assert!(
            Splitter::new(MAX_HELLO_BYTES).next(&mut buffer).is_err(),
            "{stranger:?}"
        );
    }
}

#[test]
fn a_hello_without_the_magic_is_a_strangers() {
    let mut hello = Hello::new(id(1), Purpose::Control);
    hello.magic = 0;
    let whole = peer::encode(&Frame::Hello(hello)).concat();
    assert_eq!(peer::decode(cut(&whole)), Err(FrameFault::Stranger));
}

#[test]
fn what_a_later_version_adds_to_a_hello_is_left_unread() {
    for frame in [
        Frame::Hello(Hello::new(id(1), Purpose::InSync)),
        Frame::Denied(Denied {
            reason: DeniedReason::Version { speaks: VERSIONS },
            message: "too old".to_owned(),
        }),
    ] {
        let mut longer = peer::encode(&frame).concat()[8..].to_vec();
        longer.extend_from_slice(b"more");
        let mut whole = crc32(&longer).to_be_bytes().to_vec();
        whole.extend_from_slice(&longer);
        assert_eq!(peer::decode(Bytes::from(whole)), Ok(frame));
    }
}

#[test]
fn the_greatest_common_version_is_agreed_on() {
    let span = |min, max| Versions { min, max };
    assert_eq!(span(1, 3).agree(span(2, 5)), Some(3));
    assert_eq!(span(2, 5).agree(span(1, 3)), Some(3));
    assert_eq!(span(1, 1).agree(span(1, 1)), Some(1));
    assert_eq!(span(1, 1).agree(span(2, 3)), None);
}

#[test]
fn a_count_of_billions_takes_no_memory() {
    let mut message = vec![4]; // LogInfo
    message.extend_from_slice(&u32::MAX.to_be_bytes());
    let error = Request::decode(Bytes::from(message)).unwrap_err();
    assert!(error.to_string().contains("cannot lie"), "{error}");
}

#[test]
fn the_layout_is_the_documented_one() {
    let frame = Frame::Stream(StreamFrame::Detach { session: 0x0102 });
    let whole = peer::encode(&frame).concat();
    let body = [6, 3, 0, 0, 0, 0, 0, 0, 1, 2];
    assert_eq!(whole[..4], 14_u32.to_be_bytes());
    assert_eq!(whole[4..8], crc32(&body).to_be_bytes());
    assert_eq!(whole[8..], body);
    let logs = Request::LogInfo(vec![key(3)]);
    assert_eq!(logs.encode().len(), 1 + 4 + 20);
    assert_eq!(LeaderEpoch::ZERO.to_wire(), 0);
}
