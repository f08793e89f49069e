//! Changes of who belongs to the quorum, at the leader.

use super::face::QuorumError;
use super::node::{Consensus, Shared};
use super::rpc::Change;
use super::serve::Outcome;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout_at};

impl Shared {
    pub(crate) async fn lead_change(&self, raft: &Consensus, change: Change) -> Outcome {
        let members = raft.metrics().borrow_watched().membership_config.clone();
        let members = members.membership();
        let (change, retain) = match change {
            Change::Admit(id, addr) => {
                let node = BasicNode { addr };
                match members.get_node(&id) {
                    Some(known) if *known == node => return Outcome::Done(0),
                    Some(_) => (ChangeMembers::SetNodes(BTreeMap::from([(id, node)])), true),
                    None => (ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), true),
                }
            }
            Change::Promote(id) if members.voter_ids().any(|voter| voter == id) => {
                return Outcome::Done(0);
            }
            Change::Promote(id) => (ChangeMembers::AddVoterIds(BTreeSet::from([id])), true),
            Change::Remove(id) if members.get_node(&id).is_none() => return Outcome::Done(0),
            Change::Remove(id) => {
                let ids = BTreeSet::from([id]);
                if members.voter_ids().any(|voter| voter == id) {
                    (ChangeMembers::RemoveVoters(ids), false)
                } else {
                    (ChangeMembers::RemoveNodes(ids), false)
                }
            }
            Change::Transfer(to) => return self.transfer_to(raft, to).await,
        };
        match raft.change_membership(change, retain).await {
            Ok(written) => Outcome::Done(written.log_id.index),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Outcome::NotLeader,
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Outcome::Failed(QuorumError::refused(&error))
            }
            Err(RaftError::APIError(error)) => Outcome::Failed(QuorumError::unknown(&error)),
            Err(RaftError::Fatal(error)) => Outcome::Failed(QuorumError::unknown(&error)),
        }
    }

    async fn transfer_to(&self, raft: &Consensus, to: u64) -> Outcome {
        let mut receiver = raft.metrics();
        if receiver.borrow_watched().current_leader != Some(self.me) {
            return Outcome::NotLeader;
        }
        let is_voter = receiver
            .borrow_watched()
            .membership_config
            .voter_ids()
            .any(|id| id == to);
        if !is_voter {
            return Outcome::Failed(QuorumError::refused(&"only a voter can lead"));
        }
        // The caller's deadline ends the wait. A voter that lacks the newest entry declines.
        loop {
            if let Err(error) = raft.trigger().transfer_leader(to).await {
                return Outcome::Failed(QuorumError::unknown(&error));
            }
            let patience = Instant::now() + self.timing.election_max;
            while let Ok(changed) = timeout_at(patience, receiver.changed()).await {
                if changed.is_err() {
                    return Outcome::Failed(QuorumError::unknown(&"the consensus ended"));
                }
                let leader = receiver.borrow_watched().current_leader;
                if leader == Some(to) {
                    return Outcome::Done(0);
                }
                if leader.is_some_and(|leader| leader != self.me) {
                    return Outcome::Failed(QuorumError::refused(&"another node leads now"));
                }
            }
        }
    }
}
