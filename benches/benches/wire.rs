//! `wire_decode_produce/partitions/N`: reading a produce request that carries a small batch to
//! each of N partitions. The batches stay slices of the frame.
//!
//! `wire_peer_append/bytes/N` and `wire_peer_acks/sessions/N`: writing and reading the frames that
//! replication is made of. What is copied of an append is its head.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::batches::batch;
use plimsoll_benches::settings::{id, modest};
use plimsoll_types::Offset;
use plimsoll_wire::frame::PREFIX_BYTES;
use plimsoll_wire::peer::{Ack, Acks, Append, StreamFrame};
use plimsoll_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use plimsoll_wire::{Request, decode_request, encode_request};

const PARTITIONS: [i32; 4] = [1, 16, 256, 1024];
const VERSION: i16 = 9;
const APPEND_BYTES: [usize; 2] = [1 << 10, 256 << 10];
const SESSIONS: [u64; 3] = [1, 16, 256];

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

fn peer_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_peer_append");
    for bytes in APPEND_BYTES {
        let records = Bytes::from(vec![0_u8; bytes]);
        let frame = StreamFrame::Append(Append {
            session: 1,
            seq: 1,
            from: Offset::ZERO,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            log_end: Offset::new(1),
            total: u32::try_from(bytes).expect("a small number"),
            at: 0,
            // Checked by who puts the run together, not by the codec.
            seal: 0,
            records: records.clone().into(),
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(id("bytes", "", bytes), |bencher| {
            bencher.iter(|| {
                let (head, tail) = black_box(&frame).encode();
                black_box(tail);
                StreamFrame::decode(head, records.clone()).expect("it was encoded here")
            });
        });
    }
    group.finish();
}

fn peer_acks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_peer_acks");
    for sessions in SESSIONS {
        let ack = |session| Ack {
            session,
            log_end: Offset::new(session),
            durable_end: Offset::ZERO,
            log_start: Offset::ZERO,
        };
        let frame = StreamFrame::Acks(Acks {
            echo: 1,
            acks: (0..sessions).map(ack).collect(),
        });
        group.throughput(Throughput::Elements(sessions));
        group.bench_function(id("sessions", "", sessions), |bencher| {
            bencher.iter(|| {
                let (head, _) = black_box(&frame).encode();
                StreamFrame::decode(head, Bytes::new()).expect("it was encoded here")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = decode, peer_append, peer_acks
}
criterion_main!(benches);
