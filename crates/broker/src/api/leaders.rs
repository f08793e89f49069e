//! Telling a client where else to go (KIP-951), so that it need not ask for the metadata first.

use std::collections::BTreeSet;

use plimsoll_controller::Partition;
use plimsoll_types::NodeId;
use plimsoll_wire::Str;

use crate::context::Context;

/// Where clients reach a node.
pub(crate) struct Endpoint {
    pub(crate) node_id: i32,
    pub(crate) host: Str,
    pub(crate) port: i32,
    pub(crate) rack: Option<Str>,
}

/// The endpoints of those of `leaders`, as the wire has them, that are nodes.
pub(crate) fn endpoints(
    context: &Context,
    leaders: impl IntoIterator<Item = i32>,
) -> Vec<Endpoint> {
    let leaders: BTreeSet<NodeId> = leaders.into_iter().filter_map(NodeId::from_wire).collect();
    if leaders.is_empty() {
        return Vec::new();
    }
    let image = context.broker.metadata.image();
    let known = leaders.into_iter().filter_map(|id| {
        let node = image.node(id)?;
        let listener = node.listeners.first()?;
        Some(Endpoint {
            node_id: id.to_wire(),
            host: listener.host.as_str().into(),
            port: listener.port.into(),
            rack: node.rack.as_deref().map(Str::from),
        })
    });
    known.collect()
}

/// The replicas of `partition` that cannot be used, as the wire has them: those of nodes that are
/// fenced, and this node's if it is `offline`.
pub(crate) fn offline_replicas(
    context: &Context,
    partition: &Partition,
    offline: bool,
) -> Vec<i32> {
    let image = context.broker.metadata.image();
    let replicas = partition.replicas.iter().copied();
    let unusable =
        |node: &NodeId| !image.is_alive(*node) || offline && *node == context.broker.config.node;
    replicas.filter(unusable).map(NodeId::to_wire).collect()
}
