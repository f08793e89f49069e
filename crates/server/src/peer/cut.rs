//! Cutting the network between two nodes, for experiments: bytes wait as they would on a network
//! that drops every packet, and connections end as they would there, by silence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_types::NodeId;

/// Which way nothing gets through, seen from the node whose network is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing arrives from the other node.
    In,
    /// Nothing reaches the other node.
    Out,
    /// Both.
    Both,
}

const IN: u8 = 1;
const OUT: u8 = 2;

/// What is cut towards one node.
#[derive(Debug, Default)]
pub(super) struct Cut(AtomicU8);

impl Cut {
    pub(super) fn is_in(&self) -> bool {
        self.0.load(Ordering::Relaxed) & IN != 0
    }

    pub(super) fn is_out(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OUT != 0
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// What is cut towards every node.
#[derive(Debug, Default)]
pub(super) struct Cuts(Mutex<BTreeMap<NodeId, Arc<Cut>>>);

impl Cuts {
    pub(super) fn of(&self, node: NodeId) -> Arc<Cut> {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cuts.entry(node).or_default())
    }

    pub(super) fn cut(&self, node: NodeId, way: Way) {
        let bits = match way {
            Way::In => IN,
            Way::Out => OUT,
            Way::Both => IN | OUT,
        };
        self.of(node).0.store(bits, Ordering::Relaxed);
    }

    pub(super) fn heal(&self, node: NodeId) {
        self.of(node).0.store(0, Ordering::Relaxed);
    }
}
