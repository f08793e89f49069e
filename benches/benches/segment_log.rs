//! The log on disk: how fast it takes batches, gives them back, and opens after a crash.
//!
//! - `segment_log_append/batch_bytes/N`: one batch an append, into the page cache; beside it the
//!   same bytes appended to a plain file, which is the least it can cost.
//! - `segment_log_read/readers/N`: 64 KiB as slices of the map, one of N threads that read; beside
//!   it the same bytes copied by `pread`.
//! - `segment_log_recover/segments/N`: opening a log of N segments of 1 MiB that was not closed.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::contention::{Busy, now};
use plimsoll_benches::logs::{TempLog, open_log, to_append};
use plimsoll_benches::settings::{id, modest};
use plimsoll_segment_log::{LogReader, Minimum};
use plimsoll_types::{LeaderEpoch, Offset};

const SEGMENT_BYTES: u32 = 256 << 20;
const BATCH_BYTES: [usize; 4] = [1 << 10, 16 << 10, 64 << 10, 1 << 20];
const READERS: [usize; 3] = [1, 2, 4];
const READ_BYTES: usize = 64 << 10;
const LOG_BYTES: usize = 64 << 20;
const SEGMENTS: [usize; 3] = [1, 8, 64];

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment_log_append");
    for bytes in BATCH_BYTES {
        let batch = to_append(bytes);
        group.throughput(Throughput::Bytes(batch.bytes.len() as u64));
        group.bench_function(id("batch_bytes", "", bytes), |bencher| {
            bencher.iter_custom(|appends| {
                let mut temp = TempLog::empty(SEGMENT_BYTES);
                let batch = std::slice::from_ref(&batch);
                let mut append = || temp.log.writer.append(LeaderEpoch::ZERO, batch);
                // The first append makes and syncs files, once in a log's life.
                append().expect("room on the disk");
                let began = now();
                for _ in 0..appends {
                    black_box(append().expect("room on the disk"));
                }
                began.elapsed()
            });
        });
        group.bench_function(id("batch_bytes", "plain_file", bytes), |bencher| {
            bencher.iter_custom(|appends| write_plainly(&batch.bytes, appends));
        });
    }
    group.finish();
}

fn write_plainly(bytes: &[u8], appends: u64) -> Duration {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let began = now();
    for _ in 0..appends {
        file.write_all(bytes).expect("room on the disk");
    }
    began.elapsed()
}

/// Reads a log from front to back, over and over.
struct Tour {
    reader: LogReader,
    bases: Vec<Offset>,
    at: usize,
}

impl Tour {
    fn next(&mut self) -> usize {
        let from = self.bases[self.at % self.bases.len()];
        self.at += 1;
        let slices = self
            .reader
            .read(from, Offset::MAX, READ_BYTES, Minimum::OneBatch);
        slices.expect("it was written").bytes
    }
}

fn read(criterion: &mut Criterion) {
    let (temp, bases) = TempLog::filled(SEGMENT_BYTES, LOG_BYTES, READ_BYTES);
    let tour = |at| Tour {
        reader: temp.log.reader.clone(),
        bases: bases.clone(),
        at,
    };
    let mut group = criterion.benchmark_group("segment_log_read");
    group.throughput(Throughput::Bytes(tour(0).next() as u64));
    for readers in READERS {
        group.bench_function(id("readers", "", readers), |bencher| {
            let _busy = Busy::start(readers - 1, |nth| {
                let mut tour = tour(nth * 7);
                move || {
                    black_box(tour.next());
                }
            });
            let mut tour = tour(0);
            bencher.iter(|| tour.next());
        });
        group.bench_function(id("readers", "pread", readers), |bencher| {
            let file = plain_file();
            let _busy = Busy::start(readers - 1, |nth| pread(&file, nth * 7));
            let mut next = pread(&file, 0);
            bencher.iter(&mut next);
        });
    }
    group.finish();
}

fn plain_file() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; LOG_BYTES])
        .expect("room on the disk");
    file
}

fn pread(file: &File, mut at: usize) -> impl FnMut() + Send + 'static {
    let file = file.try_clone().expect("a descriptor");
    let mut buffer = vec![0; READ_BYTES];
    move || {
        let offset = (at % (LOG_BYTES / READ_BYTES)) * READ_BYTES;
        at += 1;
        file.read_exact_at(&mut buffer, offset as u64)
            .expect("it was written");
        black_box(&buffer);
    }
}

fn recover(criterion: &mut Criterion) {
    const SEGMENT: usize = 1 << 20;
    let segment_bytes = u32::try_from(SEGMENT).expect("a small number");
    let mut group = criterion.benchmark_group("segment_log_recover");
    for segments in SEGMENTS {
        let (temp, _) = TempLog::filled(segment_bytes, segments * SEGMENT, 16 << 10);
        let dir = temp.crash();
        group.throughput(Throughput::Elements(segments as u64));
        group.bench_function(id("segments", "", segments), |bencher| {
            let open = || open_log(dir.path(), segment_bytes);
            bencher.iter_batched(|| (), |()| open(), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = modest();
    targets = append, read, recover
}
criterion_main!(benches);
