//! `partition_append/producers/N`: N threads append one 4 KiB batch after another to a partition
//! and wait until each is readable, through the combining lock, a plain lock, or a shard thread.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::contention::together;
use plimsoll_benches::logs::{TempPartition, to_append};
use plimsoll_benches::settings::{id, modest};
use plimsoll_benches::writers::{Appends, Locked, Shard};

const PRODUCERS: [usize; 4] = [1, 2, 4, 16];
const BATCH_BYTES: usize = 4096;

fn append_with<A: Appends>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let batch = to_append(BATCH_BYTES);
    for producers in PRODUCERS {
        group.throughput(Throughput::Bytes((producers * batch.bytes.len()) as u64));
        group.bench_function(id("producers", A::RIVAL, producers), |bencher| {
            bencher.iter_custom(|appends| {
                let log = A::empty();
                // The first append makes and syncs files, once in a log's life.
                log.append(batch.clone());
                together(producers, |_| {
                    for _ in 0..appends {
                        log.append(batch.clone());
                    }
                })
            });
        });
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partition_append");
    append_with::<TempPartition>(&mut group);
    append_with::<Locked>(&mut group);
    append_with::<Shard>(&mut group);
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = append
}
criterion_main!(benches);
