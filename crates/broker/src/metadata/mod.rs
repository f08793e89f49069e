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
mod lone;
#[cfg(test)]
mod tests;
mod transaction;
mod turn;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_controller::{Changes, Image, Record};
use plimsoll_partition::describe;
use plimsoll_quorum::raft::Role;
use plimsoll_quorum::{Room, Snapshot, Stopped};
use plimsoll_types::NodeId;

use crate::clock::{Clock, Workers};
use crate::deadline::Deadline;
use applier::{Applier, Tickets};
pub use codec::CodecError;
use log::Fault;
pub use log::MetadataLog;
pub(crate) use lone::{block_on, open as open_lone};
use transaction::Ticket;
use turn::Turn;

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
    workers: Arc<dyn Workers>,
    image: ArcSwap<Image>,
    log: Arc<dyn MetadataLog>,
    /// One change of this node at a time: they would only make each other void.
    turn: Turn,
    applier: Mutex<Applier>,
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
    /// An entry cannot be read.
    #[error("entry {index} of the metadata log cannot be read")]
    Entry {
        /// Which entry, or the last one in a snapshot.
        index: u64,
        /// Why.
        source: CodecError,
    },
}

impl Metadata {
    /// Follows `log` for `node`, from its newest snapshot on; what was committed behind that comes
    /// while [`Metadata::run`] runs.
    pub(crate) fn new(
        log: Arc<dyn MetadataLog>,
        snapshot: Option<&Snapshot>,
        node: NodeId,
        clock: Arc<dyn Clock>,
        workers: Arc<dyn Workers>,
    ) -> Result<Arc<Self>, MetadataError> {
        let ((image, last), index) = match snapshot {
            None => Default::default(),
            Some(snapshot) => (applier::decode(snapshot)?, snapshot.index),
        };
        // Drawn, so that no transaction of an earlier process of this node has the same.
        let (first, _) = uuid::Uuid::from_bytes(clock.fresh_id()).as_u64_pair();
        Ok(Arc::new(Self {
            node,
            clock,
            workers,
            image: ArcSwap::from_pointee(image),
            log,
            turn: Turn::default(),
            applier: Mutex::new(Applier::starting_at(index, last)),
            next_ticket: AtomicU64::new(first),
            follow: OnceLock::new(),
            told_of_stop: AtomicBool::new(false),
        }))
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

    /// The term in which this node leads the quorum, if it does and most voters answer it.
    pub(crate) fn leading_term(&self) -> Option<u64> {
        let status = self.log.status();
        let leads = status.role == Role::Leader && status.leader == Some(self.node);
        leads.then_some(status.term)
    }

    /// Who leads the quorum, as far as is known here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.log.status().leader
    }

    /// This node's part of the quorum.
    pub(crate) fn log(&self) -> &Arc<dyn MetadataLog> {
        &self.log
    }

    /// Returns once the image holds all that was committed before the call.
    async fn catch_up(&self) -> Result<(), Fault> {
        let index = self.log.read_barrier().await?;
        self.reach(index).await
    }

    /// Makes the records of `rule` durable and publishes the next image; what follows from it has
    /// been set going when this returns.
    pub(crate) async fn change<T, R>(
        &self,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R> + Send,
    ) -> Result<Changed<T>, ChangeError<R>>
    where
        T: Send,
        R: Send,
    {
        let mut patience = Deadline::at(&self.clock, self.clock.now() + TURN);
        let Some(_turn) = patience.bound(self.turn.take()).await else {
            return Err(ChangeError::Busy);
        };
        let mut tickets = Tickets::new(&self.applier);
        let mut tried = Vec::new();
        let given_up = self.clock.now() + PATIENCE;
        // Who leads the quorum has nobody's change to learn of, but by its own conflict.
        let mut fresh = self.leading_term().is_some();
        while tried.len() < MAX_TRIES {
            if !fresh {
                match self.catch_up().await {
                    Ok(()) => fresh = true,
                    Err(Fault::Failed(error)) => return Err(self.failed(&*error)),
                    Err(Fault::NotNow | Fault::Unknown) if self.clock.now() < given_up => {
                        self.pause(PAUSE).await;
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
            drop(after);
            let ticket = Ticket {
                proposer: self.node,
                number: self.next_ticket.fetch_add(1, Ordering::Relaxed),
            };
            tickets.expect(ticket.number);
            tried.push(Some(outcome));
            let entry = transaction::encode(before.version(), ticket, &records);
            match self.propose(room_for(&records), entry).await {
                Ok(()) => {
                    if let Some(changed) = changed(&tickets, &mut tried) {
                        return Ok(changed);
                    }
                }
                Err(Fault::Failed(error)) => return Err(self.failed(&*error)),
                Err(Fault::NotNow | Fault::Unknown) => {
                    fresh = false;
                    self.pause(PAUSE).await;
                }
            }
        }
        Err(ChangeError::Conflict)
    }

    /// Commits an entry and applies the log up to it.
    async fn propose(&self, room: Room, entry: Bytes) -> Result<(), Fault> {
        let index = self.log.propose(entry, room).await?;
        self.reach(index).await
    }

    fn failed<R>(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> ChangeError<R> {
        if let Some(Stopped { reason }) = self.stopped()
            && !self.told_of_stop.swap(true, Ordering::Relaxed)
        {
            tracing::error!(event = "metadata_log_stopped", error = %reason);
        }
        storage(error)
    }

    /// Takes no more part in the quorum. Blocks until its files are closed.
    pub(crate) fn close(&self) {
        self.log.shutdown();
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
