//! Crashes, cuts and lost directories in random order, while entries are proposed everywhere.

use super::harness::{Cluster, until};
use super::*;
use crate::Room;
use crate::journal::tests::failing_disk::TestDisk;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// A small generator, the same for a seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn place(&mut self, nodes: usize) -> usize {
        usize::try_from(self.below(nodes as u64)).unwrap()
    }
}

/// The process dies in the middle of what it writes, and comes back with what its disk had.
fn crash(cluster: &mut Cluster, place: usize, operations: u64) {
    let left = usize::try_from(operations).unwrap();
    cluster.nodes[place].disk.left.store(left, Ordering::SeqCst);
    let quorum = cluster.nodes[place].quorum().clone();
    drop(quorum.propose("a push".into(), Room::Free));
    drop(quorum);
    cluster.kill(place);
    cluster.nodes[place].disk = Arc::new(TestDisk::default());
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut cluster = Cluster::formed(3);
    let mut acknowledged: Vec<Bytes> = Vec::new();
    let mut proposed = 0;
    for round in 0..12 {
        let mut proposals = Vec::new();
        for _ in 0..20 {
            let place = random.place(3);
            if cluster.nodes[place].opened.is_none() {
                continue;
            }
            proposed += 1;
            let text = Bytes::from(format!("entry {proposed}"));
            let quorum = cluster.nodes[place].quorum();
            proposals.push((text.clone(), quorum.propose(text, Room::Free)));
        }
        let place = random.place(3);
        match random.below(5) {
            0 => cluster.cut(place),
            1 => {
                crash(&mut cluster, place, random.0 % 9);
                cluster.start(place, false);
            }
            2 => {
                let node = &mut cluster.nodes[place];
                node.read();
                if let Some(index) = node.seen.last().map(|(index, _)| *index) {
                    let bytes = node.encoded();
                    // There may be one as new already.
                    drop(node.quorum().install_snapshot(&Snapshot { index, bytes }));
                }
            }
            3 => {
                // One directory at a time may be lost, once the others have what it had.
                cluster.leader();
                until("all vote", || {
                    let fence = |node: &harness::Node| node.quorum().shared.store.fence();
                    cluster
                        .nodes
                        .iter()
                        .all(|node| fence(node) == store::Fence::Open)
                });
                cluster.kill(place);
                cluster.wipe(place);
                cluster.start(place, false);
            }
            _ => {}
        }
        for (text, proposal) in proposals {
            if proposal.wait().is_ok() {
                acknowledged.push(text);
            }
        }
        cluster.heal();
        println!(
            "seed {seed} round {round}: {} acknowledged",
            acknowledged.len()
        );
    }
    cluster.leader();
    cluster.commit(0, "last");
    cluster.agree_on("last");
    let mut times: HashMap<Bytes, usize> = HashMap::new();
    for (_, bytes) in &cluster.nodes[0].seen {
        *times.entry(bytes.clone()).or_default() += 1;
    }
    for text in &acknowledged {
        assert_eq!(times.get(text), Some(&1), "{text:?} of seed {seed}");
    }
    assert!(!acknowledged.is_empty());
}

#[test]
fn what_was_acknowledged_survives_whatever_happens_to_one_node_at_a_time() {
    for seed in [0x9e37_79b9, 0x1234_5678] {
        run(seed);
    }
}
