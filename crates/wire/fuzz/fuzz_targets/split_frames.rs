//! Any stream, in any pieces, is cut into the same frames or refused alike.
#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::split_frames(bytes));
