//! Taking the committed entries in order: each makes the next image, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_controller::Image;
use plimsoll_partition::describe;
use plimsoll_quorum::raft::Event;
use plimsoll_quorum::{Entry, Snapshot};
use plimsoll_types::NodeId;

use super::codec::LastChanges;
use super::log::Fault;
use super::transaction::{self, Applied, Ticket};
use super::{Metadata, MetadataError, codec};
use crate::deadline::Deadline;

/// How long an entry that is committed may take to be applied here.
const REACH: Duration = Duration::from_secs(10);

/// What is applied so far.
#[derive(Default)]
pub(super) struct Applier {
    /// The last entry that was applied or void.
    pub(super) index: u64,
    /// What became of this node's own transactions, for those who wait.
    pub(super) outcomes: BTreeMap<u64, Outcome>,
    /// What came through last of each node.
    last: LastChanges,
    /// Why nothing is applied any more.
    pub(super) halted: Option<Arc<str>>,
    /// Who is to be woken when something was applied.
    waiting: Vec<Waker>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has not been seen.
    Awaited,
    /// It was made for another image.
    Void,
    /// It made the image of this version.
    Moved(u64),
}

/// The transactions of one change, forgotten when it ends.
pub(super) struct Tickets<'a> {
    applier: &'a Mutex<Applier>,
    numbers: Vec<u64>,
}

impl<'a> Tickets<'a> {
    pub(super) fn new(applier: &'a Mutex<Applier>) -> Self {
        Self {
            applier,
            numbers: Vec::new(),
        }
    }

    pub(super) fn expect(&mut self, number: u64) {
        self.numbers.push(number);
        let mut applier = self.applier.lock();
        applier.outcomes.insert(number, Outcome::Awaited);
    }

    /// Which of them, if any, made an image, and of what version.
    pub(super) fn moved(&self) -> Option<(usize, u64)> {
        let applier = self.applier.lock();
        let mut numbered = self.numbers.iter().enumerate();
        numbered.find_map(|(at, number)| match applier.outcomes.get(number) {
            Some(Outcome::Moved(version)) => Some((at, *version)),
            Some(Outcome::Awaited | Outcome::Void) | None => None,
        })
    }
}

impl Drop for Tickets<'_> {
    fn drop(&mut self) {
        let mut applier = self.applier.lock();
        for number in &self.numbers {
            applier.outcomes.remove(number);
        }
    }
}

impl Applier {
    pub(super) fn starting_at(index: u64, last: LastChanges) -> Self {
        Self {
            index,
            last,
            ..Self::default()
        }
    }

    fn wake_me(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|known| known.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}

impl Metadata {
    /// Returns once everything up to the entry `index` is applied.
    pub(super) async fn reach(&self, index: u64) -> Result<(), Fault> {
        let mut deadline = Deadline::at(&self.clock, self.clock.now() + REACH);
        let reached = std::future::poll_fn(|cx| {
            let mut applier = self.applier.lock();
            if applier.index >= index {
                return Poll::Ready(Ok(()));
            }
            if let Some(why) = &applier.halted {
                return Poll::Ready(Err(Fault::Failed(why.to_string().into())));
            }
            applier.wake_me(cx);
            Poll::Pending
        });
        deadline.bound(reached).await.unwrap_or(Err(Fault::Unknown))
    }

    /// Waits for `time`, or until something is applied.
    pub(crate) async fn pause(&self, time: Duration) {
        let before = self.applier.lock().index;
        let mut deadline = Deadline::at(&self.clock, self.clock.now() + time);
        let moved = std::future::poll_fn(|cx| {
            let mut applier = self.applier.lock();
            if applier.index > before || applier.halted.is_some() {
                return Poll::Ready(());
            }
            applier.wake_me(cx);
            Poll::Pending
        });
        // Either is the end of it.
        let _moved = deadline.bound(moved).await;
    }

