//! What a batch costs on its way in.
//!
//! - `batch_parse/records/N`: lengths, magic and checksum, of N records of 100 bytes.
//! - `batch_check/records/N`: besides, every record's lengths, offsets and timestamps.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::batches::batch;
use plimsoll_benches::settings::{id, modest};
use plimsoll_record_batch::{Batch, DecodeLimits, Keys};

const RECORDS: [u32; 4] = [1, 10, 100, 1000];
const VALUE_BYTES: usize = 100;
const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 64 << 20,
    max_records: 1 << 20,
};

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_parse");
    for records in RECORDS {
        let bytes = batch(records, VALUE_BYTES);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(id("records", "", records), |bencher| {
            bencher.iter(|| {
                Batch::parse(black_box(&bytes))
                    .expect("it was built here")
                    .header()
                    .crc
            });
        });
    }
    group.finish();
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_check");
    for records in RECORDS {
        let bytes = batch(records, VALUE_BYTES);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(id("records", "", records), |bencher| {
            bencher.iter(|| {
                let batch = Batch::parse(black_box(&bytes)).expect("it was built here");
                batch.check_records(&LIMITS, Keys::Optional).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = parse, check
}
criterion_main!(benches);
