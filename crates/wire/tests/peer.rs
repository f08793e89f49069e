//! The peer protocol: every message there and back, and what damaged bytes do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/peer.rs"]
mod messages;

use bytes::Bytes;
use messages::{Message, key, message};
use plimsoll_types::{LeaderEpoch, Offset};
use plimsoll_wire::Records;
use plimsoll_wire::peer::{Append, Detach, Reply, Request, StreamFrame, seal};
use proptest::prelude::*;

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
        seal: 3,
        records,
    }
}

/// A message as it is sent: what a transport sums, and the records behind it.
fn encode(message: &Message) -> (Bytes, Bytes) {
    match message {
        Message::Request(request) => (request.encode(), Bytes::new()),
        Message::Reply(reply) => (reply.encode(), Bytes::new()),
        Message::Stream(stream) => {
            let (head, tail) = stream.encode();
            (head, tail.concat().into())
        }
    }
}

/// Reads bytes as the kind of message that `like` is.
fn decode(like: &Message, head: Bytes, tail: Bytes) -> Option<Message> {
    match like {
        Message::Request(_) => Request::decode(head).ok().map(Message::Request),
        Message::Reply(_) => Reply::decode(head).ok().map(Message::Reply),
        Message::Stream(_) => StreamFrame::decode(head, tail).ok().map(Message::Stream),
    }
}

proptest! {
    #[test]
    fn every_message_reads_back_what_was_written(message in message()) {
        let (head, tail) = encode(&message);
        prop_assert_eq!(decode(&message, head, tail), Some(message));
    }

    #[test]
    fn a_message_cut_short_is_refused(message in message(), at in any::<prop::sample::Index>()) {
        let (head, tail) = encode(&message);
        let short = head.slice(..at.index(head.len()));
        prop_assert_eq!(decode(&message, short, tail), None);
    }

    #[test]
    fn records_cut_short_are_no_whole_run(message in message(), at in any::<prop::sample::Index>()) {
        let (head, tail) = encode(&message);
        if !tail.is_empty() {
            let short = tail.slice(..at.index(tail.len()));
            match decode(&message, head, short) {
                None => {}
                Some(Message::Stream(StreamFrame::Append(short))) => {
                    prop_assert!(!short.is_whole());
                }
                Some(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = StreamFrame::decode(bytes.clone(), bytes.clone());
        let _ = seal(std::slice::from_ref(&bytes));
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
        let message = message().new_tree(&mut runner).unwrap().current();
        let (head, tail) = encode(&message);
        let choice = match message {
            Message::Request(_) => 0,
            Message::Reply(_) => 1,
            Message::Stream(_) => u8::try_from(head.len()).unwrap_or(u8::MAX).max(2),
        };
        let name = format!("{}-{}", choice.min(2), head.first().copied().unwrap_or(0));
        let seed = [&[choice], &head[..], &tail].concat();
        let longest = kept.entry(name).or_insert_with(Vec::new);
        if seed.len() > longest.len() {
            *longest = seed;
        }
    }
    for (name, seed) in kept {
        std::fs::write(corpus.join(name), seed).unwrap();
    }
}

#[test]
fn an_append_shares_the_slices_of_its_records() {
    let slices = [Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 5])];
    let sent = append(Records::from(slices.to_vec()));
    let (head, tail) = StreamFrame::Append(sent.clone()).encode();
    assert_eq!(tail.len(), 2);
    for (chunk, slice) in tail.iter().zip(&slices) {
        assert_eq!(chunk.as_ptr(), slice.as_ptr());
    }
    let whole = Bytes::from(tail.concat());
    let Ok(StreamFrame::Append(read)) = StreamFrame::decode(head, whole.clone()) else {
        panic!("an append is an append");
    };
    assert_eq!(read, sent);
    assert_eq!(read.records.to_bytes().as_ptr(), whole.as_ptr());
}

#[test]
fn a_chunk_outside_of_its_run_is_refused() {
    let mut beyond = append(Records::from(Bytes::from_static(b"batch")));
    beyond.at = 1;
    let (head, tail) = StreamFrame::Append(beyond).encode();
    assert!(StreamFrame::decode(head, tail.concat().into()).is_err());
}

/// A batch of `bytes` bytes behind its length, as far as a seal looks at one.
fn batch(bytes: u32, fill: u8) -> Vec<u8> {
    let mut batch = vec![fill; 8];
    batch.extend_from_slice(&bytes.to_be_bytes());
    batch.resize(12 + usize::try_from(bytes).unwrap(), fill);
    batch
}

#[test]
fn a_seal_covers_what_a_batch_s_own_checksum_leaves_out() {
    let run = [batch(49, 1), batch(80, 2)].concat();
    let whole = seal(&[Bytes::from(run.clone())]).unwrap();
    let chunks = [Bytes::from(batch(49, 1)), Bytes::from(batch(80, 2))];
    assert_eq!(seal(&chunks), Some(whole), "however the run is cut");
    for first in [0, 61] {
        for bit in 0..21 * 8 {
            let mut flipped = run.clone();
            flipped[first + bit / 8] ^= 1 << (bit % 8);
            let flipped = seal(&[Bytes::from(flipped)]);
            assert_ne!(flipped, Some(whole), "bit {bit} of the batch at {first}");
        }
    }
    for end in 1..run.len() {
        let cut = seal(&[Bytes::from(run[..end].to_vec())]);
        assert!(cut != Some(whole), "cut at {end}");
    }
    let behind = [&run[..], b"x"].concat();
    assert_eq!(seal(&[Bytes::from(behind)]), None);
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
    let (key_1, session) = (key(1), 0x0102);
    let (head, tail) = StreamFrame::Detach(Detach {
        key: key_1,
        session,
    })
    .encode();
    let body = [&[3][..], &[1; 16], &[0, 0, 0, 1], &[0, 0, 0, 0, 0, 0, 1, 2]].concat();
    assert_eq!((&head[..], tail.len()), (&body[..], 0));
    let logs = Request::LogInfo(vec![key(3)]);
    assert_eq!(logs.encode().len(), 1 + 4 + 20);
    assert_eq!(LeaderEpoch::ZERO.to_wire(), 0);
}
