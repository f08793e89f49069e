//! Any bytes are read as a message of the peer protocol, or refused; what was read is written alike.
#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::decode_peer(bytes));
