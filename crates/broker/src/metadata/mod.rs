//! The cluster metadata as this node knows it, and the one way to change it.
//!
//! A change is a rule: a function from an image to records or a refusal. It is evaluated on the
//! newest image that is known here and its records are proposed as a [transaction] for just that
//! image; if another node's change came first the entry is void, and the rule is evaluated again.
//! So a rule may run several times, and its last run counts.
//!
//! Always: a record is durable before its image is published; images are published in order, each
//! after everything that follows from the one before was set going; nobody else's records come
//! between a rule's image and its own records.

mod codec;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_controller::{Changes, Image, Misfit, Record};
use plimsoll_partition::describe;
use plimsoll_quorum::{Committed, Entry, Limits, Quorum, Room, Snapshot, Stopped};
use plimsoll_types::NodeId;

pub use codec::CodecError;
use transaction::{Applied, Ticket};

/// Where the metadata log lives in a data directory.
pub(crate) const METADATA_DIR: &str = "metadata";
/// How often a rule is evaluated again because somebody else's change came first.
const MAX_TRIES: usize = 32;
/// How long a change waits for this node's other changes.
const TURN: Duration = Duration::from_secs(30);

/// What is done with each new image, before anybody's change is answered.
type Follow = Box<dyn Fn(&Arc<Image>, &Changes) + Send + Sync>;

/// The newest image, and the log behind it.
pub(crate) struct Metadata {
    node: NodeId,
    image: ArcSwap<Image>,
    quorum: Quorum,
    /// One change of this node at a time: they would only make each other void.
    turn: Mutex<()>,
    applier: Mutex<Applier>,
    next_ticket: AtomicU64,
    follow: OnceLock<Follow>,
    /// Whether it was logged that nothing can be changed any more.
    told_of_stop: AtomicBool,
}

/// Takes the committed entries in order. Whoever waits for an entry drives it.
struct Applier {
    committed: Committed,
    /// The last entry that was applied or void.
    index: u64,
    /// What became of this node's own transactions, until they are asked for.
    outcomes: HashMap<u64, Option<u64>>,
}

/// A change that happened.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    pub(crate) outcome: T,
    /// The version of the image with it.
    pub(crate) version: u64,
}

/// A change of the metadata that did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError<R> {
    /// A rule refuses it.
    #[error("{0}")]
    Refused(R),
    /// The metadata log could not be written. On a full disk the change did not happen; else it is
    /// open whether a later start finds it.
    #[error("the metadata log failed: {why}")]
    Storage {
        /// What failed.
        why: Arc<str>,
    },
    /// Others changed the metadata again and again before this change came through. It did not
    /// happen.
    #[error("too many others change the metadata at this moment; try again")]
    Conflict,
    /// Earlier changes take too long. It did not happen.
    #[error("earlier changes of the metadata take too long; try again")]
    Busy,
}

/// Why the metadata cannot be read at a start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The log did not open.
    #[error(transparent)]
    Quorum(#[from] plimsoll_quorum::OpenError),
    /// An entry cannot be read.
    #[error("entry {index} of the metadata log cannot be read")]
    Entry {
        /// Which entry, or the last one in a snapshot.
        index: u64,
        /// Why.
        source: CodecError,
    },
    /// A record does not fit those before it.
    #[error("entry {index} of the metadata log contradicts those before it")]
    Misfit {
        /// Which entry.
        index: u64,
        /// How.
        source: Misfit,
    },
}

impl Metadata {
    /// Reads the metadata log below `data_dir`, for `node`. Blocks on the disk.
    pub(crate) fn open(data_dir: &Path, node: NodeId) -> Result<Self, MetadataError> {
        let opened = plimsoll_quorum::open(&data_dir.join(METADATA_DIR), Limits::default())?;
        if opened.recovery.cut_bytes > 0 {
            let bytes = opened.recovery.cut_bytes;
            tracing::info!(event = "metadata_torn_tail_cut", bytes);
        }
        let (mut image, mut index) = match &opened.snapshot {
            None => (Image::default(), 0),
            Some(Snapshot { index, bytes }) => {
                let image =
                    codec::decode_snapshot(bytes).map_err(|source| MetadataError::Entry {
                        index: *index,
                        source,
                    })?;
                (image, *index)
            }
        };
        let mut next_ticket = 0;
        for entry in opened.entries {
            index = entry.index;
            let (applied, ticket) = apply(&image, &entry)?;
            if let Applied::Moved(after) = applied {
                image = *after;
            }
            if let Some(ticket) = ticket.filter(|ticket| ticket.proposer == node) {
                next_ticket = next_ticket.max(ticket.number + 1);
            }
        }
        Ok(Self {
            node,
            // Above every version there was, so a ticket names one transaction for ever, snapshot
            // or not: a transaction that counts moves the version.
            next_ticket: AtomicU64::new(next_ticket.max(image.version())),
            image: ArcSwap::from_pointee(image),
            quorum: opened.quorum,
            turn: Mutex::new(()),
            applier: Mutex::new(Applier {
                committed: opened.committed,
                index,
                outcomes: HashMap::new(),
            }),
            follow: OnceLock::new(),
            told_of_stop: AtomicBool::new(false),
        })
    }

    /// From here on `follow` is called with each new image, in order, and with what is new in it,
    /// before the change is answered. It must not change the metadata itself.
    pub(crate) fn follow_with(
        &self,
        follow: impl Fn(&Arc<Image>, &Changes) + Send + Sync + 'static,
    ) {
        let first = self.follow.set(Box::new(follow)).is_ok();
        debug_assert!(first, "one follower");
    }