    /// Applies what is committed, as it comes, until the log ends or something does not apply.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let event = self.log.next().await;
            let (over, waiting) = {
                let mut applier = self.applier.lock();
                let taken = match &event {
                    Ok(Event::Entry(entry)) => self.take(&mut applier, entry),
                    Ok(Event::Snapshot(snapshot)) => self.replace(&mut applier, snapshot),
                    Err(stopped) => {
                        applier.halted = Some(Arc::clone(&stopped.reason));
                        Ok(())
                    }
                };
                if let Err(error) = taken {
                    let error = describe(&error);
                    tracing::error!(event = "metadata_not_applied", %error);
                    applier.halted = Some(error.into());
                }
                let waiting = std::mem::take(&mut applier.waiting);
                (applier.halted.is_some(), waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
            if over {
                return;
            }
            if self.log.wants_snapshot() {
                self.snapshot().await;
            }
        }
    }

    /// Keeps a snapshot of the newest image, where blocking work is done. A failed one costs only
    /// space: the log before it still stands.
    async fn snapshot(self: &Arc<Self>) {
        let metadata = Arc::clone(self);
        let work = move || {
            let snapshot = {
                let applier = metadata.applier.lock();
                let index = applier.index;
                let image = metadata.image.load_full();
                let last = applier.last.clone();
                drop(applier);
                let bytes = codec::encode_snapshot(&image, &last);
                Snapshot { index, bytes }
            };
            if let Err(error) = metadata.log.install_snapshot(&snapshot) {
                tracing::warn!(event = "metadata_snapshot_failed", error = %describe(&error));
            }
        };
        self.workers.run(Box::new(work)).await;
    }

    fn take(&self, applier: &mut Applier, entry: &Entry) -> Result<(), MetadataError> {
        let before = self.image.load_full();
        let (applied, ticket) = apply(&before, entry)?;
        applier.index = entry.index;
        let mut outcome = Outcome::Void;
        if let Applied::Moved(after) = applied {
            let after: Arc<Image> = Arc::from(after);
            outcome = Outcome::Moved(after.version());
            let (proposer, number) = (ticket.proposer, ticket.number);
            applier.last.insert(proposer, (number, after.version()));
            let is_there = |node: NodeId| node == proposer || after.node(node).is_some();
            applier.last.retain(|node, _| is_there(*node));
            self.publish(&before, &after);
        }
        if ticket.proposer == self.node
            && let Some(awaited) = applier.outcomes.get_mut(&ticket.number)
        {
            *awaited = outcome;
        }
        Ok(())
    }

    /// A snapshot in place of entries that are no longer there.
    fn replace(&self, applier: &mut Applier, snapshot: &Snapshot) -> Result<(), MetadataError> {
        let (after, last) = decode(snapshot)?;
        applier.index = snapshot.index;
        // A node makes one change at a time, so the last one that came through is the one that is
        // awaited, or none of its tickets did.
        if let Some((number, version)) = last.get(&self.node)
            && let Some(awaited) = applier.outcomes.get_mut(number)
        {
            *awaited = Outcome::Moved(*version);
        }
        applier.last = last;
        self.publish(&self.image.load_full(), &Arc::new(after));
        Ok(())
    }

    fn publish(&self, before: &Image, after: &Arc<Image>) {
        self.image.store(Arc::clone(after));
        if let Some(follow) = self.follow.get() {
            follow(after, &after.changes_since(before));
        }
    }
}

pub(super) fn decode(snapshot: &Snapshot) -> Result<(Image, LastChanges), MetadataError> {
    let index = snapshot.index;
    codec::decode_snapshot(&snapshot.bytes).map_err(|source| MetadataError::Entry { index, source })
}

fn apply(image: &Image, entry: &Entry) -> Result<(Applied, Ticket), MetadataError> {
    let index = entry.index;
    let transaction = transaction::decode(&entry.bytes)
        .map_err(|source| MetadataError::Entry { index, source })?;
    let applied = transaction.apply(image);
    Ok((applied, transaction.ticket))
}
