//! A few nodes in one process, with a shuttle for frames instead of sockets.

mod ailing;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_partition::{Durability, Partition, PartitionId};
use plimsoll_replicator::{
    Config, Decision, FollowLink, LeadLink, PeerInfo, Purpose, Replicas, Store, StreamFrame, View,
};
use plimsoll_segment_log::{DataDir, FlushPool, LogHost, Minimum, NodeIdentity};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, PartitionEpoch, PartitionKey, TopicId, TopicName,
};
use tempfile::TempDir;

pub(crate) use setup::batch;
use setup::config;

pub(crate) fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

pub(crate) fn key() -> PartitionKey {
    PartitionKey {
        topic: topic(),
        index: 0,
    }
}

/// Whether a leader took a batch.
pub(crate) fn append(leader: &Partition, what: plimsoll_segment_log::ToAppend) -> bool {
    let mut append = pin!(leader.append(what));
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = append.as_mut().poll(&mut cx) {
            return done.is_ok();
        }
        std::thread::yield_now();
    }
}

pub(crate) struct Node {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) partition: Option<Arc<Partition>>,
    store: Option<Arc<dyn Store>>,
    path: PathBuf,
    host: LogHost,
    flushers: Arc<FlushPool>,
    /// Its disk takes nothing.
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) tricks: ailing::Tricks,
    epoch: u64,
    up: bool,
}

struct Pipe {
    follow: FollowLink,
    lead: LeadLink,
}

/// What a test does to a frame on its way: `false` cuts the connection.
pub(crate) type Meddler = Box<dyn FnMut(&mut StreamFrame) -> bool>;

pub(crate) struct World {
    pub(crate) nodes: BTreeMap<u32, Node>,
    pub(crate) view: View,
    pub(crate) now: Monotonic,
    pub(crate) config: Config,
    pub(crate) parted: BTreeSet<u32>,
    pub(crate) held: BTreeSet<u32>,
    pub(crate) meddler: Meddler,
    pub(crate) durability: Durability,
    /// Nodes whose replicas ring nobody.
    pub(crate) deaf: BTreeSet<u32>,
    pipes: BTreeMap<(u32, u32, Purpose), Pipe>,
    root: TempDir,
}

impl World {
    /// Nodes 1 to `count`, led by node 1, these in the ISR.
    pub(crate) fn new(count: u32, isr: &[u32], config: Config) -> Self {
        Self::with(count, isr, config, Durability::Os, BTreeSet::new())
    }

    pub(crate) fn with(
        count: u32,
        isr: &[u32],
        config: Config,
        durability: Durability,
        deaf: BTreeSet<u32>,
    ) -> Self {
        let view = View {
            key: key(),
            leader: Some(node(1)),
            leader_epoch: LeaderEpoch::new(1),
            partition_epoch: PartitionEpoch(1),
            replicas: (1..=count).map(node).collect(),
            isr: isr.iter().map(|id| node(*id)).collect(),
            elr: Vec::new(),
            min_isr: 1,
            unclean_epoch: None,
        };
        let mut world = Self {
            nodes: BTreeMap::new(),
            view,
            now: Monotonic::from_start(Duration::from_secs(1)),
            config,
            parted: BTreeSet::new(),
            held: BTreeSet::new(),
            meddler: Box::new(|_| true),
            durability,
            deaf,
            pipes: BTreeMap::new(),
            root: TempDir::new().unwrap(),
        };
        for id in 1..=count {
            let path = world.root.path().join(format!("node-{id}"));
            let node = Node {
                replicas: Replicas::new(node(id), config),
                partition: None,
                store: None,
                path,
                host: LogHost::new(100),
                flushers: Arc::new(FlushPool::new(1).unwrap()),
                full: Arc::default(),
                tricks: ailing::Tricks::default(),
                epoch: u64::from(id) * 100,
                up: false,
            };
            world.nodes.insert(id, node);
            world.start(id);
        }
        world.apply();
        world.pump();
        world
    }

    /// Starts a node, with the directory it has.
    pub(crate) fn start(&mut self, id: u32) {
        let known = self.nodes.get_mut(&id).unwrap();
        known.epoch += 1;
        known.up = true;
        known.replicas = Replicas::new(node(id), self.config);
        std::fs::create_dir_all(&known.path).unwrap();
        let identity = NodeIdentity {
            node_id: node(id),
            cluster_id: "test".to_owned(),
        };
        let data = DataDir::open(&known.path, &identity).unwrap();
        let partition_id = PartitionId {
            topic: TopicName::new("t").unwrap(),
            topic_id: topic(),
            index: 0,
        };
        let opened = Partition::open_idle(
            &known.host,
            &data,
            partition_id,
            node(id),
            config(self.durability),
            &known.flushers,
        )
        .unwrap();
        let store: Arc<dyn Store> = Arc::new(ailing::Ailing {
            partition: Arc::clone(&opened.partition),
            deaf: self.deaf.contains(&id),
            full: Arc::clone(&known.full),
            tricks: known.tricks.clone(),
        });
        known.store = Some(store);
        known.partition = Some(opened.partition);
    }

