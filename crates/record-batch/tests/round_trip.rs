//! What is built is read back the same, stamped, recompressed or thinned out.

use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchHeader, BuildError, Compression, DecodeLimits, HEADER_BYTES, Keys,
    Producer, RecordToWrite, STAMP_BYTES, TimestampType, recompress, stamp, stamp_log_append_time,
    stamp_max_timestamp, stamp_producer, stamped_prefix,
};
use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 1_000,
};

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn record() -> impl Strategy<Value = Owned> {
    let bytes = || vec(any::<u8>(), 0..80);
    let headers = vec((vec(any::<u8>(), 0..4), option::of(bytes())), 0..4);
    (
        -1..=4_000_000_000_000i64,
        option::of(bytes()),
        option::of(bytes()),
        headers,
    )
        .prop_map(|(timestamp, key, value, headers)| Owned {
            timestamp,
            key,
            value,
            headers,
        })
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL[..])
}

fn push(builder: &mut BatchBuilder, record: &Owned) {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(key, value)| (&key[..], value.as_deref()))
        .collect();
    builder
        .push(&RecordToWrite {
            timestamp: Timestamp::from_millis(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })
        .expect("small");
}

fn built(compression: Compression, records: &[Owned], base: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression).producer(Producer {
        id: ProducerId::new(3).expect("fits"),
        epoch: ProducerEpoch(1),
        base_sequence: 5,
    });
    for record in records {
        push(&mut builder, record);
    }
    builder.build(Offset::new(base)).expect("small").to_vec()
}

