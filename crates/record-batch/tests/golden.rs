//! One batch written out by hand, byte by byte: layout and checksum are facts, not our opinion.

use plimsoll_record_batch::{
    Attributes, Batch, BatchBuilder, BatchHeader, Compression, DecodeLimits, HEADER_BYTES, Keys,
    Producer, RecordToWrite, crc32c,
};
use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

const TIME: i64 = 1_700_000_000_000;

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 1_000,
};

#[rustfmt::skip]
const BATCH: [u8; 100] = [
    0, 0, 0, 0, 0, 0, 0x11, 0x22,                   // base offset 4386
    0, 0, 0, 88,                                    // bytes that follow
    0, 0, 0, 5,                                     // leader epoch
    2,                                              // magic
    0x56, 0x05, 0xbf, 0xb0,                         // CRC-32C of the rest
    0, 0,                                           // attributes
    0, 0, 0, 2,                                     // last offset delta
    0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,       // base timestamp 1700000000000
    0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x6b, 0xe8,       // max timestamp, a second later
    0, 0, 0, 0, 0, 0, 0x10, 0x92,                   // producer id 4242
    0, 7,                                           // producer epoch
    0, 0, 0, 99,                                    // base sequence
    0, 0, 0, 3,                                     // records
    // 23 bytes, attributes, timestamp +0, offset +0, key, value, 3 headers
    46, 0, 0, 0, 4, b'k', b'1', 10, b'h', b'e', b'l', b'l', b'o', 6,
    2, b'h', 2, b'1', 2, b'h', 1, 2, 0xff, 0,
    // 6 bytes, attributes, timestamp -5, offset +1, no key, no value, no headers
    12, 0, 9, 2, 1, 1, 0,
    // 7 bytes, attributes, timestamp +1000, offset +2, empty key, empty value, no headers
    14, 0, 0xd0, 0x0f, 4, 0, 0, 0,
];

fn header() -> BatchHeader {
    BatchHeader {
        base: Offset::new(0x1122),
        batch_bytes: 100,
        leader_epoch: Some(LeaderEpoch::new(5)),
        crc: 0x5605_bfb0,
        attributes: Attributes::new(Compression::None),
        last_offset_delta: 2,
        base_timestamp: Timestamp::from_millis(TIME),
        max_timestamp: Timestamp::from_millis(TIME + 1_000),
        producer: Some(producer()),
        records: 3,
    }
}

fn producer() -> Producer {
    Producer {
        id: ProducerId::new(4_242).expect("fits"),
        epoch: ProducerEpoch(7),
        base_sequence: 99,
    }
}

type Fields = (
    u64,
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn fields() -> Vec<Fields> {
    let headers = vec![
        (b"h".to_vec(), Some(b"1".to_vec())),
        (b"h".to_vec(), None),
        (vec![0xff], Some(vec![])),
    ];
    let first = (Some(b"k1".to_vec()), Some(b"hello".to_vec()));
    vec![
        (0x1122, TIME, first.0, first.1, headers),
        (0x1123, TIME - 5, None, None, vec![]),
        (0x1124, TIME + 1_000, Some(vec![]), Some(vec![]), vec![]),
    ]
}

#[test]
fn every_field_of_the_header_is_read() {
    assert_eq!(BatchHeader::decode(&BATCH), Ok(header()));
    assert_eq!(
        BatchHeader::decode(&BATCH[..HEADER_BYTES]),
        Ok(header()),
        "no body needed"
    );
}

#[test]
fn every_field_of_the_records_is_read() {
    let batch = Batch::parse(&BATCH).expect("whole");
    assert!(batch.check_records(&LIMITS, Keys::Optional).is_ok());
    let records = batch.records(&LIMITS).expect("within limits");
    let read = records.iter().map(|record| {
        let record = record.expect("readable");
        let headers = record
            .headers
            .map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec)));
        let (key, value) = (
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
        );
        let (offset, timestamp) = (record.offset.get(), record.timestamp.as_millis());
        (offset, timestamp, key, value, headers.collect::<Vec<_>>())
    });
    assert_eq!(read.collect::<Vec<_>>(), fields());
}

#[test]
fn the_builder_writes_the_same_bytes() {
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer())
        .leader_epoch(LeaderEpoch::new(5));
    for (_, timestamp, key, value, headers) in &fields() {
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| (&k[..], v.as_deref()))
            .collect();
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(*timestamp),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            })
            .expect("small");
    }
    assert_eq!(builder.bytes(), BATCH.len());
    let built = builder.build(Offset::new(0x1122)).expect("small");
    assert_eq!(built[..], BATCH[..]);
}

#[test]
fn checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}
