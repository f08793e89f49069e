//! The way from one node's broker to the others'.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use plimsoll_broker::{PeerError as BrokerError, Peers};
use plimsoll_types::NodeId;
use plimsoll_wire::peer::{Reply, Request};

use super::shared::lock;
use super::{PeerError, PeerNetwork};

#[async_trait]
impl Peers for PeerNetwork {
    async fn call(
        &self,
        to: NodeId,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, BrokerError> {
        let reply = PeerNetwork::call(self, to, request.encode(), timeout).await;
        Reply::decode(reply.map_err(|error| fault(&error))?)
            .map_err(|error| BrokerError::Lost(error.to_string()))
    }

    fn addresses(&self, nodes: Vec<(NodeId, String)>) {
        let named: BTreeSet<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
        let known = std::mem::replace(&mut *lock(&self.shared.registered), named.clone());
        // A voter that has not registered yet was never named, and stays.
        for gone in known.difference(&named) {
            self.forget(*gone);
        }
        self.set_addresses(nodes.into_iter().filter(|(_, address)| !address.is_empty()));
    }
}

fn fault(error: &PeerError) -> BrokerError {
    match error {
        PeerError::Lost | PeerError::Timeout(_) => BrokerError::Lost(error.to_string()),
        PeerError::Unknown
        | PeerError::Unreachable { .. }
        | PeerError::Busy
        | PeerError::TooLarge { .. }
        | PeerError::Failed { .. } => BrokerError::Unreachable(error.to_string()),
    }
}