/// Offsets and records, checked strictly where `strict`.
fn read(bytes: &[u8]) -> Vec<(u64, Owned)> {
    let batch = Batch::parse(bytes).expect("whole");
    let records = batch.records(&LIMITS).expect("within limits");
    let owned = records.iter().map(|record| {
        let record = record.expect("readable");
        let owned = Owned {
            timestamp: record.timestamp.as_millis(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        };
        (record.offset.get(), owned)
    });
    owned.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn built_batches_read_back_the_same(
        records in vec(record(), 1..20),
        compression in codec(),
        base in 0..1u64 << 40,
    ) {
        let bytes = built(compression, &records, base);
        let batch = Batch::parse(&bytes).expect("whole");
        let checked = batch.check_records(&LIMITS, Keys::Optional).expect("strict");
        let timestamps = || records.iter().map(|record| record.timestamp);
        prop_assert_eq!(Some(checked.max_timestamp.as_millis()), timestamps().max());
        prop_assert_eq!(Some(checked.min_timestamp.as_millis()), timestamps().min());
        prop_assert_eq!(checked.max_timestamp, batch.header().max_timestamp);
        let expected: Vec<_> = (base..).zip(records).collect();
        prop_assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn recompressed_batches_keep_all_but_the_codec(
        records in vec(record(), 1..20),
        from in codec(),
        to in codec(),
    ) {
        let bytes = built(from, &records, 9);
        let batch = Batch::parse(&bytes).expect("whole");
        let again = recompress(&batch, to, &LIMITS).expect("small");
        prop_assert_eq!(read(&again), read(&bytes));
        let header = *Batch::parse(&again).expect("whole").header();
        prop_assert_eq!(header.attributes.compression(), to);
        prop_assert_eq!(header.producer, batch.header().producer);
        prop_assert_eq!(header.max_timestamp, batch.header().max_timestamp);
        let back = recompress(&Batch::parse(&again).expect("whole"), from, &LIMITS);
        prop_assert_eq!(&back.expect("small")[..], &bytes[..]);
    }

    #[test]
    fn survivors_keep_their_offsets(
        records in vec(record(), 1..20),
        kept in vec(any::<bool>(), 20),
        compression in codec(),
        horizon in option::of(0..4_000_000_000_000i64),
    ) {
        let bytes = built(compression, &records, 100);
        let batch = Batch::parse(&bytes).expect("whole");
        let mut builder = BatchBuilder::survivors_of(batch.header());
        if let Some(horizon) = horizon {
            builder = builder.delete_horizon(Timestamp::from_millis(horizon));
        }
        let all = batch.records(&LIMITS).expect("within limits");
        for (record, _) in all.iter().zip(&kept).filter(|(_, kept)| **kept) {
            builder.keep(&record.expect("readable")).expect("in order");
        }
        let thinned = builder.build(Offset::new(100)).expect("small");
        let header = *Batch::parse(&thinned).expect("whole").header();
        prop_assert_eq!(header.end(), batch.header().end());
        prop_assert_eq!(header.producer, batch.header().producer);
        prop_assert_eq!(header.delete_horizon().map(Timestamp::as_millis), horizon);
        let expected: Vec<_> = read(&bytes)
            .into_iter()
            .zip(&kept)
            .filter_map(|(record, kept)| kept.then_some(record))
            .collect();
        prop_assert_eq!(read(&thinned), expected);
    }
}

fn plain(value: &str) -> Owned {
    Owned {
        timestamp: 50,
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: vec![],
    }
}

#[test]
fn stamping_leaves_the_checksum_true() {
    let mut bytes = built(Compression::None, &[plain("a"), plain("b")], 0);
    let header = *Batch::parse(&bytes).expect("whole").header();
    let prefix = stamped_prefix(&header, Offset::new(77), LeaderEpoch::new(4));
    stamp(&mut bytes, Offset::new(77), LeaderEpoch::new(4));
    assert_eq!(bytes[..STAMP_BYTES], prefix);
    let stamped = *Batch::parse(&bytes).expect("still whole").header();
    assert_eq!(stamped.crc, header.crc);
    assert_eq!(stamped.base, Offset::new(77));
    assert_eq!(stamped.leader_epoch, Some(LeaderEpoch::new(4)));
}

#[test]
fn another_producer_changes_nothing_else() {
    let mut bytes = built(Compression::Zstd, &[plain("a")], 0);
    let before = *Batch::parse(&bytes).expect("whole").header();
    let producer = Producer {
        id: ProducerId::new(77).expect("fits"),
        epoch: ProducerEpoch(0),
        base_sequence: 1,
    };
    stamp_producer(&mut bytes, producer);
    let after = *Batch::parse(&bytes).expect("checksum taken anew").header();
    assert_eq!(after.producer, Some(producer));
    let (producer, crc) = (before.producer, before.crc);
    assert_eq!(
        BatchHeader {
            producer,
            crc,
            ..after
        },
        before
    );
}

#[test]
fn append_time_is_every_records_timestamp() {
    let mut bytes = built(Compression::Snappy, &[plain("a"), plain("b")], 0);
    stamp_log_append_time(&mut bytes, Timestamp::from_millis(9_000));
    let batch = Batch::parse(&bytes).expect("checksum taken anew");
    let attributes = batch.header().attributes;
    assert_eq!(attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(attributes.compression(), Compression::Snappy);
    let timestamps: Vec<_> = read(&bytes).iter().map(|(_, r)| r.timestamp).collect();
    assert_eq!(timestamps, [9_000, 9_000]);
}

#[test]
fn append_time_survives_compaction() {
    let mut bytes = built(Compression::None, &[plain("a"), plain("b")], 0);
    stamp_log_append_time(&mut bytes, Timestamp::from_millis(9_000));
    let batch = Batch::parse(&bytes).expect("whole");
    let mut builder = BatchBuilder::survivors_of(batch.header());
    let records = batch.records(&LIMITS).expect("within limits");
    let last = records.iter().last().expect("two").expect("readable");
    builder.keep(&last).expect("in order");
    let thinned = builder.build(Offset::ZERO).expect("small");
    assert_eq!(read(&thinned)[0].1.timestamp, 9_000);
}

#[test]
fn a_wrong_max_timestamp_is_seen_and_put_right() {
    let mut bytes = built(Compression::None, &[plain("a")], 0);
    stamp_max_timestamp(&mut bytes, Timestamp::NONE);
    let batch = Batch::parse(&bytes).expect("whole");
    assert_eq!(batch.header().max_timestamp, Timestamp::NONE);
    let checked = batch
        .check_records(&LIMITS, Keys::Optional)
        .expect("strict");
    assert_eq!(checked.max_timestamp.as_millis(), 50);
    stamp_max_timestamp(&mut bytes, checked.max_timestamp);
    let max = Batch::parse(&bytes).expect("whole").header().max_timestamp;
    assert_eq!(max.as_millis(), 50);
}

#[test]
fn an_emptied_batch_keeps_its_place_and_codec() {
    for compression in Compression::ALL {
        let bytes = built(compression, &[plain("a"), plain("b")], 6);
        let batch = Batch::parse(&bytes).expect("whole");
        let emptied = BatchBuilder::survivors_of(batch.header());
        let emptied = emptied.build(Offset::new(6)).expect("small");
        assert_eq!(emptied.len(), HEADER_BYTES);
        let header = *Batch::parse(&emptied).expect("whole").header();
        assert_eq!((header.base.get(), header.end().get()), (6, 8));
        assert_eq!(header.max_timestamp, batch.header().max_timestamp);
        assert_eq!(read(&emptied), []);
        let to = Compression::Gzip;
        let again = recompress(&Batch::parse(&emptied).expect("whole"), to, &LIMITS);
        assert_eq!(read(&again.expect("small")), []);
    }
}

#[test]
fn survivors_neither_move_nor_go_back() {
    let bytes = built(Compression::None, &[plain("a"), plain("b")], 6);
    let batch = Batch::parse(&bytes).expect("whole");
    let records = batch.records(&LIMITS).expect("within limits");
    let [first, second] = [0, 1].map(|at| records.iter().nth(at).expect("two").expect("readable"));
    let mut builder = BatchBuilder::survivors_of(batch.header());
    builder.keep(&second).expect("in order");
    let offset = first.offset;
    assert_eq!(builder.keep(&first), Err(BuildError::Offset { offset }));
    let offset = Offset::new(5);
    assert_eq!(builder.build(offset), Err(BuildError::Offset { offset }));
    let stranger = BatchBuilder::new(Compression::None).keep(&first);
    let offset = first.offset;
    assert_eq!(stranger, Err(BuildError::Offset { offset }));
}

#[test]
fn timestamps_too_far_apart_are_refused_and_the_batch_stays() {
    let mut builder = BatchBuilder::new(Compression::None);
    push(&mut builder, &plain("a"));
    let before = builder.bytes();
    let far = RecordToWrite {
        timestamp: Timestamp::from_millis(i64::MIN),
        key: None,
        value: None,
        headers: &[],
    };
    assert_eq!(builder.push(&far), Err(BuildError::Overflow));
    assert_eq!((builder.records(), builder.bytes()), (1, before));
}

#[test]
fn a_batch_that_would_pass_the_last_offset_is_refused() {
    let mut builder = BatchBuilder::new(Compression::None);
    push(&mut builder, &plain("a"));
    assert_eq!(builder.build(Offset::MAX), Err(BuildError::Overflow));
}
