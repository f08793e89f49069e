//! Reading takes no more memory than its bound, whatever the bytes.
//!
//! The allocator of this test counts what the thread under test takes and gives back.

#![expect(
    unsafe_code,
    reason = "an allocator that counts has to be an allocator"
)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use common::{Direction, every_message, framed, generate};
use plimsoll_wire::{ApiKey, BUDGET_FACTOR, BUDGET_FLOOR_BYTES, decode_request, decode_response};

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator unchanged; counting touches thread-local
// cells that neither allocate nor need dropping.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.get().wrapping_add(layout.size());
        NOW.set(now);
        // Freeing what another thread took may wrap the count; that is no peak.
        if now < usize::MAX / 2 {
            PEAK.set(PEAK.get().max(now));
        }
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that `work` had at one time beyond what there was before.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = NOW.get();
    PEAK.set(before);
    work();
    PEAK.get() - before
}

fn read(direction: Direction, api: ApiKey, version: i16, frame: Bytes) {
    match direction {
        Direction::Request => drop(decode_request(frame)),
        Direction::Response => drop(decode_response(api, version, frame)),
    }
}

fn assert_bounded(direction: Direction, api: ApiKey, version: i16, frame: Vec<u8>) {
    let bound = BUDGET_FACTOR * frame.len() + BUDGET_FLOOR_BYTES;
    let frame = Bytes::from(frame);
    let peak = peak_of(|| read(direction, api, version, frame));
    assert!(
        peak <= bound,
        "{direction:?} {api} v{version} took {peak} bytes, bound {bound}"
    );
}

/// Choices from which the generator makes messages with something in every list.
fn plenty() -> Vec<u8> {
    (0..2_000_u32)
        .map(|at| (at * 7 + 3).to_le_bytes()[0])
        .collect()
}

#[test]
fn a_count_of_anything_anywhere_costs_at_most_the_bound() {
    let counts: [&[u8]; 5] = [
        b"\x7f\xff\xff\xff",
        b"\x00\xff\xff\xff",
        b"\x00\x00\xff\xff",
        b"\xff\xff\xff\xff\x07", // the greatest compact count
        b"\xff\xff\x03",
    ];
    for (direction, api, version) in every_message() {
        let schema = direction.schema(api);
        let body = generate::message(schema, version, api.is_flexible(version), &plenty()[..200]);
        let frame = framed(direction, api, version, &body);
        let start = frame.len() - body.len();
        for at in start..frame.len() {
            for count in counts {
                let mut hostile = frame[..at].to_vec();
                hostile.extend_from_slice(count);
                hostile.extend_from_slice(&frame[at..]);
                assert_bounded(direction, api, version, hostile);
            }
        }
    }
}

#[test]
fn a_large_frame_of_the_smallest_elements_costs_at_most_the_bound() {
    const ELEMENTS: usize = 400_000;
    // DescribeGroups 5 with empty names: a byte each on the wire, a whole `Str` each in memory.
    let mut body = vec![0x81, 0xb5, 0x18]; // 400,001 as a compact count
    body.resize(body.len() + ELEMENTS, 1);
    body.extend_from_slice(&[0, 0]);
    let frame = framed(Direction::Request, ApiKey::DescribeGroups, 5, &body);
    let error = decode_request(Bytes::from(frame.clone())).expect_err("too much memory");
    assert!(error.to_string().contains("memory"), "{error}");
    assert_bounded(Direction::Request, ApiKey::DescribeGroups, 5, frame);
}

#[test]
fn ten_thousand_partitions_of_a_busy_client_are_within_the_bound() {
    // Fetch 4 has the smallest partitions there are: 16 bytes each.
    let mut body = b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\x10\0\0\0".to_vec();
    body.extend_from_slice(&10_000_u32.to_be_bytes());
    for topic in 0..10_000_u32 {
        let name = format!("topic-{topic:05}");
        body.extend_from_slice(&[0, 11]);
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&1_u32.to_be_bytes());
        body.extend_from_slice(&[0; 16]);
    }
    let frame = framed(Direction::Request, ApiKey::Fetch, 4, &body);
    assert!(decode_request(Bytes::from(frame)).is_ok());
}

#[test]
fn a_produce_request_is_read_with_few_allocations() {
    let body = b"\0\xff\xff\0\0\x75\x30\x02\x02t\x02\0\0\0\x02\x05\xde\xad\xbe\xef\0\0\0";
    let frame = Bytes::from(framed(Direction::Request, ApiKey::Produce, 9, body));
    let peak = peak_of(|| drop(decode_request(frame)));
    assert!(
        peak < 256,
        "two lists of one element, no strings or records: {peak} bytes"
    );
}
