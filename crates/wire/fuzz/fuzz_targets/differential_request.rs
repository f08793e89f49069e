//! Any frame read as a request means the same to the oracle.
#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::differential_request(bytes));
