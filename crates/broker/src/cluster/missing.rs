//! Nodes whose connection has just ended, and who asks meanwhile who leads in their place.
//!
//! A client that loses a leader asks another node for the next one at once, often before that is
//! elected. The old answer would send it back to a dead node, and many clients ask again only after
//! a second. So the answer waits for a moment: elections after a lost connection take much less.
//! If none comes, as when nothing but a link was lost, the metadata is answered as it is.
//!
//! For some seconds more the node is named among the nodes, though it is fenced: librdkafka ends all
//! that it has to do with a node that is not named any more, and a partition that it moves away from
//! there in the same moment rests until its next round, a second later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_controller::Image;
use plimsoll_types::{Monotonic, NodeId};

use crate::Broker;

/// For how long the end of a connection is news.
const NEWS: Duration = Duration::from_millis(500);
/// For how long a node is named that is fenced.
const NAMED: Duration = Duration::from_secs(3);
/// The longest that an answer waits.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two looks, if nothing is applied meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Whose connection ended, and when; bounded by the number of nodes.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<BTreeMap<NodeId, Monotonic>>);

impl Missing {
    fn lost(&self, node: NodeId, now: Monotonic) {
        self.0.lock().insert(node, now);
    }

    fn found(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }

    /// Those whose connection ended less than `time` ago, and did not come back.
    fn since(&self, time: Duration, now: Monotonic) -> Vec<NodeId> {
        let mut missing = self.0.lock();
        missing.retain(|_, since| now.since(*since) < NAMED);
        let lately = missing.iter().filter(|(_, at)| now.since(**at) < time);
        lately.map(|(node, _)| *node).collect()
    }
}

impl Broker {
    /// The connection to `node` has ended.
    pub fn lost(&self, node: NodeId) {
        if let Some(member) = &self.member {
            member.missing.lost(node, self.clock.now());
        }
    }

    /// There is a connection to `node`.
    pub fn found(&self, node: NodeId) {
        if let Some(member) = &self.member {
            member.missing.found(node);
        }
    }

    /// The nodes that are named though they are fenced.
    pub(crate) fn lately_lost(&self) -> Vec<NodeId> {
        match &self.member {
            Some(member) => member.missing.since(NAMED, self.clock.now()),
            None => Vec::new(),
        }
    }

    /// The newest image; if by that one `concerns` any of the nodes that have just gone missing,
    /// it waits for one by which it does not.
    pub(crate) async fn image_after_losses(
        &self,
        concerns: impl Fn(&Image, &[NodeId]) -> bool,
    ) -> Arc<Image> {
        let end = self.clock.now() + PATIENCE;
        loop {
            let image = self.metadata.image();
            let now = self.clock.now();
            let missing = match &self.member {
                Some(member) => member.missing.since(NEWS, now),
                None => Vec::new(),
            };
            if missing.is_empty() || now >= end || !concerns(&image, &missing) {
                return image;
            }
            self.metadata.pause(LOOK.min(end.since(now))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_news_for_a_while_or_until_the_node_is_back() {
        let at = |ms| Monotonic::from_start(Duration::from_millis(ms));
        let [one, two] = [1, 2].map(|node| NodeId::new(node).expect("in range"));
        let missing = Missing::default();
        missing.lost(one, at(0));
        missing.lost(two, at(100));
        assert_eq!(missing.since(NEWS, at(499)), [one, two]);
        assert_eq!(missing.since(NEWS, at(500)), [two]);
        assert_eq!(missing.since(NAMED, at(500)), [one, two]);
        missing.found(two);
        assert_eq!(missing.since(NEWS, at(500)), []);
        assert_eq!(missing.since(NAMED, at(2999)), [one]);
        assert_eq!(missing.since(NAMED, at(3000)), []);
    }
}
