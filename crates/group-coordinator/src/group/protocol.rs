//! What the members agree on: the protocol that wins their vote, and the topics they read.

use super::{CONSUMER, Group, GroupState};
use crate::{JoinRequest, Text};
use std::collections::{BTreeMap, BTreeSet};

impl Group {
    /// Whether the member of this join could live with the others: the same protocol type, and a
    /// protocol that everyone can do.
    pub(super) fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.state == GroupState::Empty || self.members.is_empty() {
            return true;
        }
        let everyones = |name: &Text| self.supporters.get(name) == Some(&self.members.len());
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|p| everyones(&p.name))
    }

    /// The protocol of the next generation: of those that everyone can do, each member votes for
    /// the one it likes best. Between equals the leader's preference decides.
    pub(super) fn elect_protocol(&self) -> Option<Text> {
        let all = self.members.len();
        let common = |name: &Text| self.supporters.get(name) == Some(&all);
        let mut votes: BTreeMap<&Text, usize> = BTreeMap::new();
        for member in self.members.values() {
            let best = member.protocols.iter().find(|p| common(&p.name))?;
            *votes.entry(&best.name).or_default() += 1;
        }
        let most = *votes.values().max()?;
        let leader = self.members.get(self.leader.as_ref()?)?;
        let favourite = leader
            .protocols
            .iter()
            .find(|p| votes.get(&p.name) == Some(&most));
        let winner = favourite.map(|p| &p.name);
        winner
            .or_else(|| {
                votes
                    .iter()
                    .find(|(_, count)| **count == most)
                    .map(|(name, _)| *name)
            })
            .cloned()
    }

    /// The topics that the members read under the protocol agreed on; none if not all can be told.
    pub(super) fn read_subscriptions(&self) -> Option<BTreeSet<Text>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let said = member.protocol(self.protocol.as_ref()?)?;
            topics.extend(said.topics.as_ref()?.iter().cloned());
        }
        Some(topics)
    }
}
