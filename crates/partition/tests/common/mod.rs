//! Two nodes' replicas of one partition in one process, and a disk that can fail.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it, and a file of tests has no outside"
)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_partition::{
    Appended, Cleanup, Durability, IsrRule, LeaderTerm, Partition, PartitionConfig, PartitionId,
};
use plimsoll_record_batch::{BatchBuilder, BatchHeader, Compression, DecodeLimits, RecordToWrite};
use plimsoll_segment_log::disk::{Disk, DiskFile, OpenFile, RealDisk};
use plimsoll_segment_log::map::SegmentMap;
use plimsoll_segment_log::{
    DataDir, FlushPool, LogConfig, LogHost, Minimum, NodeIdentity, ToAppend,
};
use plimsoll_types::{LeaderEpoch, NodeId, Offset, Timestamp, TopicId, TopicName};
use tempfile::TempDir;

pub fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

pub fn epoch(epoch: u32) -> LeaderEpoch {
    LeaderEpoch::new(epoch)
}

pub fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

/// One node.
pub struct Bed {
    pub dir: TempDir,
    data: DataDir,
    host: LogHost,
    flushers: Arc<FlushPool>,
    pub broken: Arc<AtomicBool>,
    id: u32,
}

impl Bed {
    pub fn new(id: u32) -> Self {
        let dir = TempDir::new().unwrap();
        let identity = NodeIdentity {
            node_id: node(id),
            cluster_id: "test".to_owned(),
        };
        let broken = Arc::new(AtomicBool::new(false));
        let disk = FailingDisk(Arc::clone(&broken));
        Self {
            data: DataDir::open(dir.path(), &identity).unwrap(),
            dir,
            host: LogHost::on(Arc::new(disk), 100),
            flushers: Arc::new(FlushPool::new(1).unwrap()),
            broken,
            id,
        }
    }

    /// The replica without a role.
    pub fn open(&self, config: PartitionConfig) -> Arc<Partition> {
        let id = PartitionId {
            topic: TopicName::new("t").unwrap(),
            topic_id: TopicId::from_bytes([7; 16]),
            index: 0,
        };
        let (host, data) = (&self.host, &self.data);
        Partition::open_idle(host, data, id, node(self.id), config, &self.flushers)
            .unwrap()
            .partition
    }

    /// The files of the partition with that ending.
    pub fn files(&self, ending: &str) -> Vec<PathBuf> {
        let log = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap();
        let mut found: Vec<_> = std::fs::read_dir(log)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        found.sort();
        found
    }
}

pub fn config(durability: Durability) -> PartitionConfig {
    PartitionConfig {
        log: LogConfig {
            segment_bytes: 600,
            segment_age: None,
            index_interval_bytes: 200,
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
        tombstone_age: Duration::ZERO,
        min_compaction_lag: Duration::ZERO,
        max_compaction_lag: None,
        min_dirty_ratio: 0.0,
    }
}

pub fn batch(key: &str, values: &[&str]) -> ToAppend {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(1),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .unwrap();
    }
    let bytes: Bytes = builder.build(Offset::ZERO).unwrap();
    ToAppend {
        header: BatchHeader::decode(&bytes).unwrap(),
        bytes,
    }
}

/// `followers` are 2 and 3; the ISR is what it says.
pub fn rule(isr: &[u32], min_isr: usize) -> IsrRule {
    IsrRule {
        followers: vec![node(2), node(3)],
        maximal_isr: isr.iter().copied().map(node).collect(),
        committed_isr: isr.len(),
        min_isr,
        fresh: Vec::new(),
    }
}

pub fn lead(partition: &Partition, in_epoch: u32, rule: IsrRule) -> Offset {
    let leader_epoch = epoch(in_epoch);
    let term = LeaderTerm { leader_epoch, rule };
    partition.become_leader(term).unwrap()
}

pub fn append(partition: &Partition, key: &str, values: &[&str]) -> Appended {
    block_on(partition.append(batch(key, values))).unwrap()
}

/// All bytes of the log from `from` on.
pub fn bytes_from(partition: &Partition, from: Offset) -> Bytes {
    let reader = partition.reader();
    let mut all = Vec::new();
    let mut next = from;
    while next < reader.log_end() {
        let slices = reader
            .read(next, reader.log_end(), 1 << 20, Minimum::OneBatch)
            .unwrap();
        slices
            .chunks
            .iter()
            .for_each(|chunk| all.extend_from_slice(chunk));
        next = slices.next;
    }
    all.into()
}

/// Copies what the follower does not have.
pub fn ship(leader: &Partition, follower: &Partition, in_epoch: u32) {
    let from = follower.reader().log_end();
    let bytes = bytes_from(leader, from);
    follower
        .append_replicated(epoch(in_epoch), from, &bytes)
        .unwrap();
}

pub fn block_on<F: Future>(future: F) -> F::Output {
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

/// The real disk, whose files cannot be synced while it is broken.
#[derive(Debug)]
struct FailingDisk(Arc<AtomicBool>);

#[derive(Debug)]
struct FailingFile(Box<dyn DiskFile>, Arc<AtomicBool>);

impl Disk for FailingDisk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open(path, how)?;
        Ok(Box::new(FailingFile(file, Arc::clone(&self.0))))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.file_bytes(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
}

impl DiskFile for FailingFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.0.write_at(parts, at)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(into, at)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.0.allocate(from, to)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.0.sync()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        self.0.map(bytes, frontier)
    }
}