    /// Ends a node as a crash does.
    pub(crate) fn stop(&mut self, id: u32) {
        let gone = |(f, l, _): &(u32, u32, Purpose)| *f == id || *l == id;
        let places: Vec<_> = self
            .pipes
            .keys()
            .filter(|place| gone(place))
            .copied()
            .collect();
        for place in places {
            self.cut(place);
        }
        self.nodes.get_mut(&id).unwrap().up = false;
        self.unhost(id);
    }

    /// A node hosts its replica no more; its links stay, and carry what there is to say.
    pub(crate) fn unhost(&mut self, id: u32) {
        let known = self.nodes.get_mut(&id).unwrap();
        known.replicas.remove(key());
        (known.partition, known.store) = (None, None);
        for place in self.pipes.keys().copied().collect::<Vec<_>>() {
            self.shuttle(place);
        }
    }

    /// Replaces a stopped node's disk with an empty one.
    pub(crate) fn wipe(&mut self, id: u32) {
        std::fs::remove_dir_all(&self.nodes[&id].path).unwrap();
    }

    fn cut(&mut self, place: (u32, u32, Purpose)) {
        if let Some(mut pipe) = self.pipes.remove(&place) {
            pipe.follow.closed(self.now);
            pipe.lead.closed(self.now);
        }
    }

    /// Tells every node the metadata as it is.
    pub(crate) fn apply(&mut self) {
        let ids: Vec<u32> = self.nodes.keys().copied().collect();
        for id in ids {
            self.apply_at(id);
        }
    }

    /// Tells one node.
    pub(crate) fn apply_at(&mut self, id: u32) {
        let peers: Vec<PeerInfo> = self
            .nodes
            .iter()
            .map(|(id, known)| PeerInfo {
                node: node(*id),
                address: String::new(),
                broker_epoch: BrokerEpoch(known.epoch),
                fenced: !known.up,
                draining: false,
                stopping: false,
            })
            .collect();
        let known = &self.nodes[&id];
        if known.up {
            known.replicas.set_peers(peers);
            known
                .replicas
                .apply(known.store.as_ref().unwrap(), &self.view, self.now);
        }
    }

