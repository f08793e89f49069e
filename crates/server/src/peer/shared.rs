//! What all links of a node share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_types::{BrokerEpoch, NodeId};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::config::PeerConfig;
use super::control::Calls;
use super::counters::PeerCounters;
use super::cut::Cuts;
use super::{PeerService, Purpose};
use crate::repeated::Repeated;

/// What this node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to; none while it is to be formed.
    pub cluster_id: Option<String>,
    /// Its registration; none before.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether its quorum log holds anything.
    pub has_metadata: bool,
}

/// One other node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: watch::Sender<String>,
    pub(super) calls: Calls,
    /// Try again now.
    pub(super) kick: Arc<Notify>,
    pub(super) task: AbortHandle,
}

/// An accepted stream, which a newer one of the same node replaces.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) broker_epoch: Option<BrokerEpoch>,
    pub(super) replaced: Arc<Notify>,
}

pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) config: PeerConfig,
    pub(super) counters: Arc<PeerCounters>,
    pub(super) service: Arc<dyn PeerService>,
    pub(super) cuts: Cuts,
    pub(super) identity: Mutex<Identity>,
    pub(super) peers: Mutex<BTreeMap<NodeId, Peer>>,
    pub(super) streams: Mutex<BTreeMap<(NodeId, Purpose), AbortHandle>>,
    pub(super) accepted: Mutex<BTreeMap<(NodeId, Purpose), Accepted>>,
    /// The nodes that the metadata named last.
    pub(super) registered: Mutex<BTreeSet<NodeId>>,
    /// Log lines about peers that were turned away, or turned us away.
    pub(super) denials: Repeated,
}

impl Shared {
    pub(super) fn identity(&self) -> Identity {
        lock(&self.identity).clone()
    }

    pub(super) fn max_frame(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Control => self.config.max_control_frame,
            Purpose::InSync | Purpose::CatchUp => self.config.max_stream_frame,
        }
    }

    /// `node` was heard of: links to it need not wait any longer.
    pub(super) fn kick(&self, node: NodeId) {
        if let Some(peer) = lock(&self.peers).get(&node) {
            peer.kick.notify_waiters();
        }
    }
}

/// Nothing half done is left behind by a panic while one of these locks was held: each holds a
/// map, changed by single inserts and removals.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
