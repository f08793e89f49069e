//! A node's process joining the cluster.

use super::change::{Loss, MAX_CHANGES, changes, led_first};
use crate::config::{Durability, durability};
use crate::image::{Image, Node};
use crate::record::{Listener, Record};
use crate::refusal::Refusal;
use plimsoll_types::{BrokerEpoch, NodeId, PartitionKey};

/// How the node's earlier process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// In good order: everything was synced.
    Clean,
    /// By a crash of the process alone: the machine still has all that it was given.
    CrashSameBoot,
    /// With its machine: what was not synced is gone.
    Lossy,
}

/// What a process says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    /// Its node.
    pub node: NodeId,
    /// Drawn at its start, so that a second registration of one process is told from a restart.
    pub incarnation: [u8; 16],
    /// Its data directory's identity, drawn when that was made and kept in it. Another one than
    /// before means that everything the node held is gone.
    pub dir_id: [u8; 16],
    /// How its earlier process ended.
    pub shutdown: Shutdown,
    /// Its failure zone.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// Where other nodes reach it, `HOST:PORT`.
    pub peer: String,
}

impl RegisterNode {
    /// A registration without addresses.
    #[must_use]
    pub const fn new(
        node: NodeId,
        incarnation: [u8; 16],
        dir_id: [u8; 16],
        shutdown: Shutdown,
    ) -> Self {
        Self {
            node,
            incarnation,
            dir_id,
            shutdown,
            rack: None,
            listeners: Vec::new(),
            peer: String::new(),
        }
    }
}

/// The records that register the process, none if it is registered already. It is fenced until
/// [`unfence_node`](super::unfence_node). To be called until it makes none: where the node holds
/// very many partitions, earlier calls take it out of them and the last one registers.
///
/// Invariant C1: all that the node's earlier process led is led by another or by nobody, so that
/// no process leads twice in one epoch. Whom nobody could follow leads again once unfenced, in a
/// new epoch. Invariant C5: of what it may have lost records it is neither in the ISR nor in the
/// ELR. What topics that sync hold survives any end; what others hold survives all but a lossy
/// one; nothing survives another directory. What else is gone the process finds once it has opened
/// its logs, and [reports](super::report_corrupt) before it is unfenced.
///
/// # Errors
/// The number belongs to a live process. One that has the same data directory is gone for
/// certain, as a directory is locked by the one process that uses it.
pub fn register_node(image: &Image, wish: &RegisterNode) -> Result<Vec<Record>, Refusal> {
    let node = wish.node;
    let mut records = Vec::new();
    if let Some(known) = image.node(node) {
        if known.incarnation == wish.incarnation {
            return Ok(records);
        }
        if !known.fenced && known.dir_id != wish.dir_id {
            return Err(Refusal::DuplicateNode { node });
        }
        if !known.fenced {
            records.push(Record::NodeStateSet {
                node,
                fenced: true,
                drain: known.drain,
            });
        }
        let after = image.with_node_state(node, true, known.drain);
        let left = changes(&after, led_first(image, node), |change| {
            let loss = loss(image, known, wish, change.key());
            change.leaves(node, loss);
            change.keeps_last_known();
        });
        let all = left.len() < MAX_CHANGES;
        records.extend(left);
        if !all {
            return Ok(records);
        }
    }
    let before = u64::try_from(records.len()).unwrap_or(u64::MAX);
    records.push(Record::NodeRegistered {
        node,
        broker_epoch: BrokerEpoch(image.version() + before + 1),
        incarnation: wish.incarnation,
        dir_id: wish.dir_id,
        listeners: wish.listeners.clone(),
        peer: wish.peer.clone(),
        rack: wish.rack.clone(),
    });
    Ok(records)
}

fn loss(image: &Image, known: &Node, wish: &RegisterNode, key: PartitionKey) -> Loss {
    if known.dir_id != wish.dir_id {
        return Loss::Everything;
    }
    let topic = image.topic_by_id(key.topic).map(AsRef::as_ref);
    let unsynced = wish.shutdown == Shutdown::Lossy && durability(image, topic) == Durability::Os;
    if unsynced { Loss::Some } else { Loss::Nothing }
}
