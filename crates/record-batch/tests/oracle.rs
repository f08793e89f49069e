//! Against another implementation, both ways.

use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use plimsoll_record_batch::{
    Batch, BatchBuilder, Compression, DecodeLimits, Keys, Producer, RecordToWrite,
};
use plimsoll_types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 1_000,
};
const PRODUCER: i64 = 12;
const EPOCH: i16 = 3;
const SEQUENCE: i32 = 40;

/// What both know: header keys are distinct text.
fn record() -> impl Strategy<Value = oracle::Record> {
    let bytes = || option::of(vec(any::<u8>(), 0..60));
    let headers = btree_map("[a-zé]{0,5}", bytes(), 0..4);
    (0..4_000_000_000_000i64, bytes(), bytes(), headers).prop_map(
        |(timestamp, key, value, headers)| oracle::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: PRODUCER,
            producer_epoch: EPOCH,
            timestamp_type: oracle::TimestampType::Creation,
            offset: 0,
            sequence: SEQUENCE,
            timestamp,
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: headers
                .into_iter()
                .map(|(key, value)| (StrBytes::from_string(key), value.map(Into::into)))
                .collect::<IndexMap<_, _>>(),
        },
    )
}

/// With the offsets and sequence numbers of one batch that starts at `base`.
fn numbered(mut records: Vec<oracle::Record>, base: i64) -> Vec<oracle::Record> {
    for (at, record) in (0..).zip(&mut records) {
        record.offset = base + i64::from(at);
        record.sequence = SEQUENCE + at;
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_reads_what_we_write(records in vec(record(), 1..20), base in 0..1i64 << 40) {
        let records = numbered(records, base);
        let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
            id: ProducerId::from_wire(PRODUCER).expect("positive"),
            epoch: ProducerEpoch(EPOCH),
            base_sequence: SEQUENCE,
        });
        for record in &records {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_deref()))
                .collect();
            builder.push(&RecordToWrite {
                timestamp: Timestamp::from_millis(record.timestamp),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            }).expect("small");
        }
        let base = Offset::from_wire(base).expect("positive");
        let mut bytes = builder.build(base).expect("small");
        let read = oracle::RecordBatchDecoder::decode(&mut bytes).expect("it reads");
        prop_assert_eq!(read.records, records);
    }

    #[test]
    fn we_read_what_it_writes(records in vec(record(), 1..20), base in 0..1i64 << 40) {
        let records = numbered(records, base);
        let mut bytes = BytesMut::new();
        let options = oracle::RecordEncodeOptions {
            version: 2,
            compression: oracle::Compression::None,
        };
        oracle::RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("it writes");
        let batch = Batch::parse(&bytes).expect("whole");
        batch.check_records(&LIMITS, Keys::Optional).expect("strict");
        let producer = batch.header().producer.expect("idempotent");
        prop_assert_eq!(producer.base_sequence, SEQUENCE);
        let ours = batch.records(&LIMITS).expect("within limits");
        let mut count = 0;
        for (ours, theirs) in ours.iter().zip(&records) {
            let ours = ours.expect("readable");
            prop_assert_eq!(ours.offset.to_wire(), theirs.offset);
            prop_assert_eq!(ours.timestamp.as_millis(), theirs.timestamp);
            prop_assert_eq!(ours.key, theirs.key.as_deref());
            prop_assert_eq!(ours.value, theirs.value.as_deref());
            let headers = theirs.headers.iter();
            let headers = headers.map(|(key, value)| (key.as_bytes(), value.as_deref()));
            prop_assert!(ours.headers.eq(headers));
            count += 1;
        }
        prop_assert_eq!(count, records.len());
    }
}
