//! Every input that fuzzing keeps is checked again, without a fuzzer.

mod common;

#[path = "../fuzz/src/checks.rs"]
mod checks;

use std::path::{Path, PathBuf};

use common::{Direction, framed, generate};
use plimsoll_wire::ApiKey;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

fn replay(target: &str, check: fn(&[u8])) {
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus(target)).expect("the corpus is committed") {
        let path = entry.expect("readable").path();
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("readable"));
        inputs += 1;
    }
    assert!(inputs > 0, "no inputs for {target}");
}

#[test]
fn streams_are_split_as_fuzzed() {
    replay("split_frames", checks::split_frames);
}

#[test]
fn requests_are_read_as_fuzzed() {
    replay("decode_request", checks::decode_request);
}

#[test]
fn responses_are_read_as_fuzzed() {
    replay("decode_response", checks::decode_response);
}

#[test]
fn requests_mean_the_same_to_the_oracle_as_fuzzed() {
    replay("differential_request", checks::differential_request);
}

#[test]
fn peers_are_read_as_fuzzed() {
    replay("decode_peer", checks::decode_peer);
}

/// Writes the seeds from which fuzzing starts: each message in its first version, its first
/// flexible one and its last.
#[test]
#[ignore = "writes files: run it after adding an API"]
fn seeds_are_written() {
    let choices: Vec<u8> = (0..400_u32)
        .map(|at| (at * 37 + 11).to_le_bytes()[0])
        .collect();
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = corpus(target);
        std::fs::create_dir_all(&directory).expect("creatable");
        std::fs::write(directory.join(name), bytes).expect("writable");
    };
    let mut stream = vec![5];
    for (number, api) in (0_u8..).zip(ApiKey::ALL) {
        let (first, last) = api.served().into_inner();
        let mut versions = vec![first, api.flexible_from().unwrap_or(first).max(first), last];
        versions.dedup();
        for version in versions {
            let body = |direction: Direction| {
                let schema = direction.schema(*api);
                generate::message(schema, version, api.is_flexible(version), &choices)
            };
            let name = format!("{api}-{version}");
            let frame = framed(Direction::Request, *api, version, &body(Direction::Request));
            write("decode_request", &name, &frame);
            write("differential_request", &name, &frame);
            stream.extend_from_slice(&u32::try_from(frame.len()).expect("small").to_be_bytes());
            stream.extend_from_slice(&frame);
            let mut chosen = vec![number, u8::try_from(version - first).expect("small")];
            chosen.extend(framed(
                Direction::Response,
                *api,
                version,
                &body(Direction::Response),
            ));
            write("decode_response", &name, &chosen);
        }
    }
    write("split_frames", "frames", &stream[..1024]);
    write("split_frames", "tls", b"\x01\x16\x03\x01\x02\x00\x01\x00");
    write("split_frames", "http", b"\x02GET / HTTP/1.1\r\n\r\n");
    write("split_frames", "negative", b"\x03\xff\xff\xff\xff");
}
