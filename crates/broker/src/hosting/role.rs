//! The role of a replica, as the metadata gives it.

use std::sync::Arc;

use plimsoll_controller::Image;
use plimsoll_partition::{IsrRule, LeaderTerm, Partition};
use plimsoll_replicator::{Store, View};
use plimsoll_types::PartitionKey;

use super::Host;
use super::queue::Key;

impl Host {
    /// Lets a replica lead or follow. Blocks on the disk.
    pub(super) fn take_role(&self, partition: &Arc<Partition>, key: Key, image: &Image) {
        let (topic, index) = key;
        let key = PartitionKey { topic, index };
        let Some(metadata) = image.partition_by_key(key) else {
            return;
        };
        if self.in_cluster {
            let view = View {
                key,
                leader: metadata.leader,
                leader_epoch: metadata.leader_epoch,
                partition_epoch: metadata.partition_epoch,
                replicas: metadata.replicas.to_vec(),
                isr: metadata.isr.to_vec(),
                elr: metadata.elr.to_vec(),
                min_isr: image.min_isr(key),
                unclean_epoch: metadata.unclean_epoch,
            };
            let store: Arc<dyn Store> = Arc::clone(partition) as Arc<dyn Store>;
            self.replicas.apply(&store, &view, self.clock.now());
            return;
        }
        let epoch = metadata.leader_epoch;
        let taken = if metadata.leader == Some(self.node) {
            let others = |nodes: &[plimsoll_types::NodeId]| {
                let others = nodes.iter().copied().filter(|node| *node != self.node);
                others.collect::<Vec<_>>()
            };
            let rule = IsrRule {
                followers: others(&metadata.replicas),
                maximal_isr: others(&metadata.isr),
                committed_isr: metadata.isr.len(),
                min_isr: image.min_isr(key),
                fresh: Vec::new(),
            };
            let term = LeaderTerm {
                leader_epoch: epoch,
                rule,
            };
            partition.become_leader(term).map(drop)
        } else {
            partition.become_follower(epoch, metadata.leader)
        };
        if let Err(error) = taken {
            let id = partition.id();
            tracing::warn!(event = "role_not_taken", partition = %id, leader_epoch = epoch.get(), %error);
        }
    }
}
