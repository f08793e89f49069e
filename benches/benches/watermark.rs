//! What it costs to publish, read and await a partition's offsets, and what it would cost with a
//! lock.
//!
//! - `watermark_publish/readers/N`: one writer publishes its log end while N threads read now and
//!   then.
//! - `watermark_read/readers/N`: one of N threads that read, while a writer publishes now and then.
//! - `watermark_ack/followers/N`: N threads publish a follower's position each.
//! - `watermark_mixed/followers/N`: all at once: one thread publishes the log end, N threads read it
//!   and publish a follower's position each, and two more read now and then.
//! - `watermark_wait/waiters/N`: with N parked, one is reached, and another parks.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::contention::{Busy, small_work, together};
use plimsoll_benches::marks::{Channel, Marks, Plain};
use plimsoll_benches::settings::{id, modest};
use plimsoll_benches::waiting::{self, Awaited, Task};
use plimsoll_watermark::Watermarks;

const READERS: [usize; 3] = [0, 1, 4];
const FOLLOWERS: [u32; 3] = [1, 2, 4];
const WAITERS: [u64; 4] = [1, 10, 100, 1000];

fn publish_with<M: Marks>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for readers in READERS {
        group.bench_function(id("readers", M::RIVAL, readers), |bencher| {
            let marks = Arc::new(M::lead(0));
            let _busy = Busy::start(readers, |_| {
                let marks = Arc::clone(&marks);
                move || {
                    black_box(marks.read());
                    small_work();
                }
            });
            let mut end = 0;
            bencher.iter(|| {
                end += 1;
                marks.publish(end);
            });
        });
    }
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark_publish");
    group.throughput(Throughput::Elements(1));
    publish_with::<Watermarks>(&mut group);
    publish_with::<parking_lot::Mutex<Plain>>(&mut group);
    publish_with::<parking_lot::RwLock<Plain>>(&mut group);
    publish_with::<std::sync::Mutex<Plain>>(&mut group);
    publish_with::<std::sync::RwLock<Plain>>(&mut group);
    publish_with::<Channel>(&mut group);
    group.finish();
}

fn read_with<M: Marks>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for readers in READERS.into_iter().filter(|&readers| readers > 0) {
        group.bench_function(id("readers", M::RIVAL, readers), |bencher| {
            let marks = Arc::new(M::lead(0));
            let writing = Arc::clone(&marks);
            let mut end = 0;
            let _writer = Busy::start(1, |_| {
                let writing = Arc::clone(&writing);
                move || {
                    end += 1;
                    writing.publish(end);
                    small_work();
                }
            });
            let _others = Busy::start(readers - 1, |_| {
                let marks = Arc::clone(&marks);
                move || {
                    black_box(marks.read());
                    small_work();
                }
            });
            bencher.iter(|| marks.read());
        });
    }
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark_read");
    group.throughput(Throughput::Elements(1));
    read_with::<Watermarks>(&mut group);
    read_with::<parking_lot::Mutex<Plain>>(&mut group);
    read_with::<parking_lot::RwLock<Plain>>(&mut group);
    read_with::<std::sync::RwLock<Plain>>(&mut group);
    read_with::<Channel>(&mut group);
    group.finish();
}

fn ack_with<M: Marks>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for followers in FOLLOWERS {
        let threads = usize::try_from(followers).expect("a small number");
        group.throughput(Throughput::Elements(u64::from(followers)));
        group.bench_function(id("followers", M::RIVAL, followers), |bencher| {
            bencher.iter_custom(|acks| {
                let marks = M::lead(followers);
                marks.publish(acks + 1);
                together(threads, |nth| {
                    let follower = u32::try_from(nth).expect("a small number");
                    for end in 1..=acks {
                        marks.ack(follower, end);
                    }
                })
            });
        });
    }
}

fn ack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark_ack");
    ack_with::<Watermarks>(&mut group);
    ack_with::<parking_lot::Mutex<Plain>>(&mut group);
    ack_with::<parking_lot::RwLock<Plain>>(&mut group);
    ack_with::<Channel>(&mut group);
    group.finish();
}

fn mixed_with<M: Marks>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for followers in FOLLOWERS {
        let threads = 1 + usize::try_from(followers).expect("a small number");
        group.throughput(Throughput::Elements(1 + u64::from(followers)));
        group.bench_function(id("followers", M::RIVAL, followers), |bencher| {
            bencher.iter_custom(|moves| {
                let marks = Arc::new(M::lead(followers));
                let _readers = Busy::start(2, |_| {
                    let marks = Arc::clone(&marks);
                    move || {
                        black_box(marks.read());
                        small_work();
                    }
                });
                together(threads, |nth| {
                    let nth = u32::try_from(nth).expect("a small number");
                    for end in 1..=moves {
                        match nth.checked_sub(1) {
                            None => marks.publish(end),
                            Some(follower) => marks.ack(follower, marks.read().1),
                        }
                        small_work();
                    }
                })
            });
        });
    }
}

fn mixed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark_mixed");
    mixed_with::<Watermarks>(&mut group);
    mixed_with::<parking_lot::Mutex<Plain>>(&mut group);
    mixed_with::<parking_lot::RwLock<Plain>>(&mut group);
    mixed_with::<Channel>(&mut group);
    group.finish();
}

fn wait_with<A: Awaited>(group: &mut BenchmarkGroup<'_, WallTime>) {
    for waiters in WAITERS {
        group.bench_function(id("waiters", A::RIVAL, waiters), |bencher| {
            let awaited = Arc::new(A::alone());
            let mut parked: VecDeque<Task> = (1..=waiters)
                .map(|end| Task::start(awaited.reached(end)))
                .collect();
            let mut end = 0;
            bencher.iter(|| {
                end += 1;
                awaited.publish(end);
                // Whoever was woken looks; the one who waited for this offset is done.
                let mut done = 0;
                for task in &mut parked {
                    done += usize::from(task.run());
                }
                assert_eq!(done, 1, "exactly one was reached");
                parked.pop_front();
                parked.push_back(Task::start(awaited.reached(end + waiters)));
            });
        });
    }
}

fn wait(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark_wait");
    group.throughput(Throughput::Elements(1));
    wait_with::<Watermarks>(&mut group);
    wait_with::<waiting::Locked>(&mut group);
    wait_with::<waiting::Channel>(&mut group);
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = publish, read, ack, mixed, wait
}
criterion_main!(benches);
