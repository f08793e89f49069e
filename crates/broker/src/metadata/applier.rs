//! Taking the committed entries in order: each makes the next image, or nothing.
//!
//! Where a node is alone, whoever waits for an entry takes it off the stream; in a cluster a thread
//! does, because entries come from others too.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use plimsoll_controller::Image;
use plimsoll_partition::describe;
use plimsoll_quorum::raft::{self, Event};
use plimsoll_quorum::{Committed, Entry, Snapshot};

use super::log::Fault;
use super::transaction::{self, Applied, Ticket};
use super::{Metadata, MetadataError, codec};

/// How long an entry that is committed may take to be applied here.
const REACH: Duration = Duration::from_secs(10);

/// What is applied so far.
#[derive(Default)]
pub(super) struct Applier {
    /// Where a node is alone.
    pub(super) committed: Option<Committed>,
    /// The last entry that was applied or void.
    pub(super) index: u64,
    /// What became of this node's own transactions, for those who wait.
    pub(super) outcomes: HashMap<u64, Outcome>,
    /// Why nothing is applied any more.
    pub(super) halted: Option<Arc<str>>,
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

impl Metadata {
    /// Returns once everything up to the entry `index` is applied.
    pub(super) fn reach(&self, index: u64) -> Result<(), Fault> {
        let mut applier = self.applier.lock();
        while applier.index < index {
            if let Some(why) = &applier.halted {
                return Err(Fault::Failed(why.to_string().into()));
            }
            if applier.committed.is_some() {
                self.take_next(&mut applier)?;
            } else if self.moved.wait_for(&mut applier, REACH).timed_out() {
                return Err(Fault::Unknown);
            }
        }
        Ok(())
    }

    fn take_next(&self, applier: &mut MutexGuard<'_, Applier>) -> Result<(), Fault> {
        let Some(committed) = &applier.committed else {
            return Ok(());
        };
        let failed = |error: Box<dyn std::error::Error>| Fault::Failed(error);
        let entry = committed.next().map_err(|stopped| failed(stopped.into()))?;
        self.take(applier, &entry)
            .map_err(|error| failed(error.into()))
    }

    pub(super) fn take(&self, applier: &mut Applier, entry: &Entry) -> Result<(), MetadataError> {
        let before = self.image.load_full();
        let (applied, ticket) = apply(&before, entry)?;
        applier.index = entry.index;
        let mut outcome = Outcome::Void;
        if let Applied::Moved(after) = applied {
            let after: Arc<Image> = Arc::from(after);
            outcome = Outcome::Moved(after.version());
            self.publish(&before, &after);
            self.snapshot_if_worth_it(&after, entry.index);
        }
        if let Some(ticket) = ticket.filter(|ticket| ticket.proposer == self.node)
            && let Some(awaited) = applier.outcomes.get_mut(&ticket.number)
        {
            *awaited = outcome;
        }
        Ok(())
    }

    /// A snapshot in place of entries that are no longer there.
    fn replace(&self, applier: &mut Applier, snapshot: &Snapshot) -> Result<(), MetadataError> {
        let after = decode(snapshot)?;
        applier.index = snapshot.index;
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

/// Takes events for as long as there are some; the body of a thread.
pub(super) fn run(metadata: &Weak<Metadata>, committed: &raft::Committed) {
    loop {
        let event = committed.next();
        let Some(metadata) = metadata.upgrade() else {
            return;
        };
        let mut applier = metadata.applier.lock();
        let taken = match &event {
            Ok(Event::Entry(entry)) => metadata.take(&mut applier, entry),
            Ok(Event::Snapshot(snapshot)) => metadata.replace(&mut applier, snapshot),
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
        let over = applier.halted.is_some();
        drop(applier);
        metadata.moved.notify_all();
        if over {
            return;
        }
    }
}

pub(super) fn decode(snapshot: &Snapshot) -> Result<Image, MetadataError> {
    let index = snapshot.index;
    codec::decode_snapshot(&snapshot.bytes).map_err(|source| MetadataError::Entry { index, source })
}

pub(super) fn apply(
    image: &Image,
    entry: &Entry,
) -> Result<(Applied, Option<Ticket>), MetadataError> {
    let index = entry.index;
    let transaction = transaction::decode(&entry.bytes)
        .map_err(|source| MetadataError::Entry { index, source })?;
    let applied = transaction
        .apply(image)
        .map_err(|source| MetadataError::Misfit { index, source })?;
    Ok((applied, transaction.ticket))
}