    /// A change of the metadata.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.view);
        self.view.partition_epoch.0 += 1;
        self.apply();
    }

    /// Elects `id` in the next epoch.
    pub(crate) fn elect(&mut self, id: u32, isr: &[u32]) {
        self.elect_now(id, isr);
        // Until what the new leader granted the old one has run out.
        self.pass(700);
    }

    pub(crate) fn append(&self, id: u32, what: plimsoll_segment_log::ToAppend) -> bool {
        append(self.nodes[&id].partition.as_ref().unwrap(), what)
    }

    fn connect(&mut self) {
        let mut wanted = Vec::new();
        for (id, known) in self.nodes.iter().filter(|(_, known)| known.up) {
            for (leader, purpose) in known.replicas.wanted_links() {
                wanted.push((*id, leader.get(), purpose));
            }
        }
        let unwanted: Vec<_> = self
            .pipes
            .keys()
            .filter(|place| !wanted.contains(place))
            .copied()
            .collect();
        // A connection that nobody wants any more goes once the other one carries the session.
        for place in unwanted {
            let other = wanted
                .iter()
                .any(|(f, l, _)| (*f, *l) == (place.0, place.1));
            if !other {
                self.cut(place);
            }
        }
        for (f, l, purpose) in wanted {
            let parted = self.parted.contains(&f) || self.parted.contains(&l);
            if parted || !self.nodes[&l].up || self.pipes.contains_key(&(f, l, purpose)) {
                continue;
            }
            let epoch = BrokerEpoch(self.nodes[&f].epoch);
            let lead = self.nodes[&l]
                .replicas
                .lead_link(node(f), epoch, purpose, self.now);
            let follow = self.nodes[&f]
                .replicas
                .follow_link(node(l), purpose, self.now);
            self.pipes.insert((f, l, purpose), Pipe { follow, lead });
        }
    }

    fn shuttle(&mut self, place: (u32, u32, Purpose)) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let Some(pipe) = self.pipes.get_mut(&place) else {
            return false;
        };
        if self.held.contains(&place.0) {
            return false;
        }
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut moved = pipe
            .follow
            .poll_outgoing(&mut cx, self.now, &mut up)
            .is_ready();
        let mut whole = true;
        for mut frame in up {
            whole &= (self.meddler)(&mut frame) && pipe.lead.receive(frame, self.now).is_ok();
        }
        moved |= pipe
            .lead
            .poll_outgoing(&mut cx, self.now, &mut down)
            .is_ready();
        for mut frame in down {
            whole = whole && (self.meddler)(&mut frame) && {
                let (head, records) = frame.encode();
                let frame = StreamFrame::decode(head, Bytes::from(records.concat())).unwrap();
                pipe.follow.receive(frame, self.now).is_ok()
            };
        }
        if !whole {
            self.cut(place);
        }
        moved
    }

    /// Carries frames, runs work and decides proposals until nothing moves at this time.
    pub(crate) fn pump(&mut self) {
        for _ in 0..10_000 {
            self.connect();
            let mut moved = false;
            let places: Vec<_> = self.pipes.keys().copied().collect();
            for place in places {
                moved |= self.shuttle(place);
            }
            for known in self.nodes.values() {
                while let Some(work) = known.replicas.take_work() {
                    work.run(&known.replicas, self.now);
                    moved = true;
                }
            }
            moved |= self.decide();
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// The controller: takes every proposal for the current version.
    fn decide(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut proposals = Vec::new();
        for (id, known) in self
            .nodes
            .iter()
            .filter(|(id, _)| !self.parted.contains(id))
        {
            if let Poll::Ready(batch) = known.replicas.poll_proposals(&mut cx) {
                proposals.extend(batch.into_iter().map(|proposal| (*id, proposal)));
            }
        }
        let any = !proposals.is_empty();
        for (id, proposal) in proposals {
            let current = proposal.partition_epoch == self.view.partition_epoch
                && proposal.leader_epoch == self.view.leader_epoch;
            let known = |node: &NodeId| self.nodes[&node.get()].epoch;
            let eligible = proposal.new_isr.iter().all(|(n, e)| known(n) == e.0);
            let decision = if !current {
                Decision::StaleVersion
            } else if !eligible {
                Decision::Ineligible(Vec::new())
            } else {
                self.view.isr = proposal.new_isr.iter().map(|(node, _)| *node).collect();
                if self.view.isr.len() >= self.view.min_isr {
                    self.view.elr.clear();
                }
                self.view.partition_epoch.0 += 1;
                Decision::Committed(self.view.partition_epoch)
            };
            let now = self.now;
            self.nodes[&id].replicas.decided(&proposal, decision, now);
            self.apply();
        }
        any
    }

    /// Time passes, with a tick each 100 ms.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            for _ in 0..10 {
                self.now = self.now + Duration::from_millis(10);
                self.pump();
            }
            for known in self.nodes.values().filter(|known| known.up) {
                known.replicas.tick(self.now);
            }
            self.pump();
        }
    }

    /// Compares all there is with the leader, as a broker would.
    pub(crate) fn check(&mut self, id: u32) {
        for _ in 0..20 {
            self.pass(200);
            let known = &self.nodes[&id].replicas;
            let Some(check) = known.next_check(self.now) else {
                continue;
            };
            let leader = &self.nodes[&check.leader.get()].replicas;
            let theirs = leader.digest(
                check.key,
                check.leader_epoch,
                check.from,
                check.to,
                self.now,
            );
            known.checked(&check, theirs, self.now);
        }
    }

    /// Flips a bit of a value in a node's first segment.
    pub(crate) fn flip(&self, id: u32) {
        setup::flip(&self.nodes[&id].path);
    }

    pub(crate) fn bytes(&self, id: u32) -> Vec<u8> {
        let reader = self.nodes[&id].partition.as_ref().unwrap().reader();
        let (mut at, end) = (reader.log_start(), reader.log_end());
        let mut all = Vec::new();
        while at < end {
            let read = reader.read(at, end, 1 << 20, Minimum::OneBatch).unwrap();
            assert!(read.next > at);
            at = read.next;
            all.extend(read.chunks.iter().flat_map(|chunk| chunk.iter().copied()));
        }
        all
    }

    pub(crate) fn log_end(&self, id: u32) -> u64 {
        let partition = self.nodes[&id].partition.as_ref().unwrap();
        partition.watermarks().log_end().get()
    }

    pub(crate) fn high_watermark(&self, id: u32) -> u64 {
        let partition = self.nodes[&id].partition.as_ref().unwrap();
        partition.watermarks().high_watermark().get()
    }

    /// The replica of `of` as `by` sees it.
    pub(crate) fn status(&self, by: u32, of: u32) -> plimsoll_replicator::ReplicaStatus {
        let rows = self.nodes[&by].replicas.statuses(self.now);
        rows.into_iter().find(|row| row.node == node(of)).unwrap()
    }

    pub(crate) fn counter(&self, id: u32, name: &str) -> u64 {
        let rows = self.nodes[&id].replicas.counters().rows();
        rows.into_iter().find(|(row, _)| *row == name).unwrap().1
    }

    /// All replicas hold the same bytes, all of them committed, and all are in the ISR.
    #[track_caller]
    pub(crate) fn assert_in_step(&self) {
        let leader = self.view.leader.unwrap().get();
        let want = self.bytes(leader);
        let end = self.log_end(leader);
        for id in self.nodes.keys() {
            let history = || self.nodes[id].replicas.history(key(), Monotonic::default());
            assert_eq!(self.log_end(*id), end, "log end of {id}: {:#?}", history());
            assert_eq!(self.high_watermark(*id), end, "high watermark of {id}");
            assert!(self.bytes(*id) == want, "bytes of {id}");
        }
        assert_eq!(self.view.isr.len(), self.nodes.len(), "{:?}", self.view.isr);
    }
}
