//! Every way in which a batch can be wrong has its own answer, and none is a panic.

use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchError, BatchHeader, Batches, Compression, DecodeLimits, HEADER_BYTES,
    Keys, RecordProblem, RecordToWrite, crc32c,
};
use plimsoll_types::{Offset, Timestamp};

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 1_000,
};

fn built(compression: Compression, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for value in values {
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(1_000),
                key: Some(b"k"),
                value: Some(value.as_bytes()),
                headers: &[(b"h", None)],
            })
            .expect("small");
    }
    builder.build(Offset::new(7)).expect("small").to_vec()
}

/// A batch with these bytes for records, all else being right.
fn holding(payload: &[u8], records: i32) -> Vec<u8> {
    let mut batch = built(Compression::None, &["x"]);
    batch.truncate(HEADER_BYTES);
    batch.extend_from_slice(payload);
    put(&mut batch, 23, &(records - 1).to_be_bytes());
    put(&mut batch, 57, &records.to_be_bytes());
    let length = i32::try_from(batch.len() - 12).expect("small");
    put(&mut batch, 8, &length.to_be_bytes());
    batch
}

/// Changes a field and makes the checksum true again.
fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    batch[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut batch = built(Compression::None, &["a", "b", "c"]);
    put(&mut batch, at, value);
    batch
}

fn refusal(batch: &[u8]) -> BatchError {
    let parsed = Batch::parse(batch);
    parsed
        .and_then(|batch| batch.check_records(&LIMITS, Keys::Optional))
        .expect_err("malformed")
}

