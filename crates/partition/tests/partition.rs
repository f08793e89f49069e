//! A partition on a real directory: appends, acknowledgement, reading, upkeep.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_partition::{
    AppendError, Appended, Cleanup, Durability, Partition, PartitionConfig, PartitionId, ReadError,
};
use plimsoll_record_batch::{
    Batch, BatchBuilder, BatchHeader, Compression, DecodeLimits, Producer, RecordToWrite,
};
use plimsoll_segment_log::{
    DataDir, FlushPool, LogConfig, LogHost, Minimum, NodeIdentity, ToAppend,
};
use plimsoll_types::{
    LeaderEpoch, Monotonic, NodeId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId,
    TopicName,
};
use plimsoll_watermark::Mark;
use tempfile::TempDir;

struct Bed {
    data: DataDir,
    _dir: TempDir,
    host: LogHost,
    flushers: Arc<FlushPool>,
}

impl Bed {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let node = NodeId::new(1).unwrap();
        let identity = NodeIdentity {
            node_id: node,
            cluster_id: "test".to_owned(),
        };
        Self {
            data: DataDir::open(dir.path(), &identity).unwrap(),
            _dir: dir,
            host: LogHost::new(100),
            flushers: Arc::new(FlushPool::new(2).unwrap()),
        }
    }

    fn open(&self, epoch: u32, config: PartitionConfig) -> Arc<Partition> {
        let id = PartitionId {
            topic: TopicName::new("t").unwrap(),
            topic_id: TopicId::from_bytes([7; 16]),
            index: 0,
        };
        let (node, epoch) = (NodeId::new(1).unwrap(), LeaderEpoch::new(epoch));
        Partition::open(
            &self.host,
            &self.data,
            id,
            node,
            epoch,
            config,
            &self.flushers,
        )
        .unwrap()
        .partition
    }
}

fn config(durability: Durability) -> PartitionConfig {
    PartitionConfig {
        log: LogConfig {
            segment_bytes: 1 << 20,
            segment_age: None,
            index_interval_bytes: 4096,
            producer_expiry: Duration::from_secs(3600),
            decode: DecodeLimits {
                max_decompressed_bytes: 1 << 20,
                max_records: 10_000,
            },
        },
        durability,
        cleanup: Cleanup {
            delete: true,
            compact: false,
        },
        retention_bytes: None,
        retention_age: None,
        tombstone_age: Duration::from_secs(60),
        min_compaction_lag: Duration::ZERO,
        max_compaction_lag: None,
        min_dirty_ratio: 0.5,
    }
}

fn to_append(value: &str, producer: Option<(u64, i32)>) -> ToAppend {
    keyed(None, value, producer)
}

fn keyed(key: Option<&str>, value: &str, producer: Option<(u64, i32)>) -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, base_sequence)) = producer {
        let id = ProducerId::new(id).unwrap();
        builder = builder.producer(Producer {
            id,
            epoch: ProducerEpoch(0),
            base_sequence,
        });
    }
    builder
        .push(&RecordToWrite {
            timestamp: Timestamp::from_millis(1),
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            headers: &[],
        })
        .unwrap();
    let bytes: Bytes = builder.build(Offset::ZERO).unwrap();
    ToAppend {
        header: BatchHeader::decode(&bytes).unwrap(),
        bytes,
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn append(partition: &Partition, value: &str) -> Appended {
    let appended = block_on(partition.append(to_append(value, None))).unwrap();
    block_on(
        partition
            .watermarks()
            .wait(Mark::HighWatermark, appended.end),
    )
    .unwrap();
    appended
}

fn offsets(partition: &Partition, from: u64) -> Vec<u64> {
    let read = partition
        .read(Offset::new(from), 1 << 20, Minimum::OneBatch)
        .unwrap();
    let bytes = read.slices.chunks.concat();
    let mut rest = bytes.as_slice();
    let mut offsets = Vec::new();
    while !rest.is_empty() {
        let batch = Batch::parse(rest).unwrap();
        offsets.push(batch.header().base.get());
        rest = &rest[batch.bytes().len()..];
    }
    offsets
}

#[test]
fn an_acknowledged_batch_is_durable_in_an_fsync_topic() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Fsync));
    let appended = append(&partition, "a");
    assert!(partition.watermarks().durable_end() >= appended.end);
}

#[test]
fn offsets_go_on_after_a_close_and_a_new_term() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Fsync));
    append(&partition, "a");
    partition.close().unwrap();
    drop(partition);
    let partition = bed.open(1, config(Durability::Fsync));
    assert_eq!(append(&partition, "b").base, Offset::new(1));
    assert_eq!(offsets(&partition, 0), [0, 1]);
    let epochs: Vec<u32> = partition
        .reader()
        .epochs()
        .entries()
        .iter()
        .map(|entry| entry.epoch.get())
        .collect();
    assert_eq!(epochs, [0, 1]);
}

#[test]
fn what_a_killed_process_wrote_is_there_and_acknowledged_at_the_next_start() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    append(&partition, "a");
    drop(partition);
    let partition = bed.open(1, config(Durability::Os));
    assert_eq!(partition.watermarks().high_watermark(), Offset::new(1));
    drop(partition);
    let partition = bed.open(2, config(Durability::Fsync));
    assert_eq!(partition.watermarks().high_watermark(), Offset::new(1));
    assert_eq!(partition.watermarks().durable_end(), Offset::new(1));
}

