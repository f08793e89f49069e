//! One partition of the image.

use crate::record::Assignment;
use plimsoll_types::{LeaderEpoch, NodeId, PartitionEpoch};
use std::sync::{Arc, LazyLock};

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Every node that holds a replica, the preferred leader first. While a reassignment goes on,
    /// its target first and then those that are on their way out.
    pub replicas: Arc<[NodeId]>,
    /// The in-sync ones among them.
    pub isr: Arc<[NodeId]>,
    /// Those that left the ISR while it was too small to commit anything: they hold all that is
    /// committed, and each may lead when the ISR is empty. None while the ISR is large enough.
    pub elr: Arc<[NodeId]>,
    /// Those that left the ISR or the ELR since it was last large enough, because they may have
    /// lost what they had. Whom a recovery asks.
    pub last_known_elr: Arc<[NodeId]>,
    /// Replicas that a reassignment brings in.
    pub adding: Arc<[NodeId]>,
    /// Replicas that a reassignment takes out at its end.
    pub removing: Arc<[NodeId]>,
    /// The leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// The leader's term. Invariant C1: grows with every change of the leader and whenever a
    /// replica is taken out.
    pub leader_epoch: LeaderEpoch,
    /// The version of this partition's metadata.
    pub partition_epoch: PartitionEpoch,
    /// The last term that began by an unclean election, from which on logs may go back.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// Whether nobody has come in sync since an unclean election.
    pub recovering: bool,
}

impl Partition {
    /// The assignment a record would carry to make this partition.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        Assignment {
            replicas: self.replicas.to_vec(),
            isr: self.isr.to_vec(),
            elr: self.elr.to_vec(),
            last_known_elr: self.last_known_elr.to_vec(),
            adding: self.adding.to_vec(),
            removing: self.removing.to_vec(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            unclean_epoch: self.unclean_epoch,
            recovering: self.recovering,
        }
    }

    /// Whether a reassignment goes on.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas when the reassignment has ended; all of them when there is none.
    pub fn target(&self) -> impl Iterator<Item = NodeId> {
        let stays = |node: &NodeId| !self.removing.contains(node);
        self.replicas.iter().copied().filter(stays)
    }

    /// The replicas that were there before the reassignment; all of them when there is none.
    pub fn original(&self) -> impl Iterator<Item = NodeId> {
        let was = |node: &NodeId| !self.adding.contains(node);
        self.replicas.iter().copied().filter(was)
    }

    /// How many in-sync replicas it takes to commit, where `min.insync.replicas` is `configured`:
    /// no more than there are replicas, before a reassignment and after it.
    #[must_use]
    pub fn min_isr(&self, configured: u32) -> usize {
        let configured = usize::try_from(configured).unwrap_or(usize::MAX);
        let least = self.original().count().min(self.target().count());
        configured.min(least).max(1)
    }

    /// The partition of this assignment if it holds together (C2).
    pub(super) fn checked(assignment: &Assignment) -> Option<Self> {
        let Assignment {
            replicas,
            isr,
            elr,
            last_known_elr,
            adding,
            removing,
            leader,
            ..
        } = assignment;
        let among =
            |nodes: &[NodeId]| is_a_set(nodes) && nodes.iter().all(|n| replicas.contains(n));
        let apart = |a: &[NodeId], b: &[NodeId]| !a.iter().any(|node| b.contains(node));
        let whole = !replicas.is_empty()
            && is_a_set(replicas)
            && [isr, elr, last_known_elr, adding, removing].map(|s| among(s)) == [true; 5]
            && leader.iter().all(|leader| isr.contains(leader))
            && apart(elr, isr)
            && apart(last_known_elr, isr)
            && apart(last_known_elr, elr)
            && apart(adding, removing)
            && adding.len() < replicas.len()
            && removing.len() < replicas.len();
        whole.then(|| {
            let replicas = shared(replicas);
            Self {
                isr: if isr[..] == replicas[..] {
                    Arc::clone(&replicas)
                } else {
                    shared(isr)
                },
                replicas,
                elr: shared(elr),
                last_known_elr: shared(last_known_elr),
                adding: shared(adding),
                removing: shared(removing),
                leader: *leader,
                leader_epoch: assignment.leader_epoch,
                partition_epoch: assignment.partition_epoch,
                unclean_epoch: assignment.unclean_epoch,
                recovering: assignment.recovering,
            }
        })
    }
}

fn is_a_set(nodes: &[NodeId]) -> bool {
    let repeated = |(at, node): (usize, &NodeId)| nodes.iter().take(at).any(|n| n == node);
    !nodes.iter().enumerate().any(repeated)
}

/// These nodes; all empty lists are one.
fn shared(nodes: &[NodeId]) -> Arc<[NodeId]> {
    static NONE: LazyLock<Arc<[NodeId]>> = LazyLock::new(|| Arc::from([]));
    if nodes.is_empty() {
        return Arc::clone(&NONE);
    }
    nodes.into()
}
