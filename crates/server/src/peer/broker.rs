//! The way from one node's broker to the others'.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_broker::{PeerError as BrokerError, Peers};
use plimsoll_types::{BrokerEpoch, NodeId};
use plimsoll_wire::peer::{Reply, Request};

use super::control::ask;
use super::dial::dial;
use super::shared::lock;
use super::{AbortOnDrop, PeerError, PeerNetwork, Purpose};

#[async_trait]
impl Peers for PeerNetwork {
    async fn call(
        &self,
        to: NodeId,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, BrokerError> {
        let lost = |error: &dyn std::error::Error| BrokerError::Lost(error.to_string());
        let reply = if matches!(request, Request::Probe) {
            self.call_anew(to, request.encode(), timeout).await
        } else {
            // An answer from between two attempts, or of another one's, proves nothing.
            let reply = PeerNetwork::call(self, to, request.encode(), timeout).await;
            reply.map_err(|error| lost(&error))
        };
        Reply::decode(reply?).map_err(|error| lost(&error))
    }

    fn registered(&self, epoch: BrokerEpoch) {
        let before = lock(&self.shared.identity).broker_epoch.replace(epoch);
        if before != Some(epoch) {
            // Theirs is the registration of before: whoever wants them opens them again.
            self.want_streams(&[]);
        }
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

impl PeerNetwork {
    /// Asks a node on a connection that is made for this: if that is refused, its process is gone.
    async fn call_anew(
        &self,
        to: NodeId,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BrokerError> {
        let lost = |error: PeerError| BrokerError::Lost(error.to_string());
        let known = lock(&self.shared.peers)
            .get(&to)
            .map(|peer| peer.address.borrow().clone());
        let address = known.ok_or(PeerError::Unknown).map_err(lost)?;
        let shared = Arc::clone(&self.shared);
        // On our runtime, because the caller may not be on one.
        let call = self.runtime.spawn(async move {
            match dial(&shared, &address, Some(to), Purpose::Control).await {
                Ok((wire, _)) => Ok(ask(&shared, wire, request).await),
                Err(error) if error.is_refused() => {
                    Err(BrokerError::Unreachable(error.to_string()))
                }
                Err(error) => Err(BrokerError::Lost(error.to_string())),
            }
        });
        let _abort = AbortOnDrop(call.abort_handle());
        let asked = self.within(timeout, async { call.await.map_err(|_| PeerError::Lost) });
        asked.await.map_err(lost)??.map_err(lost)
    }
}
