//! An election as soon as the leader's process is known to be gone, without waiting for a clock.
//!
//! The word comes from whoever holds the connections ([`Quorum::suspect`](super::Quorum::suspect)):
//! the leader's closed, and its address refuses another. This node then holds no lease of that
//! leader against others any more, and asks whether it would be elected; the surviving voter of the
//! least id asks first, so that two do not split the votes. Whoever did not lose the leader says
//! no, and nothing has changed; a voter that hears of the leader again gives the suspicion up.
//!
//! The library's lease does not come back before the next term, so that for which it stands is
//! kept here too: who heard the leader lately helps nobody to unseat it.

use super::node::{Consensus, Shared};
use super::store::Fence;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What is known of the leader besides what the library knows.
#[derive(Debug, Default)]
pub(crate) struct Watchfulness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The leader that was last heard, and when.
    heard: Option<(u64, Instant)>,
    /// The leader that is gone, and since when that is known.
    suspected: Option<(u64, Instant)>,
    campaigning: bool,
}

impl Watchfulness {
    /// A message of the leader `node` came. One that was on its way when the leader was lost says
    /// nothing.
    pub(crate) fn heard(&self, node: u64, now: Instant, on_the_way: Duration) {
        let mut state = self.0.lock();
        let stays = |(suspect, since): &(u64, Instant)| {
            *suspect == node && now.saturating_duration_since(*since) < on_the_way
        };
        if !state.suspected.as_ref().is_some_and(stays) {
            state.suspected = None;
            state.heard = Some((node, now));
        }
    }

    /// Whether a leader was heard in the last `patience` and is not suspected.
    pub(crate) fn hears(&self, now: Instant, patience: Duration) -> bool {
        let state = self.0.lock();
        let lately = |(_, at): (u64, Instant)| now.saturating_duration_since(at) < patience;
        state.suspected.is_none() && state.heard.is_some_and(lately)
    }

    /// Notes that `node` is gone; whether the caller is to campaign.
    fn suspect(&self, node: u64, now: Instant) -> bool {
        let mut state = self.0.lock();
        match state.suspected {
            Some((known, _)) if known == node => {}
            _ => state.suspected = Some((node, now)),
        }
        !std::mem::replace(&mut state.campaigning, true)
    }

    fn suspects(&self, node: u64) -> bool {
        let state = self.0.lock();
        state.suspected.is_some_and(|(suspect, _)| suspect == node)
    }
}

/// Ends a campaign, whatever ends it.
struct Campaigning<'a>(&'a Watchfulness);

impl Drop for Campaigning<'_> {
    fn drop(&mut self) {
        self.0.0.lock().campaigning = false;
    }
}

impl Shared {
    /// The process of `node` is gone. If it leads, or nobody does, a leader is sought at once.
    pub(crate) async fn suspect(&self, node: u64) {
        let Some(raft) = self.raft.get() else { return };
        let metrics = raft.metrics().borrow_watched().clone();
        let led_by_another = metrics.current_leader.is_some_and(|leader| leader != node);
        if led_by_another || node == self.me {
            return;
        }
        if !self.watchfulness.suspect(node, Instant::now()) {
            return;
        }
        let _campaigning = Campaigning(&self.watchfulness);
        if metrics.current_leader.is_some() {
            // A message that nobody acts on, but it ends the leader's lease with this voter.
            let released = TransferLeaderRequest::new(metrics.vote, node, None);
            if raft.handle_transfer_leader(released).await.is_err() {
                return;
            }
        }
        let is_voter = metrics
            .membership_config
            .voter_ids()
            .any(|id| id == self.me);
        if is_voter && self.store.fence() == Fence::Open {
            self.campaign(raft, node).await;
        }
    }

    /// Seeks to be elected in place of `gone`, until somebody is or `gone` is back.
    async fn campaign(&self, raft: &Consensus, gone: u64) {
        let mut receiver = raft.metrics();
        let first = receiver.borrow_watched().clone();
        let others = first.membership_config.voter_ids();
        let before = others.filter(|id| *id != gone && *id < self.me).count();
        let turn = self.timing.heartbeat * u32::try_from(before).unwrap_or(u32::MAX);
        let begun = Instant::now();
        // An election that is under way gets this long.
        let patience = self.timing.election_min / 2 + turn;
        let led = first.current_leader == Some(gone);
        let (mut vote, mut voted) = (first.vote, begun);
        let mut next = begun + turn;
        while begun.elapsed() < self.timing.election_max * 4 {
            while let Ok(changed) = timeout_at(next, receiver.changed()).await {
                if changed.is_err() {
                    return;
                }
                let leader = receiver.borrow_watched().current_leader;
                if leader.is_some_and(|leader| leader != gone) {
                    return;
                }
            }
            // Asked for in line with everything else: a vote that is being written has begun an
            // election, of which the metrics do not know yet.
            let Ok(now) = raft.with_raft_state(|state| *state.vote_ref()).await else {
                return;
            };
            if now != vote {
                (vote, voted) = (now, Instant::now());
            }
            if !self.watchfulness.suspects(gone) {
                return;
            }
            if (led && vote == first.vote) || voted.elapsed() >= patience {
                voted = Instant::now();
                if raft.trigger().elect(true).await.is_err() {
                    return;
                }
            }
            next = Instant::now() + self.timing.heartbeat / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_suspicion_ends_when_the_leader_is_heard_and_not_by_what_was_on_its_way() {
        let (watch, start) = (Watchfulness::default(), Instant::now());
        watch.heard(3, start, MS * 50);
        assert!(watch.hears(start + MS * 99, MS * 100));
        assert!(!watch.hears(start + MS * 100, MS * 100));
        assert!(watch.suspect(3, start));
        assert!(!watch.hears(start, MS * 100));
        watch.heard(3, start + MS * 49, MS * 50);
        assert!(watch.suspects(3), "a late message");
        assert!(!watch.suspect(3, start + MS * 60), "one campaign at a time");
        watch.heard(3, start + MS * 60, MS * 50);
        assert!(!watch.suspects(3) && watch.hears(start + MS * 60, MS * 100));
        assert!(watch.suspect(3, start) || watch.suspects(3));
    }

    #[test]
    fn another_leader_ends_the_suspicion_of_the_first() {
        let (watch, start) = (Watchfulness::default(), Instant::now());
        assert!(watch.suspect(3, start));
        watch.heard(2, start, MS * 50);
        assert!(!watch.suspects(3) && watch.hears(start, MS));
    }
}
