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

mod applier;
mod codec;
mod log;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use plimsoll_controller::{Changes, Image, Misfit, Record};
use plimsoll_partition::describe;
use plimsoll_quorum::{Limits, Room, Snapshot, Stopped, raft};
use plimsoll_types::NodeId;

use crate::clock::Clock;
use applier::{Applier, Tickets};
pub use codec::CodecError;
use log::{Fault, Log};
use transaction::{Applied, Ticket};

/// Where the metadata log lives in a data directory.
pub(crate) const METADATA_DIR: &str = "metadata";
/// How often a rule is evaluated again because somebody else's change came first.
const MAX_TRIES: usize = 32;
/// How long a change waits for this node's other changes.
const TURN: Duration = Duration::from_secs(30);
/// Between two attempts to reach the quorum's leader, unless something is applied meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a change tries to reach it.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is done with each new image, before anybody's change is answered.
type Follow = Box<dyn Fn(&Arc<Image>, &Changes) + Send + Sync>;

/// The newest image, and the log behind it.
pub(crate) struct Metadata {
    node: NodeId,
    clock: Arc<dyn Clock>,
    image: ArcSwap<Image>,
    log: Log,
    /// One change of this node at a time: they would only make each other void.
    turn: Mutex<()>,
    applier: Mutex<Applier>,
    /// Rung when something was applied.
    moved: Condvar,
    next_ticket: AtomicU64,
    follow: OnceLock<Follow>,
    /// Whether it was logged that nothing can be changed any more.
    told_of_stop: AtomicBool,
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
    /// The quorum has no leader, or this node does not reach it. It did not happen, unless it was
    /// already on its way there when it was given up.
    #[error("the metadata cannot be changed just now: no controller answers")]
    NoController,
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
    /// The machine gives no thread.
    #[error("no thread for following the metadata")]
    Thread(#[source] std::io::Error),
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
    /// Reads the metadata log below `data_dir`, for `node`, which is alone. Blocks on the disk.
    pub(crate) fn open(
        data_dir: &Path,
        node: NodeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, MetadataError> {
        let opened = plimsoll_quorum::open(&data_dir.join(METADATA_DIR), Limits::default())?;
        if opened.recovery.cut_bytes > 0 {
            let bytes = opened.recovery.cut_bytes;
            tracing::info!(event = "metadata_torn_tail_cut", bytes);
        }
        let (mut image, mut index) = match &opened.snapshot {
            None => (Image::default(), 0),
            Some(snapshot) => (applier::decode(snapshot)?, snapshot.index),
        };
        for entry in opened.entries {
            index = entry.index;
            if let (Applied::Moved(after), _) = applier::apply(&image, &entry)? {
                image = *after;
            }
        }
        let applier = Applier {
            committed: Some(opened.committed),
            index,
            ..Applier::default()
        };
        Ok(Arc::new(Self::new(
            node,
            clock,
            image,
            Log::Lone(opened.quorum),
            applier,
        )))
    }

    /// Follows the log of the quorum that `opened` is part of, for `node`. What was committed
    /// before comes by and by; see [`Metadata::catch_up`].
    pub(crate) fn join(
        opened: raft::Opened,
        node: NodeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, MetadataError> {
        if opened.recovery.cut_bytes > 0 {
            let bytes = opened.recovery.cut_bytes;
            tracing::info!(event = "metadata_torn_tail_cut", bytes);
        }
        let (image, index) = match &opened.snapshot {
            None => (Image::default(), 0),
            Some(snapshot) => (applier::decode(snapshot)?, snapshot.index),
        };
        let applier = Applier {
            index,
            ..Applier::default()
        };
        let log = Log::Cluster(opened.quorum);
        let metadata = Arc::new(Self::new(node, clock, image, log, applier));
        let (follower, committed) = (Arc::downgrade(&metadata), opened.committed);
        std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || applier::run(&follower, &committed))
            .map_err(MetadataError::Thread)?;
        Ok(metadata)
    }

    fn new(node: NodeId, clock: Arc<dyn Clock>, image: Image, log: Log, applier: Applier) -> Self {
        // Drawn, so that no transaction of an earlier process of this node has the same.
        let (first, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            node,
            clock,
            image: ArcSwap::from_pointee(image),
            log,
            turn: Mutex::new(()),
            applier: Mutex::new(applier),
            moved: Condvar::new(),
            next_ticket: AtomicU64::new(first),
            follow: OnceLock::new(),
            told_of_stop: AtomicBool::new(false),
        }
    }

    /// From here on `follow` is called with each new image, in order, and with what is new in it,
    /// before the change is answered. It must not change the metadata itself.
    pub(crate) fn follow_with(
        &self,
        follow: impl Fn(&Arc<Image>, &Changes) + Send + Sync + 'static,
    ) {
        // In the turn of the applier: no image falls between.
        let _applier = self.applier.lock();
        let first = self.follow.set(Box::new(follow)).is_ok();
        debug_assert!(first, "one follower");
    }

    /// Why nothing can be changed any more, if so. Waits for no change.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        let halted = || {
            let applier = self.applier.try_lock()?;
            let reason = applier.halted.clone()?;
            Some(Stopped { reason })
        };
        self.log.stopped().or_else(halted)
    }