    /// Why nothing can be changed any more, if so. Waits for no change.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.quorum.stopped()
    }

    /// The newest image.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Makes the records of `rule` durable and publishes the next image; what follows from it has
    /// been set going when this returns. Blocks on the disk.
    pub(crate) fn change<T, R>(
        &self,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R>,
    ) -> Result<Changed<T>, ChangeError<R>> {
        let Some(_turn) = self.turn.try_lock_for(TURN) else {
            return Err(ChangeError::Busy);
        };
        for _ in 0..MAX_TRIES {
            let before = self.image.load_full();
            let (records, outcome) = rule(&before).map_err(ChangeError::Refused)?;
            if records.is_empty() {
                let version = before.version();
                return Ok(Changed { outcome, version });
            }
            // Applied to a copy first: a rule's mistake must not reach the log.
            let mut after = Image::clone(&before);
            for record in &records {
                after.apply(record).map_err(|error| storage(&error))?;
            }
            if let Some(version) = self
                .commit(before.version(), &records)
                .map_err(storage_of)?
            {
                return Ok(Changed { outcome, version });
            }
        }
        Err(ChangeError::Conflict)
    }

    /// Proposes a transaction and applies the log up to it. The version it made, if it was not
    /// void.
    fn commit(
        &self,
        expected: u64,
        records: &[Record],
    ) -> Result<Option<u64>, Box<dyn std::error::Error>> {
        let number = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            proposer: self.node,
            number,
        };
        let entry = transaction::encode(expected, ticket, records);
        let index = self.propose(room_for(records), entry)?;
        let mut applier = self.applier.lock();
        self.apply_to(&mut applier, index)?;
        let outcome = applier.outcomes.remove(&number);
        debug_assert!(outcome.is_some(), "an own entry has a ticket");
        Ok(outcome.flatten())
    }

    fn propose(&self, room: Room, entry: Bytes) -> Result<u64, Box<dyn std::error::Error>> {
        let proposal = self.quorum.propose_within(room, entry);
        let index = proposal
            .map_err(Box::<dyn std::error::Error>::from)
            .and_then(|proposal| Ok(proposal.wait()?));
        index.inspect_err(|_| self.tell_of_stop())
    }

    /// Applies what is committed, up to the entry `index` at least.
    fn apply_to(
        &self,
        applier: &mut Applier,
        index: u64,
    ) -> Result<(), Box<dyn std::error::Error>> {
        while applier.index < index {
            let entry = applier.committed.next()?;
            self.take(applier, &entry)?;
        }
        Ok(())
    }

    fn take(&self, applier: &mut Applier, entry: &Entry) -> Result<(), MetadataError> {
        let before = self.image.load_full();
        let (applied, ticket) = apply(&before, entry)?;
        applier.index = entry.index;
        let mut version = None;
        if let Applied::Moved(after) = applied {
            let after: Arc<Image> = Arc::from(after);
            let changes = after.changes_since(&before);
            version = Some(after.version());
            self.image.store(Arc::clone(&after));
            if let Some(follow) = self.follow.get() {
                follow(&after, &changes);
            }
            self.snapshot_if_worth_it(&after, entry.index);
        }
        if let Some(ticket) = ticket.filter(|ticket| ticket.proposer == self.node) {
            applier.outcomes.insert(ticket.number, version);
        }
        Ok(())
    }

    fn tell_of_stop(&self) {
        if let Some(Stopped { reason }) = self.stopped()
            && !self.told_of_stop.swap(true, Ordering::Relaxed)
        {
            tracing::error!(event = "metadata_log_stopped", error = %reason);
        }
    }

    /// A failed snapshot costs only space: the log before it still stands.
    fn snapshot_if_worth_it(&self, image: &Image, index: u64) {
        if !self.quorum.wants_snapshot() {
            return;
        }
        let snapshot = Snapshot {
            index,
            bytes: codec::encode_snapshot(image),
        };
        if let Err(error) = self.quorum.install_snapshot(&snapshot) {
            tracing::warn!(event = "metadata_snapshot_failed", error = %describe(&error));
        }
    }
}

fn apply(image: &Image, entry: &Entry) -> Result<(Applied, Option<Ticket>), MetadataError> {
    let index = entry.index;
    let transaction = transaction::decode(&entry.bytes)
        .map_err(|source| MetadataError::Entry { index, source })?;
    let applied = transaction
        .apply(image)
        .map_err(|source| MetadataError::Misfit { index, source })?;
    Ok((applied, transaction.ticket))
}

fn storage<R>(error: &dyn std::error::Error) -> ChangeError<R> {
    let why = describe(error).into();
    ChangeError::Storage { why }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn storage_of<R>(error: Box<dyn std::error::Error>) -> ChangeError<R> {
    storage(&*error)
}

/// Deletions and configs make room on a full disk, a start needs its registration, and a cluster
/// its elections; whatever makes something new waits for room.
fn room_for(records: &[Record]) -> Room {
    let makes_something = |record: &Record| {
        matches!(
            record,
            Record::TopicCreated { .. }
                | Record::PartitionsAdded { .. }
                | Record::ProducerIdsReserved { .. }
        )
    };
    if records.iter().any(makes_something) {
        Room::Free
    } else {
        Room::Reserved
    }
}