#[test]
fn batches_of_one_producer_that_wait_together_are_judged_in_their_order() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    let outcomes: Vec<_> = [0, 1, 1, 3]
        .map(|sequence| partition.append(to_append("x", Some((9, sequence)))))
        .into_iter()
        .map(block_on)
        .collect();
    let bases: Vec<_> = outcomes
        .iter()
        .map(|o| o.as_ref().map(|a| a.base.get()).ok())
        .collect();
    assert_eq!(bases, [Some(0), Some(1), Some(1), None]);
    assert!(outcomes[2].as_ref().unwrap().duplicate_of.is_some());
    assert_eq!(
        outcomes[3],
        Err(AppendError::OutOfOrder {
            expected: 2,
            got: 3
        })
    );
}

#[test]
fn many_threads_append_without_gap_or_loss() {
    const THREADS: usize = 4;
    const EACH: usize = 200;
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    let mut bases: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| -> Vec<u64> {
                    (0..EACH)
                        .map(|_| append(&partition, "x").base.get())
                        .collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    bases.sort_unstable();
    assert_eq!(
        bases,
        (0..u64::try_from(THREADS * EACH).unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(offsets(&partition, 0).len(), THREADS * EACH);
}

#[test]
fn nothing_is_read_at_or_above_the_high_watermark() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    append(&partition, "a");
    assert_eq!(offsets(&partition, 1), Vec::<u64>::new());
    let beyond = partition
        .read(Offset::new(2), 1024, Minimum::OneBatch)
        .err()
        .unwrap();
    assert!(matches!(beyond, ReadError::OutOfRange { .. }), "{beyond}");
}

#[test]
fn deleted_records_are_below_the_log_start_for_good() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Fsync));
    (0..3).for_each(|_| _ = append(&partition, "a"));
    assert_eq!(
        partition.delete_records(Some(Offset::new(2))).unwrap(),
        Offset::new(2)
    );
    assert!(partition.delete_records(Some(Offset::new(9))).is_err());
    drop(partition);
    let partition = bed.open(1, config(Durability::Fsync));
    assert_eq!(partition.watermarks().log_start(), Offset::new(2));
    assert_eq!(partition.delete_records(None).unwrap(), Offset::new(3));
    assert_eq!(append(&partition, "b").base, Offset::new(3));
}

#[test]
fn retention_by_size_moves_the_log_start() {
    let bed = Bed::new();
    let mut small = config(Durability::Os);
    small.log.segment_bytes = 4096;
    small.retention_bytes = Some(8192);
    let partition = bed.open(0, small);
    (0..20).for_each(|_| _ = append(&partition, &"x".repeat(1000)));
    let done = partition
        .maintain(Monotonic::default(), Timestamp::from_millis(2))
        .unwrap();
    assert!(done.log_start_moved);
    assert!(partition.watermarks().log_start() > Offset::ZERO);
    assert!(partition.reader().size_bytes() <= 8192 + 4096);
}

#[test]
fn a_removed_partition_is_offline_and_its_files_are_gone() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    append(&partition, "a");
    partition.remove(&bed.data).unwrap();
    assert_eq!(bed.data.partitions().unwrap(), []);
    let refused = block_on(partition.append(to_append("b", None)));
    assert!(
        matches!(refused, Err(AppendError::Offline { .. })),
        "{refused:?}"
    );
}

#[test]
fn who_waits_for_an_acknowledgement_hears_that_the_partition_went() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    let mut wait = pin!(
        partition
            .watermarks()
            .wait(Mark::HighWatermark, Offset::new(1))
    );
    assert!(
        wait.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    partition.remove(&bed.data).unwrap();
    assert!(block_on(wait).is_err());
}

#[test]
fn a_changed_durability_takes_effect_and_takes_nothing_back() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    append(&partition, "a");
    partition.set_config(config(Durability::Fsync));
    assert_eq!(partition.watermarks().high_watermark(), Offset::new(1));
    let appended = append(&partition, "b");
    assert!(partition.watermarks().durable_end() >= appended.end);
}

#[test]
fn a_compacted_topic_keeps_the_newest_record_of_each_key() {
    let bed = Bed::new();
    let mut compacted = config(Durability::Fsync);
    compacted.cleanup = Cleanup {
        delete: false,
        compact: true,
    };
    compacted.max_compaction_lag = Some(Duration::from_secs(1));
    let partition = bed.open(0, compacted);
    for value in 0..10 {
        let batch = keyed(Some("key"), &value.to_string(), None);
        let appended = block_on(partition.append(batch)).unwrap();
        block_on(
            partition
                .watermarks()
                .wait(Mark::HighWatermark, appended.end),
        )
        .unwrap();
    }
    let early = Timestamp::from_millis(500);
    assert_eq!(
        partition.compact(early).unwrap(),
        None,
        "nothing is overdue yet"
    );
    let report = partition
        .compact(Timestamp::from_millis(60_000))
        .unwrap()
        .unwrap();
    assert_eq!(report.superseded, 9);
    // A batch without records keeps the place of what is gone.
    assert_eq!(offsets(&partition, 0), [0, 9]);
    assert_eq!(append(&partition, "after").base, Offset::new(10));
}

#[test]
fn a_producer_that_the_log_forgot_goes_on_where_it_is() {
    let bed = Bed::new();
    let partition = bed.open(0, config(Durability::Os));
    let outcomes: Vec<_> = [41, 42, 42, 44]
        .map(|sequence| block_on(partition.append(to_append("x", Some((9, sequence))))))
        .into_iter()
        .map(|outcome| outcome.map(|appended| appended.base.get()))
        .collect();
    let hole = AppendError::OutOfOrder {
        expected: 43,
        got: 44,
    };
    assert_eq!(outcomes, [Ok(0), Ok(1), Ok(1), Err(hole)]);
}
