//! Requests that met groups which are about to be here: held, in their order, rather than refused.
//!
//! A coordinator that moves is away for a moment. Some clients give a commit up after a few quick
//! refusals, or after one; so whoever comes while the partition is read waits for that, and
//! whoever comes to a node that does not lead the partition waits for as long as the node may be
//! behind with the metadata that made it the leader. Both waits, and how many wait, are bounded.

use plimsoll_group_coordinator::{GroupError, Input, Now, ReplyTo};
use plimsoll_types::Monotonic;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::shard::Away;
use super::slot::Slot;

/// Most requests of one partition that are held; who comes then is refused at once.
pub(super) const MAX_HELD: usize = 500;
/// How long the loading of a partition is waited for: well below what clients allow an answer.
pub(super) const LOADING: Duration = Duration::from_secs(1);
/// How long news that this node leads the partition is waited for. A client that comes to the
/// coordinator of before pays it once.
pub(super) const ELSEWHERE: Duration = Duration::from_millis(100);

/// What is held for one partition, oldest first.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<(Monotonic, Wish)>,
}

/// One that waits.
pub(super) enum Wish {
    /// To be put to the coordinator. Its answer's place is known to the shard by the reply.
    Ask(ReplyTo, Input),
    /// To look at what the coordinator knows.
    Look(Arc<Slot<()>>),
}

impl Held {
    /// Whether one more may wait for groups that are away for such a reason.
    pub(super) fn takes(&self, away: Option<Away>) -> bool {
        limit(away).is_some() && self.queue.len() < MAX_HELD
    }

    /// Returns whether the driver is to be told, which did not look after any before.
    pub(super) fn push(&mut self, now: Now, wish: Wish) -> bool {
        self.queue.push_back((now.monotonic, wish));
        self.queue.len() == 1
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Wish> + use<> {
        std::mem::take(&mut self.queue)
            .into_iter()
            .map(|(_, wish)| wish)
    }

    /// Those whose time is up, with groups away for such a reason.
    pub(super) fn overdue(&mut self, now: Monotonic, away: Option<Away>) -> Vec<Wish> {
        let mut overdue = Vec::new();
        while self.deadline(away).is_some_and(|at| at <= now) {
            overdue.extend(self.queue.pop_front().map(|(_, wish)| wish));
        }
        overdue
    }

    /// When the first one's time is up.
    pub(super) fn deadline(&self, away: Option<Away>) -> Option<Monotonic> {
        let (since, _) = self.queue.front()?;
        Some(*since + limit(away).unwrap_or_default())
    }
}

/// What is told to one whose time is up.
pub(super) fn refusal(away: Option<Away>) -> GroupError {
    match away {
        Some(Away::Elsewhere) => GroupError::NotCoordinator,
        Some(Away::Failed) => GroupError::CoordinatorNotAvailable,
        Some(Away::Loading) | None => GroupError::CoordinatorLoadInProgress,
    }
}

/// How long one waits, if at all.
fn limit(away: Option<Away>) -> Option<Duration> {
    match away {
        Some(Away::Loading) => Some(LOADING),
        Some(Away::Elsewhere) => Some(ELSEWHERE),
        Some(Away::Failed) | None => None,
    }
}
