//! What may be asked of a node over HTTP besides reading: the operator's orders, and those of
//! `chaos`, which only a cluster to play with takes.

use std::time::Duration;

use async_trait::async_trait;
use plimsoll_types::NodeId;
use serde::Deserialize;

/// Something to do to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Let it stand still, as a stopped process does.
    Pause {
        /// For how long.
        lasting: Duration,
    },
    /// Cut its links to the others.
    Cut,
    /// Mend its links.
    Heal,
    /// Make each sync of its disk take so much longer.
    SlowDisk {
        /// How much.
        by: Duration,
    },
    /// Leave its disk no room for records.
    FillDisk,
    /// Let its disk be well again.
    MendDisk,
    /// Flip a bit of a log on its disk.
    FlipBit {
        /// The topic.
        topic: String,
        /// The partition's index in it.
        partition: u32,
    },
}

/// What an order of `chaos` is about, beside the node.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Details {
    /// Milliseconds that a sync takes longer, or that a pause lasts.
    ms: Option<u64>,
    /// `TOPIC/PARTITION`.
    partition: Option<String>,
}

/// A sync that takes longer than this is no slow disk but none.
const MAX_SLOWNESS: Duration = Duration::from_secs(600);
/// How much longer a sync takes if nobody says.
const SLOWNESS: Duration = Duration::from_secs(2);

/// Who stands still for longer may as well be killed.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// How long a pause lasts if nobody says.
const PAUSE: Duration = Duration::from_secs(5);

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

    /// An order of `chaos` by its word; `None` if it is none, or lacks what it is about.
    pub(crate) fn chaos(word: &str, details: Details) -> Option<Self> {
        match word {
            "slow-disk" => {
                let by = details.ms.map_or(SLOWNESS, Duration::from_millis);
                let by = by.min(MAX_SLOWNESS);
                Some(Self::SlowDisk { by })
            }
            "fill-disk" => Some(Self::FillDisk),
            "mend-disk" => Some(Self::MendDisk),
            "flip-bit" => {
                let name = details.partition?;
                let (topic, partition) = name.rsplit_once('/')?;
                let (topic, partition) = (topic.to_owned(), partition.parse().ok()?);
                Some(Self::FlipBit { topic, partition })
            }
            "pause" => {
                let lasting = details.ms.map_or(PAUSE, Duration::from_millis);
                let lasting = lasting.min(MAX_PAUSE);
                Some(Self::Pause { lasting })
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_chaos_say_what_they_are_about() {
        let of = |partition: &str| Details {
            ms: Some(150),
            partition: Some(partition.to_owned()),
        };
        let by = Duration::from_millis(150);
        let slow = Order::chaos("slow-disk", of(""));
        assert_eq!(slow, Some(Order::SlowDisk { by }));
        let by = SLOWNESS;
        let slow = Order::chaos("slow-disk", Details::default());
        assert_eq!(slow, Some(Order::SlowDisk { by }));
        let lasting = Duration::from_millis(150);
        assert_eq!(
            Order::chaos("pause", of("")),
            Some(Order::Pause { lasting })
        );
        let flip = Order::FlipBit {
            topic: "a/b".to_owned(),
            partition: 12,
        };
        assert_eq!(Order::chaos("flip-bit", of("a/b/12")), Some(flip));
        for wrong in ["", "a", "a/", "a/x", "a/-1"] {
            assert_eq!(Order::chaos("flip-bit", of(wrong)), None, "{wrong}");
        }
        assert_eq!(Order::chaos("flip-bit", Details::default()), None);
        assert_eq!(Order::chaos("drain", Details::default()), None);
    }
}
