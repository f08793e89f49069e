//! Nodes in one process, and a network between them that can be cut.

use super::*;
use crate::Room;
use crate::journal::tests::failing_disk::TestDisk;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use tempfile::TempDir;

pub(super) const QUICK: Timing = Timing {
    heartbeat: Duration::from_millis(40),
    election_min: Duration::from_millis(200),
    election_max: Duration::from_millis(400),
    request: Duration::from_secs(5),
};

pub(super) const LIMITS: Limits = Limits {
    max_queued_bytes: 64 << 20,
    log_file_bytes: 1 << 11,
    snapshot_after_bytes: 1 << 12,
    reserve_bytes: 1 << 16,
};

/// Waits, with a limit, until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("not within 30 s: {what}");
}

#[derive(Default)]
pub(super) struct Net {
    nodes: Mutex<HashMap<String, Quorum>>,
    cut: Mutex<HashSet<String>>,
}

struct Wire {
    net: Arc<Net>,
    from: String,
}

#[async_trait]
impl Transport for Wire {
    async fn call(
        &self,
        to: Target,
        request: Bytes,
        _timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let cut = |net: &Net| {
            let cut = net.cut.lock();
            cut.contains(&self.from) || cut.contains(&to.address)
        };
        let refused = || TransportError::Unreachable("cut".to_owned());
        let node = self.net.nodes.lock().get(&to.address).cloned();
        let node = node.filter(|_| !cut(&self.net)).ok_or_else(refused)?;
        let answer = node.handle(request).await;
        if cut(&self.net) {
            return Err(TransportError::Lost("cut".to_owned()));
        }
        Ok(answer)
    }
}

pub(super) fn id(node: u32) -> NodeId {
    NodeId::new(node).unwrap()
}

pub(super) fn address(node: u32) -> String {
    format!("node-{node}:1")
}

pub(super) struct Node {
    pub(super) number: u32,
    /// Where it lives, if it moved.
    pub(super) moved: Option<String>,
    pub(super) dir: TempDir,
    pub(super) disk: Arc<TestDisk>,
    pub(super) opened: Option<Opened>,
    /// What the stream brought since the last open: entries by index.
    pub(super) seen: Vec<(u64, Bytes)>,
    pub(super) snapshots: usize,
}

impl Node {
    fn address(&self) -> String {
        self.moved.clone().unwrap_or_else(|| address(self.number))
    }

    pub(super) fn quorum(&self) -> &Quorum {
        &self.opened.as_ref().unwrap().quorum
    }

    pub(super) fn status(&self) -> Status {
        self.quorum().status()
    }

    /// Takes what is committed.
    pub(super) fn read(&mut self) {
        let opened = self.opened.as_ref().unwrap();
        while let Some(event) = opened.committed.try_next() {
            match event {
                Event::Entry(entry) => {
                    let last = self.seen.last().map_or(0, |(index, _)| *index);
                    assert!(entry.index > last, "{} after {last}", entry.index);
                    self.seen.push((entry.index, entry.bytes));
                }
                Event::Snapshot(snapshot) => {
                    self.seen = decode(&snapshot.bytes);
                    self.snapshots += 1;
                }
            }
        }
    }

    /// Makes a snapshot of what was read.
    pub(super) fn snapshot(&mut self) {
        self.read();
        let index = self.seen.last().unwrap().0;
        let bytes = self.encoded();
        let snapshot = Snapshot { index, bytes };
        self.quorum().install_snapshot(&snapshot).unwrap();
    }

    pub(super) fn encoded(&self) -> Bytes {
        encode(&self.seen)
    }

    pub(super) fn propose(&self, text: &str) -> Result<u64, QuorumError> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.quorum().propose(bytes, Room::Free).wait()
    }
}

fn encode(seen: &[(u64, Bytes)]) -> Bytes {
    let mut out = Vec::new();
    for (index, bytes) in seen {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out.into()
}

fn decode(mut bytes: &[u8]) -> Vec<(u64, Bytes)> {
    let mut seen = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(12) {
        let index = u64::from_le_bytes(head[..8].try_into().unwrap());
        let length = u32::from_le_bytes(head[8..].try_into().unwrap()) as usize;
        seen.push((index, Bytes::copy_from_slice(&rest[..length])));
        bytes = &rest[length..];
    }
    seen
}

pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    pub(super) nodes: Vec<Node>,
    voters: BTreeMap<NodeId, String>,
    pub(super) timing: Timing,
}

impl Cluster {
    /// Nodes 1 to `voters`, all voters, not started.
    pub(super) fn of(voters: u32) -> Self {
        let mut cluster = Self {
            net: Arc::default(),
            nodes: Vec::new(),
            voters: (1..=voters).map(|n| (id(n), address(n))).collect(),
            timing: QUICK,
        };
        for _ in 0..voters {
            cluster.add();
        }
        cluster
    }

    /// As `of`, formed and with a leader.
    pub(super) fn formed(voters: u32) -> Self {
        let mut cluster = Self::of(voters);
        for number in (0..voters as usize).rev() {
            cluster.start(number, number == 0);
        }
        cluster.leader();
        cluster
    }

