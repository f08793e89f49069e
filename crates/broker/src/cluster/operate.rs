//! What a person asks of the cluster's nodes, and how the quorum stands.

use std::sync::Arc;

use plimsoll_controller::{Refusal, rules};
use plimsoll_quorum::raft::Status;
use plimsoll_types::NodeId;

use crate::Broker;
use crate::metadata::ChangeError;

impl Broker {
    /// How the metadata quorum stands, as far as this node knows.
    #[must_use]
    pub fn quorum_status(&self) -> Status {
        self.metadata.log().status()
    }

    /// Takes a node's leaderships and keeps it free of them, until [`Broker::resume_node`].
    ///
    /// # Errors
    /// The rule's refusal, or the metadata cannot be changed.
    pub async fn drain_node(self: &Arc<Self>, node: NodeId) -> Result<(), ChangeError<Refusal>> {
        self.change_until_done(move |image| rules::drain_node(image, node))
            .await
    }

    /// Lets a node lead again.
    ///
    /// # Errors
    /// The rule's refusal, or the metadata cannot be changed.
    pub async fn resume_node(self: &Arc<Self>, node: NodeId) -> Result<(), ChangeError<Refusal>> {
        self.change_until_done(move |image| rules::resume_node(image, node))
            .await
    }

    /// Takes a node that is gone and holds no replicas out of the cluster.
    ///
    /// # Errors
    /// The rule's refusal, or the metadata cannot be changed.
    pub async fn remove_node(self: &Arc<Self>, node: NodeId) -> Result<(), ChangeError<Refusal>> {
        self.change_until_done(move |image| match image.node(node) {
            Some(_) => rules::remove_node(image, node),
            None => Ok(Vec::new()),
        })
        .await?;
        // One that was no member of the quorum needs no leave of it.
        let _ = self.metadata.log().remove(node).await;
        Ok(())
    }
}
