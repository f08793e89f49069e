//! `wire_decode_produce/partitions/N`: reading a produce request that carries a small batch to
//! each of N partitions. The batches stay slices of the frame.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::batches::batch;
use plimsoll_benches::settings::{id, modest};
use plimsoll_wire::frame::PREFIX_BYTES;
use plimsoll_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use plimsoll_wire::{Request, decode_request, encode_request};

const PARTITIONS: [i32; 4] = [1, 16, 256, 1024];
const VERSION: i16 = 9;

fn frame(partitions: i32) -> Bytes {
    let batch = batch(1, 100);
    let to_partition = |index| PartitionProduceData {
        index,
        records: Some(batch.clone().into()),
    };
    let topic = TopicProduceData {
        name: "bench".into(),
        partition_data: (0..partitions).map(to_partition).collect(),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![topic],
        ..Default::default()
    };
    let encoded = encode_request(VERSION, 1, Some("bench"), &Request::Produce(request));
    let mut frame = BytesMut::from(encoded.concat());
    frame.split_off(PREFIX_BYTES).freeze()
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_decode_produce");
    for partitions in PARTITIONS {
        let frame = frame(partitions);
        group.throughput(Throughput::Elements(u64::from(partitions.unsigned_abs())));
        group.bench_function(id("partitions", "", partitions), |bencher| {
            bencher.iter(|| decode_request(black_box(frame.clone())).expect("it was encoded here"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = decode
}
criterion_main!(benches);