fn problem(payload: &[u8], records: i32) -> RecordProblem {
    match refusal(&holding(payload, records)) {
        BatchError::Record { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_cut_anywhere_is_truncated() {
    let batch = built(Compression::None, &["a", "b"]);
    for got in 0..batch.len() {
        let needed = if got < HEADER_BYTES {
            HEADER_BYTES
        } else {
            batch.len()
        };
        assert_eq!(
            refusal(&batch[..got]),
            BatchError::Truncated { needed, got }
        );
    }
}

#[test]
fn a_flipped_bit_under_the_checksum_is_found() {
    let batch = built(Compression::None, &["a"]);
    for at in 17 * 8..batch.len() * 8 {
        let mut flipped = batch.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(Batch::parse(&flipped).is_err(), "bit {at}");
    }
}

#[test]
fn a_wrong_checksum_says_where_and_what() {
    let mut batch = built(Compression::None, &["a"]);
    let stored = u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]);
    *batch.last_mut().expect("not empty") ^= 1;
    let computed = crc32c(&batch[21..]);
    let base = Offset::new(7);
    assert_eq!(
        refusal(&batch),
        BatchError::Checksum {
            base,
            stored,
            computed
        }
    );
}

#[test]
fn other_message_formats_are_refused() {
    for magic in [0, 1, 3, -1] {
        let [byte] = i8::to_be_bytes(magic);
        assert_eq!(refusal(&with(16, &[byte])), BatchError::Magic { magic });
    }
}

#[test]
fn lengths_that_hold_no_header_are_refused() {
    for length in [i32::MIN, -1, 0, 48] {
        assert_eq!(
            refusal(&with(8, &length.to_be_bytes())),
            BatchError::Length { length }
        );
    }
    let length = i32::MAX.to_be_bytes();
    assert!(matches!(
        refusal(&with(8, &length)),
        BatchError::Truncated { .. }
    ));
}

#[test]
fn offsets_beyond_the_range_are_refused() {
    for base in [-1, i64::MIN, i64::MAX, i64::MAX - 2] {
        let batch = with(0, &base.to_be_bytes());
        assert_eq!(refusal(&batch), BatchError::Offsets { base, delta: 2 });
    }
    assert!(Batch::parse(&with(0, &(i64::MAX - 3).to_be_bytes())).is_ok());
}

#[test]
fn counts_that_cannot_be_are_refused() {
    for (delta, records) in [(-1, 3), (1, 3), (2, -1), (i32::MIN, 0), (2, i32::MAX)] {
        let mut batch = with(23, &i32::to_be_bytes(delta));
        put(&mut batch, 57, &i32::to_be_bytes(records));
        assert_eq!(refusal(&batch), BatchError::Counts { records, delta });
    }
}

#[test]
fn counts_that_only_compaction_leaves_fail_the_strict_check() {
    let sparse = with(57, &2i32.to_be_bytes());
    let (records, delta) = (2, 2);
    assert_eq!(refusal(&sparse), BatchError::Sparse { records, delta });
    assert_eq!(refusal(&with(57, &0i32.to_be_bytes())), BatchError::Empty);
}

#[test]
fn a_codec_that_does_not_exist_is_refused() {
    assert_eq!(refusal(&with(21, &[0, 7])), BatchError::Codec { codec: 7 });
}

#[test]
fn a_producer_without_a_sequence_fails_the_strict_check() {
    let mut batch = with(43, &9i64.to_be_bytes());
    put(&mut batch, 51, &3i16.to_be_bytes());
    let (epoch, sequence) = (3, -1);
    assert_eq!(refusal(&batch), BatchError::Sequence { epoch, sequence });
}

#[test]
fn more_records_than_the_limit_are_refused_unread() {
    let limits = DecodeLimits {
        max_records: 2,
        ..LIMITS
    };
    let batch = built(Compression::None, &["a", "b", "c"]);
    let refused = Batch::parse(&batch).expect("whole").records(&limits);
    let (records, max) = (3, 2);
    assert_eq!(
        refused.err(),
        Some(BatchError::TooManyRecords { records, max })
    );
}

#[test]
fn records_past_the_byte_limit_are_refused_compressed_or_not() {
    let limits = DecodeLimits {
        max_decompressed_bytes: 20,
        ..LIMITS
    };
    for compression in Compression::ALL {
        let batch = built(compression, &["0123456789"; 3]);
        let refused = Batch::parse(&batch).expect("whole").records(&limits);
        let max = 20;
        assert_eq!(
            refused.err(),
            Some(BatchError::TooLarge { compression, max })
        );
    }
}

#[test]
fn a_payload_that_is_not_of_its_codec_is_corrupt() {
    for compression in &Compression::ALL[1..] {
        let batch = with(21, &[0, compression.bits()]);
        let compression = *compression;
        assert_eq!(refusal(&batch), BatchError::Corrupt { compression });
    }
}

#[test]
fn fewer_records_than_counted_are_truncated() {
    let batch = holding(&[12, 0, 0, 0, 1, 1, 0], 2);
    let (index, problem) = (1, RecordProblem::Truncated);
    assert_eq!(refusal(&batch), BatchError::Record { index, problem });
}

#[test]
fn bytes_after_the_last_record_are_refused() {
    let batch = holding(&[12, 0, 0, 0, 1, 1, 0, 9, 9], 1);
    let (records, bytes) = (1, 2);
    assert_eq!(refusal(&batch), BatchError::Trailing { records, bytes });
}

#[test]
fn a_record_longer_than_its_fields_is_refused() {
    let (declared, used) = (8, 6);
    let refused = problem(&[16, 0, 0, 0, 1, 1, 0, 0, 0], 1);
    assert_eq!(refused, RecordProblem::Length { declared, used });
}

#[test]
fn a_record_shorter_than_its_fields_is_truncated() {
    assert_eq!(problem(&[6, 0, 0, 0, 1, 1, 0], 1), RecordProblem::Truncated);
    let key_past_the_end = [12, 0, 0, 0, 40, 1, 0];
    assert_eq!(problem(&key_past_the_end, 1), RecordProblem::Truncated);
}

#[test]
fn offset_deltas_must_count_up_by_one() {
    let (expected, sparse) = (0, false);
    let first_is_one = [12, 0, 0, 2, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0];
    let got = 1;
    let refused = problem(&first_is_one, 2);
    assert_eq!(
        refused,
        RecordProblem::OffsetDelta {
            got,
            expected,
            sparse
        }
    );

    let (expected, sparse) = (1, true);
    let twice_zero = [12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0];
    let got = 0;
    let refused = problem(&twice_zero, 2);
    assert_eq!(
        refused,
        RecordProblem::OffsetDelta {
            got,
            expected,
            sparse
        }
    );

    for got in [-1, 1] {
        let past_the_last = [12, 0, 0, if got < 0 { 1 } else { 2 }, 1, 1, 0];
        let refused = problem(&past_the_last, 1);
        let (expected, sparse) = (0, true);
        assert_eq!(
            refused,
            RecordProblem::OffsetDelta {
                got,
                expected,
                sparse
            }
        );
    }
}

#[test]
fn negative_lengths_and_counts_are_refused() {
    let negative = |refused| matches!(refused, RecordProblem::Negative { value: -1, .. });
    assert!(negative(problem(&[1], 1)), "record");
    assert!(
        negative(problem(&[12, 0, 0, 0, 1, 1, 1], 1)),
        "header count"
    );
    assert!(
        negative(problem(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1)),
        "header key"
    );
}

#[test]
fn a_count_of_headers_is_not_believed() {
    let two_billion = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(problem(&two_billion, 1), RecordProblem::Truncated);
}

#[test]
fn numbers_that_do_not_end_are_refused() {
    assert_eq!(problem(&[0x80; 12], 1), RecordProblem::Varint);
}

#[test]
fn a_timestamp_that_overflows_is_refused() {
    let mut payload = vec![0, 0xfe];
    payload.extend_from_slice(&[0xff; 8]);
    payload.extend_from_slice(&[0x01, 0, 1, 1, 0]);
    payload.insert(0, u8::try_from(payload.len() * 2).expect("small"));
    assert_eq!(problem(&payload, 1), RecordProblem::Timestamp);
}

#[test]
fn a_compacted_topic_needs_keys() {
    let batch = holding(&[12, 0, 0, 0, 1, 1, 0], 1);
    let batch = Batch::parse(&batch).expect("whole");
    let (index, problem) = (0, RecordProblem::NoKey);
    let refused = batch.check_records(&LIMITS, Keys::Required);
    assert_eq!(refused, Err(BatchError::Record { index, problem }));
    assert!(batch.check_records(&LIMITS, Keys::Optional).is_ok());
}

#[test]
fn iteration_ends_at_the_first_error() {
    let batch = holding(&[12, 0, 0, 0, 1, 1, 0, 1, 1, 1], 3);
    let records = Batch::parse(&batch)
        .expect("whole")
        .records(&LIMITS)
        .expect("in limits");
    let seen: Vec<bool> = records.iter().map(|record| record.is_ok()).collect();
    assert_eq!(seen, [true, false]);
}

#[test]
fn batches_follow_each_other_up_to_a_partial_one() {
    let mut bytes = built(Compression::None, &["a"]);
    bytes.extend(built(Compression::Gzip, &["b"]));
    let whole = bytes.len();
    bytes.extend_from_slice(&built(Compression::None, &["c"])[..30]);
    let mut batches = Batches::new(&bytes);
    assert_eq!(batches.by_ref().filter(Result::is_ok).count(), 2);
    assert_eq!(batches.rest(), &bytes[whole..]);
}

#[test]
fn batches_end_after_an_error() {
    let mut bytes = built(Compression::None, &["a"]);
    let first = bytes.len();
    bytes.extend(built(Compression::None, &["b"]));
    bytes.extend(built(Compression::None, &["c"]));
    bytes[first + 8..first + 12].copy_from_slice(&3i32.to_be_bytes());
    let seen: Vec<bool> = Batches::new(&bytes).map(|batch| batch.is_ok()).collect();
    assert_eq!(seen, [true, false]);
}

#[test]
fn a_header_alone_does_not_overflow_in_its_methods() {
    let batch = with(0, &(i64::MAX - 3).to_be_bytes());
    let header = BatchHeader::decode(&batch).expect("in range");
    assert_eq!(header.end(), Offset::MAX);
    assert_eq!(header.last_offset(), Offset::new(i64::MAX as u64 - 1));
}
