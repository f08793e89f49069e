//! The rules of one partition's offsets, seen from outside.

use crate::*;
use plimsoll_types::{LeaderEpoch, NodeId, Offset};

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("small")
}

fn start(isr: &[u32]) -> TenureStart {
    TenureStart {
        leader_epoch: LeaderEpoch::new(1),
        log_start: Offset::ZERO,
        durable_end: Offset::ZERO,
        log_end: Offset::ZERO,
        high_watermark: Offset::ZERO,
        local: node(1),
        followers: vec![node(2), node(3)],
        maximal_isr: isr.iter().copied().map(node).collect(),
        committed_isr: isr.len(),
        min_isr: 1,
        counts: Counts::Durable,
    }
}

#[test]
fn a_lone_replica_commits_what_is_synced() {
    let marks = Watermarks::new(start(&[1]));
    marks.publish_log_end(Offset::new(10));
    marks.publish_durable_end(Offset::new(7));
    assert_eq!(marks.high_watermark(), Offset::new(7));
}
