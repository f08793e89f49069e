//! What an operator may order over HTTP: taking a node out of service, and putting it back.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use plimsoll_admin::{Order, Orders};
use plimsoll_broker::Broker;
use plimsoll_types::NodeId;

/// Carries orders out by the broker's rules.
pub(crate) struct Operator(Weak<Broker>);

impl Operator {
    pub(crate) fn new(broker: &Arc<Broker>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(broker)))
    }
}

#[async_trait]
impl Orders for Operator {
    async fn carry_out(&self, order: Order, node: NodeId) -> Result<String, String> {
        let broker = self.0.upgrade().ok_or("the node is stopping")?;
        let done = match order {
            Order::Drain => {
                let drained = broker.drain_node(node).await;
                drained.map(|()| format!("node {node} gives its leaderships away"))
            }
            Order::Resume => {
                let resumed = broker.resume_node(node).await;
                resumed.map(|()| format!("node {node} takes part again"))
            }
            Order::Decommission => {
                let removed = broker.remove_node(node).await;
                removed.map(|()| format!("node {node} has left the cluster"))
            }
            Order::Kill | Order::Restart | Order::Cut | Order::Heal => {
                return Err("only plimsoll dev does harm to its nodes".to_owned());
            }
        };
        done.map_err(|error| error.to_string())
    }
}
