//! What may be asked of a node over HTTP besides reading: the operator's orders, and those of
//! `chaos`, which only a cluster to play with takes.

use async_trait::async_trait;
use plimsoll_types::NodeId;

/// Something to do to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Move leaderships away from it, and keep them away.
    Drain,
    /// Let it take part again.
    Resume,
    /// Take it out of the cluster for good.
    Decommission,
    /// End it at once, as a crash would.
    Kill,
    /// Start it again.
    Restart,
    /// Cut its links to the others.
    Cut,
    /// Mend its links.
    Heal,
}

impl Order {
    /// An operator's order by its word.
    pub(crate) fn operators(word: &str) -> Option<Self> {
        match word {
            "drain" => Some(Self::Drain),
            "resume" => Some(Self::Resume),
            "decommission" => Some(Self::Decommission),
            _ => None,
        }
    }

    /// An order of `chaos` by its word.
    pub(crate) fn chaos(word: &str) -> Option<Self> {
        match word {
            "kill" => Some(Self::Kill),
            "restart" => Some(Self::Restart),
            "cut" => Some(Self::Cut),
            "heal" => Some(Self::Heal),
            _ => None,
        }
    }
}

/// Carries orders out.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Does it, and says what was done.
    ///
    /// # Errors
    /// Why it was not, for people.
    async fn carry_out(&self, order: Order, node: NodeId) -> Result<String, String>;
}