    /// The newest image.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// The term in which this node leads the quorum, if it does.
    pub(crate) fn leading_term(&self) -> Option<u64> {
        self.log.leading_term()
    }

    /// Who leads the quorum, as far as is known here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.log.leader(self.node)
    }

    /// The quorum, in a cluster.
    pub(crate) fn quorum(&self) -> Option<&raft::Quorum> {
        match &self.log {
            Log::Lone(_) => None,
            Log::Cluster(quorum) => Some(quorum),
        }
    }

    /// Returns once the image holds all that was committed before the call. Blocks.
    fn catch_up(&self) -> Result<(), Fault> {
        match self.log.barrier()? {
            Some(index) => self.reach(index),
            None => Ok(()),
        }
    }

    /// Makes the records of `rule` durable and publishes the next image; what follows from it has
    /// been set going when this returns. Blocks.
    pub(crate) fn change<T, R>(
        &self,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R>,
    ) -> Result<Changed<T>, ChangeError<R>> {
        let Some(_turn) = self.turn.try_lock_for(TURN) else {
            return Err(ChangeError::Busy);
        };
        let mut tickets = Tickets::new(&self.applier);
        let mut tried = Vec::new();
        let given_up = self.clock.now() + PATIENCE;
        // Who leads the quorum has nobody's change to learn of, but by its own conflict.
        let mut fresh = self.leading_term().is_some();
        while tried.len() < MAX_TRIES {
            if !fresh {
                match self.catch_up() {
                    Ok(()) => fresh = true,
                    Err(Fault::Failed(error)) => return Err(self.failed(&*error)),
                    Err(Fault::NotNow | Fault::Unknown) if self.clock.now() < given_up => {
                        self.pause();
                        continue;
                    }
                    Err(Fault::NotNow | Fault::Unknown) => return Err(ChangeError::NoController),
                }
            }
            if let Some(changed) = changed(&tickets, &mut tried) {
                return Ok(changed);
            }
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
            let ticket = Ticket {
                proposer: self.node,
                number: self.next_ticket.fetch_add(1, Ordering::Relaxed),
            };
            tickets.expect(ticket.number);
            tried.push(Some(outcome));
            let entry = transaction::encode(before.version(), ticket, &records);
            match self.propose(room_for(&records), entry) {
                Ok(()) => {
                    if let Some(changed) = changed(&tickets, &mut tried) {
                        return Ok(changed);
                    }
                }
                Err(Fault::Failed(error)) => return Err(self.failed(&*error)),
                Err(Fault::NotNow | Fault::Unknown) => {
                    fresh = false;
                    self.pause();
                }
            }
        }
        Err(ChangeError::Conflict)
    }

    /// Commits an entry and applies the log up to it.
    fn propose(&self, room: Room, entry: Bytes) -> Result<(), Fault> {
        let index = self.log.propose(room, entry)?;
        self.reach(index)
    }

    /// Waits a little, or until something is applied.
    fn pause(&self) {
        let mut applier = self.applier.lock();
        self.moved.wait_for(&mut applier, PAUSE);
    }

    fn failed<R>(&self, error: &dyn std::error::Error) -> ChangeError<R> {
        if let Some(Stopped { reason }) = self.stopped()
            && !self.told_of_stop.swap(true, Ordering::Relaxed)
        {
            tracing::error!(event = "metadata_log_stopped", error = %reason);
        }
        storage(error)
    }

    /// A failed snapshot costs only space: the log before it still stands.
    fn snapshot_if_worth_it(&self, image: &Image, index: u64) {
        if !self.log.wants_snapshot() {
            return;
        }
        let snapshot = Snapshot {
            index,
            bytes: codec::encode_snapshot(image),
        };
        if let Err(error) = self.log.install_snapshot(&snapshot) {
            tracing::warn!(event = "metadata_snapshot_failed", error = %describe(&error));
        }
    }

    /// Takes no more part in the quorum. Blocks until its files are closed.
    pub(crate) fn close(&self) {
        if let Log::Cluster(quorum) = &self.log {
            quorum.shutdown();
        }
    }
}

/// What a change that came through has come to.
fn changed<T>(tickets: &Tickets<'_>, tried: &mut [Option<T>]) -> Option<Changed<T>> {
    let (at, version) = tickets.moved()?;
    let outcome = tried.get_mut(at)?.take()?;
    Some(Changed { outcome, version })
}

fn storage<R>(error: &dyn std::error::Error) -> ChangeError<R> {
    let why = describe(error).into();
    ChangeError::Storage { why }
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
