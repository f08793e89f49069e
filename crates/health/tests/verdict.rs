//! The verdict on a cluster and its exit code.

use std::time::Duration;

use plimsoll_health::{ClusterFacts, Level, NodeFacts, QuorumFacts, judge};
use plimsoll_types::NodeId;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("small")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn well() -> ClusterFacts {
    let nodes = (1..=3).map(|id| NodeFacts {
        node: node(id),
        fenced: None,
        draining: false,
        disk: None,
    });
    ClusterFacts {
        partitions: 12,
        nodes: nodes.collect(),
        quorum: QuorumFacts {
            leader: Some(node(1)),
            voters: 3,
            current: 3,
        },
        ..ClusterFacts::default()
    }
}

fn told(facts: &ClusterFacts) -> (Level, u8, String) {
    let verdict = judge(facts);
    (verdict.level, verdict.exit_code(), verdict.to_string())
}

#[test]
fn a_well_cluster_is_ok_and_says_no_more() {
    assert_eq!(told(&well()), (Level::Ok, 0, "ok".to_owned()));
}

#[test]
fn replicas_out_of_sync_degrade_it() {
    let facts = ClusterFacts {
        under_replicated: names(&["a/0", "a/1"]),
        ..well()
    };
    let text = "degraded: 2 partitions with replicas out of sync: a/0, a/1";
    assert_eq!(told(&facts), (Level::Degraded, 11, text.to_owned()));
}

#[test]
fn a_fenced_node_and_a_full_disk_degrade_it() {
    let mut facts = well();
    facts.nodes[1].fenced = Some(Duration::from_secs(240));
    facts.nodes[2].disk = Some("is full".to_owned());
    facts.quorum.current = 2;
    let text = "degraded: node 2 is fenced for 4 min 0 s; the disk of node 3 is full; \
                2 of 3 controllers keep up";
    assert_eq!(told(&facts), (Level::Degraded, 11, text.to_owned()));
}

#[test]
fn what_is_not_served_makes_it_unhealthy_and_comes_first() {
    let facts = ClusterFacts {
        leaderless: names(&["a/0"]),
        below_min_isr: names(&["b/0", "b/1", "b/2", "b/3", "b/4", "b/5", "b/6"]),
        under_replicated: names(&["a/0", "b/0", "c/0"]),
        ..well()
    };
    let text = "unhealthy: 1 partition without a leader: a/0; \
                7 partitions taking no acks=all writes (below min.insync.replicas): \
                b/0, b/1, b/2, b/3, b/4 and 2 more; \
                1 partition with replicas out of sync: c/0";
    assert_eq!(told(&facts), (Level::Unhealthy, 10, text.to_owned()));
}

#[test]
fn without_a_controller_it_is_unhealthy() {
    let mut facts = well();
    facts.quorum = QuorumFacts {
        leader: None,
        voters: 3,
        current: 1,
    };
    assert_eq!(judge(&facts).exit_code(), 10);
}

#[test]
fn old_facts_make_it_unknown_and_not_unhealthy() {
    let facts = ClusterFacts {
        age: Duration::from_secs(60),
        leaderless: names(&["a/0"]),
        ..well()
    };
    let text = "unknown: the newest facts are 1 min 0 s old";
    assert_eq!(told(&facts), (Level::Unknown, 3, text.to_owned()));
}