    pub(super) fn add(&mut self) -> usize {
        self.nodes.push(Node {
            number: u32::try_from(self.nodes.len()).unwrap() + 1,
            moved: None,
            dir: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            opened: None,
            seen: Vec::new(),
            snapshots: 0,
        });
        self.nodes.len() - 1
    }

    pub(super) fn start(&mut self, place: usize, form: bool) {
        let voters = self.voters.clone();
        self.start_as(place, Start::Voters { voters, form });
    }

    pub(super) fn join(&mut self, place: usize, seeds: &[u32]) {
        let address = address(self.nodes[place].number);
        let seeds = seeds.iter().map(|n| super::harness::address(*n)).collect();
        self.start_as(place, Start::Join { seeds, address });
    }

    pub(super) fn join_at(&mut self, place: usize, seed: &str) {
        let address = address(self.nodes[place].number);
        let seeds = vec![seed.to_owned()];
        self.start_as(place, Start::Join { seeds, address });
    }

    /// Lets a voter live elsewhere from its next start on.
    pub(super) fn move_to(&mut self, place: usize, to: &str) {
        let node = &mut self.nodes[place];
        node.moved = Some(to.to_owned());
        self.voters.insert(id(node.number), to.to_owned());
    }

    fn start_as(&mut self, place: usize, start: Start) {
        self.try_start(place, start).unwrap();
    }

    /// Starts a node that forms a cluster, unless its disk refuses.
    pub(super) fn start_or_not(&mut self, place: usize) {
        let voters = self.voters.clone();
        drop(self.try_start(place, Start::Voters { voters, form: true }));
    }

    fn try_start(&mut self, place: usize, start: Start) -> Result<(), OpenError> {
        let node = &mut self.nodes[place];
        let from = node.address();
        let net = Arc::clone(&self.net);
        let options = Options {
            me: id(node.number),
            start,
            limits: LIMITS,
            timing: self.timing,
            transport: Arc::new(Wire {
                net,
                from: from.clone(),
            }),
        };
        let disk = Arc::clone(&node.disk) as Arc<dyn Disk>;
        let opened = open_on(disk, node.dir.path(), options)?;
        self.net.nodes.lock().insert(from, opened.quorum.clone());
        let snapshot = opened.snapshot.as_ref();
        node.seen = snapshot.map_or(Vec::new(), |snapshot| decode(&snapshot.bytes));
        node.opened = Some(opened);
        Ok(())
    }

    pub(super) fn kill(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        self.net.nodes.lock().remove(&node.address());
        if let Some(opened) = node.opened.take() {
            opened.quorum.shutdown();
        }
    }

    /// Takes the directory away.
    pub(super) fn wipe(&mut self, place: usize) {
        assert!(self.nodes[place].opened.is_none());
        self.nodes[place].dir = tempfile::tempdir().unwrap();
    }

    pub(super) fn cut(&self, place: usize) {
        let address = address(self.nodes[place].number);
        self.net.cut.lock().insert(address);
    }

    pub(super) fn heal(&self) {
        self.net.cut.lock().clear();
    }

    fn is_up(&self, place: usize) -> bool {
        let number = self.nodes[place].number;
        self.nodes[place].opened.is_some() && !self.net.cut.lock().contains(&address(number))
    }

    pub(super) fn up(&self) -> Vec<usize> {
        let places = 0..self.nodes.len();
        places.filter(|place| self.is_up(*place)).collect()
    }

    /// Waits until all that are up agree on a leader that is up.
    pub(super) fn leader(&self) -> usize {
        let mut found = None;
        until("one leader", || {
            let up = self.up();
            let leaders: HashSet<_> = up.iter().map(|p| self.nodes[*p].status().leader).collect();
            let mut leader = leaders.iter().flatten();
            found = leader.next().and_then(|leader| {
                let place = up.iter().find(|p| id(self.nodes[**p].number) == *leader);
                place.copied()
            });
            let leads = found.map(|place| self.nodes[place].status().role);
            leaders.len() == 1 && leads == Some(Role::Leader)
        });
        found.unwrap()
    }

    /// Proposes at `place` until it is committed; each text may be committed more than once.
    pub(super) fn commit(&self, place: usize, text: &str) {
        for _ in 0..20 {
            if self.nodes[place].propose(text).is_ok() {
                return;
            }
        }
        panic!("{text} is not committed");
    }

    /// Waits until all that are up have read the same, with `text` at its end.
    pub(super) fn agree_on(&mut self, text: &str) {
        let up = self.up();
        let nodes = &mut self.nodes;
        until(&format!("{text} at all of {up:?}"), || {
            up.iter().all(|place| {
                nodes[*place].read();
                let last = nodes[*place].seen.last();
                last.is_some_and(|(_, bytes)| bytes == text.as_bytes())
            })
        });
        for place in &up {
            assert_eq!(nodes[*place].seen, nodes[up[0]].seen, "at {place}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for place in 0..self.nodes.len() {
            self.kill(place);
        }
    }
}
