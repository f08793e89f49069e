//! What replication costs a leader, with frames carried by hand and no sockets.
//!
//! - `replication_ack/followers/N`: N threads take a follower's acks each, from the frame to the
//!   high watermark.
//! - `replication_fanout/followers/N`: a 64 KiB batch is appended, made ready for N followers'
//!   sockets, and acknowledged by each; beside it the same with the records copied, and with a
//!   channel in place of sessions.

use std::sync::Mutex;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::batches::{batch, header_of};
use plimsoll_benches::contention::together;
use plimsoll_benches::logs::to_append;
use plimsoll_benches::replicas::{Broadcast, Copied, FanOut, Leader};
use plimsoll_benches::settings::{id, modest};
use plimsoll_segment_log::ToAppend;

const FOLLOWERS: [u32; 3] = [1, 2, 4];
const BATCH_BYTES: usize = 64 << 10;
/// Records of one batch that only has to have many, so that there is much to acknowledge.
const MANY: u32 = 100_000;

fn ack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replication_ack");
    let bytes = batch(MANY, 1);
    let many = ToAppend {
        header: header_of(&bytes),
        bytes,
    };
    for followers in FOLLOWERS {
        group.throughput(Throughput::Elements(u64::from(followers)));
        group.bench_function(id("followers", "", followers), |bencher| {
            bencher.iter_custom(|acks| {
                let mut leader = Leader::with(followers);
                for _ in 0..acks.div_ceil(u64::from(MANY)) {
                    leader.append(many.clone());
                }
                let ends: Vec<_> = leader.followers.drain(..).map(Mutex::new).collect();
                let took = together(ends.len(), |nth| {
                    // Nobody else's: each thread has its own.
                    let mut follower = ends[nth].lock().expect("nobody panics under it");
                    (1..=acks).for_each(|end| follower.ack(end));
                });
                assert_eq!(leader.high_watermark(), acks, "all were counted");
                took
            });
        });
    }
    group.finish();
}

fn fan_out_with<F: FanOut>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let batch = to_append(BATCH_BYTES);
    for followers in FOLLOWERS {
        let bytes = batch.bytes.len() as u64;
        group.throughput(Throughput::Bytes(bytes * u64::from(followers)));
        group.bench_function(id("followers", F::RIVAL, followers), |bencher| {
            let mut leader = F::with(followers);
            bencher.iter(|| leader.round(batch.clone()));
        });
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replication_fanout");
    fan_out_with::<Leader>(&mut group);
    fan_out_with::<Copied>(&mut group);
    fan_out_with::<Broadcast>(&mut group);
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = ack, fan_out
}
criterion_main!(benches);
