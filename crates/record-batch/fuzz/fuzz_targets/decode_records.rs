//! See `plimsoll_record_batch_fuzz::decode_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_record_batch_fuzz::decode_records(bytes));
