//! The fuzzers' corpora, replayed: what was found once stays found.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the file is the fuzz crate's root too")]
mod checks;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus is committed") {
        let path = entry.expect("readable").path();
        let bytes = std::fs::read(&path).expect("readable");
        check(&bytes);
        // Every prefix and every flipped byte of it too: cheap, and close to what a fuzzer does.
        for at in 0..bytes.len() {
            check(&bytes[..at]);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x81;
            check(&flipped);
        }
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", corpus.display());
}

#[test]
fn parse_batch_corpus_passes() {
    replay("parse_batch", checks::parse_batch);
}

#[test]
fn decode_records_corpus_passes() {
    replay("decode_records", checks::decode_records);
}
