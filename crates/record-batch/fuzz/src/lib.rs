//! What the fuzz targets check; also included by the crate's corpus test, which runs on stable.

use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchHeader, Batches, Compression, DecodeLimits, HEADER_BYTES, Keys,
    crc32c, recompress, stamp, stamped_prefix,
};
use plimsoll_types::{LeaderEpoch, Offset};

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 1 << 20,
    max_records: 10_000,
};

/// Any bytes as consecutive batches: no panic, and what parses obeys its own header.
pub fn parse_batch(bytes: &[u8]) {
    let mut batches = Batches::new(bytes);
    let mut parsed = 0;
    for batch in batches.by_ref().flatten() {
        let header = *batch.header();
        assert_eq!(batch.bytes().len(), header.batch_bytes as usize);
        assert!(header.base <= header.last_offset() && header.last_offset() < header.end());
        parsed += batch.bytes().len();

        let mut stamped = batch.bytes().to_vec();
        stamp(&mut stamped, Offset::new(9), LeaderEpoch::new(2));
        let prefix = stamped_prefix(&header, Offset::new(9), LeaderEpoch::new(2));
        assert!(stamped.starts_with(&prefix));
        let again = Batch::parse(&stamped).expect("the checksum does not cover the stamp");
        assert_eq!(again.header().crc, header.crc);
    }
    assert_eq!(parsed + batches.rest().len(), bytes.len());
    if let Ok(header) = BatchHeader::decode(bytes) {
        assert!(header.records <= header.last_offset_delta.saturating_add(1));
    }
}

/// Any bytes as one batch whose length and checksum are made true first, so that the records are
/// reached: no panic, no more memory than the limits, and what reads can be written again.
pub fn decode_records(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let length = u32::try_from(bytes.len() - 12).expect("inputs are small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let Ok(batch) = Batch::parse(&bytes) else {
        return;
    };
    let strict = batch.check_records(&LIMITS, Keys::Optional);
    let Ok(records) = batch.records(&LIMITS) else {
        assert!(strict.is_err());
        return;
    };
    let mut builder = BatchBuilder::survivors_of(batch.header());
    let mut headers = 0;
    for record in &records {
        let Ok(record) = record else {
            assert!(strict.is_err());
            return;
        };
        headers += record.headers.count();
        if builder.keep(&record).is_err() {
            return; // an append time too far from the base timestamp
        }
    }
    assert!(headers <= LIMITS.max_decompressed_bytes);
    let rebuilt = builder
        .build(batch.header().base)
        .expect("smaller than the limits");
    same_records(&batch, &Batch::parse(&rebuilt).expect("built"));
    let other = recompress(&batch, Compression::Lz4, &LIMITS).expect("it has been read");
    same_records(&batch, &Batch::parse(&other).expect("built"));
}

fn same_records(one: &Batch<'_>, other: &Batch<'_>) {
    let one = one.records(&LIMITS).expect("read before");
    let other = other.records(&LIMITS).expect("read before");
    for (one, other) in one.iter().zip(&other) {
        let (one, other) = (one.expect("read before"), other.expect("written from it"));
        assert_eq!(one.offset, other.offset);
        assert_eq!(
            (one.timestamp, one.key, one.value),
            (other.timestamp, other.key, other.value)
        );
        assert!(one.headers.eq(other.headers));
    }
    assert_eq!(one.iter().count(), other.iter().count());
}
