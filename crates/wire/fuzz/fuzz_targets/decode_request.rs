//! Any frame is a request that reads back as it is written, or is refused.
#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::decode_request(bytes));
