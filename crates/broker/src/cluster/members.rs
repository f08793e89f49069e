//! Which nodes vote: those that the cluster was formed of, and nodes that joined where one more
//! makes the quorum safer.
//!
//! An even number of voters survives no more losses than the odd one below it, so one more is taken
//! in; and of a voter that is alone, two others make a quorum that survives a loss. More are never
//! needed, and nobody stops being a voter but by being removed.

use std::time::Duration;

use plimsoll_controller::Image;
use plimsoll_quorum::raft::Status;
use plimsoll_types::NodeId;

use super::SESSION;
use crate::Broker;

/// How many entries a node may lack that is to vote.
const LACKS: u64 = 1000;

impl Broker {
    /// Makes a voter of a node that joined, if one more is wanted.
    pub(super) async fn fill_quorum(&self) {
        let status = self.metadata.log().status();
        let Some(node) = next_voter(&status, &self.metadata.image(), SESSION) else {
            return;
        };
        match self.metadata.log().promote(node).await {
            Ok(()) => tracing::info!(event = "voter_added", %node),
            Err(error) => tracing::info!(event = "voter_not_added", %node, %error),
        }
    }
}

/// Who is to vote next; nobody unless this node leads.
fn next_voter(status: &Status, image: &Image, silence: Duration) -> Option<NodeId> {
    let mut ready = status.learners.keys().filter(|learner| {
        let known = status.progress.iter().find(|(node, ..)| node == *learner);
        let keeps_up = known.is_some_and(|(_, matched, heard)| {
            let here = heard.is_some_and(|age| age < silence);
            here && matched + LACKS >= status.last_index
        });
        keeps_up && image.is_alive(**learner)
    });
    let (first, second) = (ready.next()?, ready.next());
    match status.voters.len() {
        1 => second.map(|_| *first),
        voters if voters % 2 == 0 => Some(*first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_controller::{Record, rules};
    use plimsoll_quorum::raft::Role;

    fn id(node: u32) -> NodeId {
        NodeId::new(node).expect("in range")
    }

    fn image(nodes: u32) -> Image {
        let mut image = Image::default();
        for node in 1..=nodes {
            let clean = rules::Shutdown::Clean;
            let wish = rules::RegisterNode::new(id(node), [1; 16], [0; 16], clean);
            let register = rules::register_node(&image, &wish).expect("legal");
            let apply = |image: &mut Image, records: Vec<Record>| {
                for record in &records {
                    image.apply(record).expect("fits");
                }
            };
            apply(&mut image, register);
            let epoch = image.node(id(node)).expect("registered").broker_epoch;
            let unfence = rules::unfence_node(&image, id(node), epoch).expect("legal");
            apply(&mut image, unfence);
        }
        image
    }

    fn status(voters: u32, learners: u32) -> Status {
        let named = |range: std::ops::RangeInclusive<u32>| {
            range.map(|node| (id(node), String::new())).collect()
        };
        let known = |node| (id(node), 5000, Some(Duration::ZERO));
        Status {
            me: id(1),
            role: Role::Leader,
            leader: Some(id(1)),
            term: 1,
            last_index: 5000,
            committed_index: 5000,
            voters: named(1..=voters),
            learners: named(voters + 1..=voters + learners),
            progress: (1..=voters + learners).map(known).collect(),
        }
    }

    fn next(status: &Status, nodes: u32) -> Option<u32> {
        next_voter(status, &image(nodes), SESSION).map(NodeId::get)
    }

    #[test]
    fn who_is_alone_takes_two_and_an_even_number_one() {
        assert_eq!(next(&status(1, 0), 1), None);
        assert_eq!(next(&status(1, 1), 2), None);
        assert_eq!(next(&status(1, 2), 3), Some(2));
        assert_eq!(next(&status(2, 1), 3), Some(3));
        assert_eq!(next(&status(3, 2), 5), None);
        assert_eq!(next(&status(4, 2), 6), Some(5));
    }

    #[test]
    fn who_lags_is_silent_or_fenced_does_not_vote() {
        let mut lags = status(2, 1);
        lags.progress[2].1 = 3999;
        assert_eq!(next(&lags, 3), None);
        let mut silent = status(2, 1);
        silent.progress[2].2 = Some(SESSION);
        assert_eq!(next(&silent, 3), None);
        assert_eq!(next(&status(2, 1), 2), None, "not registered");
        let mut other_leads = status(2, 1);
        other_leads.progress.clear();
        assert_eq!(next(&other_leads, 3), None);
    }
}
