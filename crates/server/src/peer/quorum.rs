//! The metadata quorum's messages, as requests between nodes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_quorum::raft::{Target, Transport, TransportError};
use plimsoll_wire::peer::{Reply, Request};

use super::{PeerError, PeerNetwork};

#[async_trait]
impl Transport for PeerNetwork {
    async fn call(
        &self,
        to: Target,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let request = Request::Quorum(request).encode();
        let reply = match to.node {
            Some(node) => {
                // The cluster's metadata knows better where a node lives, once it knows it.
                self.introduce(node, &to.address);
                PeerNetwork::call(self, node, request, timeout).await
            }
            None => self.call_address(&to.address, None, request, timeout).await,
        };
        match Reply::decode(reply.map_err(|error| fault(&error))?) {
            Ok(Reply::Quorum(reply)) => Ok(reply),
            // It says so instead of handing the message on.
            Ok(Reply::Failed(failed)) => Err(TransportError::Unreachable(failed.message)),
            Ok(_) => Err(TransportError::Lost(
                "an answer to something else".to_owned(),
            )),
            Err(error) => Err(TransportError::Lost(error.to_string())),
        }
    }
}

fn fault(error: &PeerError) -> TransportError {
    match error {
        PeerError::Unknown
        | PeerError::Unreachable { .. }
        | PeerError::Busy
        | PeerError::TooLarge { .. }
        | PeerError::Failed { .. } => TransportError::Unreachable(error.to_string()),
        PeerError::Lost | PeerError::Timeout(_) => TransportError::Lost(error.to_string()),
    }
}
