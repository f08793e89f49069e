//! Two partitions on one stream: neither a hot one nor a huge batch keeps the other waiting.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(missing_docs, reason = "tests say what they show by name")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_partition::{Cleanup, Durability, Partition, PartitionConfig, PartitionId};
use plimsoll_record_batch::{Batch, BatchBuilder, Compression, DecodeLimits, RecordToWrite};
use plimsoll_replicator::{
    Config, FollowLink, LeadLink, PeerInfo, Purpose, Replicas, Store, StreamFrame, View,
};
use plimsoll_segment_log::{DataDir, FlushPool, LogConfig, LogHost, NodeIdentity, ToAppend};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey, Timestamp,
    TopicId, TopicName,
};
use tempfile::TempDir;

struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct Pair {
    _dir: TempDir,
    _flushers: Arc<FlushPool>,
    leaders: Vec<Arc<Partition>>,
    follow: FollowLink,
    lead: LeadLink,
    nodes: Vec<Arc<Replicas>>,
    bell: Arc<Bell>,
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn now() -> Monotonic {
    Monotonic::from_start(Duration::from_secs(1))
}

fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

fn open(data: &DataDir, id: u32, index: u32, flushers: &Arc<FlushPool>) -> Arc<Partition> {
    let partition_id = PartitionId {
        topic: TopicName::new("t").unwrap(),
        topic_id: topic(),
        index,
    };
    let config = PartitionConfig {
        log: LogConfig {
            segment_bytes: 16 << 20,
            segment_age: None,
            index_interval_bytes: 4096,
            producer_expiry: Duration::from_secs(3600),
            decode: DecodeLimits {
                max_decompressed_bytes: 64 << 20,
                max_records: 10_000,
            },
        },
        durability: Durability::Os,
        cleanup: Cleanup {
            delete: true,
            compact: false,
        },
        retention_bytes: None,
        retention_age: None,
        tombstone_age: Duration::from_secs(3600),
        min_compaction_lag: Duration::ZERO,
        max_compaction_lag: None,
        min_dirty_ratio: 0.5,
    };
    let host = LogHost::new(100);
    Partition::open_idle(&host, data, partition_id, node(id), config, flushers)
        .unwrap()
        .partition
}

impl Pair {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let flushers = Arc::new(FlushPool::new(1).unwrap());
        let config = Config {
            chunk_bytes: 4 << 10,
            turn_bytes: 1 << 20,
            ..Config::agreed()
        };
        let (mut nodes, mut leaders) = (Vec::new(), Vec::new());
        for id in [1, 2] {
            let path = dir.path().join(id.to_string());
            std::fs::create_dir(&path).unwrap();
            let identity = NodeIdentity {
                node_id: node(id),
                cluster_id: "test".to_owned(),
            };
            let data = DataDir::open(&path, &identity).unwrap();
            let replicas = Replicas::new(node(id), config);
            let peer = |id| PeerInfo {
                node: node(id),
                address: String::new(),
                broker_epoch: BrokerEpoch(u64::from(id)),
                fenced: false,
                draining: false,
                stopping: false,
            };
            replicas.set_peers(vec![peer(1), peer(2)]);
            for index in [0, 1] {
                let partition = open(&data, id, index, &flushers);
                let store: Arc<dyn Store> = partition.clone();
                let view = View {
                    key: PartitionKey {
                        topic: topic(),
                        index,
                    },
                    leader: Some(node(1)),
                    leader_epoch: LeaderEpoch::new(1),
                    partition_epoch: PartitionEpoch(1),
                    replicas: vec![node(1), node(2)],
                    isr: vec![node(1), node(2)],
                    elr: Vec::new(),
                    min_isr: 1,
                    unclean_epoch: None,
                };
                replicas.apply(&store, &view, now());
                if id == 1 {
                    leaders.push(partition);
                }
            }
            nodes.push(replicas);
        }
        let (one, two): (&Arc<Replicas>, &Arc<Replicas>) = (&nodes[0], &nodes[1]);
        let mut pair = Self {
            follow: two.follow_link(node(1), Purpose::InSync, now()),
            lead: one.lead_link(node(2), BrokerEpoch(2), Purpose::InSync, now()),
            _dir: dir,
            _flushers: flushers,
            leaders,
            nodes,
            bell: Arc::new(Bell(AtomicUsize::new(0))),
        };
        while !pair.turn().is_empty() {}
        pair
    }

    /// One turn each way; what the leader sent.
    fn turn(&mut self) -> Vec<StreamFrame> {
        let mut worked = false;
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while self
            .follow
            .poll_outgoing(&mut cx, now(), &mut up)
            .is_ready()
        {
            for frame in up.drain(..) {
                self.lead.receive(frame, now()).unwrap();
            }
        }
        if self.lead.poll_outgoing(&mut cx, now(), &mut down) == Poll::Ready(()) {
            for frame in down.clone() {
                self.follow.receive(frame, now()).unwrap();
            }
        }
        for known in &self.nodes {
            while let Some(work) = known.take_work() {
                work.run(known, now());
                worked = true;
            }
        }
        if worked {
            down.extend(self.turn());
        }
        down
    }

    fn append(&self, index: usize, bytes: usize) {
        let value = vec![1; bytes];
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push(&RecordToWrite {
                timestamp: Timestamp::from_millis(1_700_000_000_000),
                key: None,
                value: Some(&value),
                headers: &[],
            })
            .unwrap();
        let bytes = builder.build(Offset::ZERO).unwrap();
        let header = *Batch::parse(&bytes).unwrap().header();
        drop(self.leaders[index].append(ToAppend { header, bytes }));
    }
}

/// Which session each record frame of a turn belongs to.
fn sessions(frames: &[StreamFrame]) -> Vec<u64> {
    let session = |frame: &StreamFrame| match frame {
        StreamFrame::Append(append) => Some(append.session),
        _ => None,
    };
    frames.iter().filter_map(session).collect()
}

#[test]
fn an_append_wakes_the_link_once() {
    let mut pair = Pair::new();
    assert_eq!(pair.turn(), []);
    let before = pair.bell.0.load(SeqCst);
    pair.append(0, 10);
    assert_eq!(pair.bell.0.load(SeqCst), before + 1);
    pair.append(0, 10);
    assert_eq!(pair.bell.0.load(SeqCst), before + 1, "it is awake already");
    assert_eq!(sessions(&pair.turn()).len(), 1);
}

#[test]
fn other_frames_go_between_the_pieces_of_a_huge_batch() {
    let mut pair = Pair::new();
    pair.append(0, 200 << 10);
    pair.append(1, 10);
    let order = sessions(&pair.turn());
    let huge = order[0];
    assert!(order.len() > 50, "{order:?}");
    let other = order.iter().position(|session| *session != huge);
    assert!(other.is_some_and(|at| at <= 2), "{order:?}");
}

#[test]
fn a_hot_partition_leaves_every_second_frame_to_another() {
    let mut pair = Pair::new();
    for _ in 0..200 {
        pair.append(0, 3000);
    }
    for _ in 0..20 {
        pair.append(1, 3000);
    }
    let order = sessions(&pair.turn());
    let hot = order[0];
    let quiet = order.iter().take(40).filter(|session| **session != hot);
    assert_eq!(quiet.count(), 20, "{order:?}");
}
