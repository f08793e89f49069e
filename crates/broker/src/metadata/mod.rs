//! The cluster metadata as this node knows it, and the one way to change it.
//!
//! Always: a record is durable before its image is published; images are published in order; a
//! rule sees the newest image and nobody else's records come between the rule and its own.

mod codec;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_controller::{Changes, Image, Misfit, Record};
use plimsoll_partition::describe;
use plimsoll_quorum::{Committed, Entry, Limits, Quorum, Room, Snapshot, Stopped};

pub use codec::CodecError;

/// Where the metadata log lives in a data directory.
pub(crate) const METADATA_DIR: &str = "metadata";

/// The newest image, and the log behind it.
pub(crate) struct Metadata {
    image: ArcSwap<Image>,
    quorum: Quorum,
    /// Held from the reading of the image to its successor's publication and what follows from it.
    committed: Mutex<Committed>,
    /// Whether it was logged that nothing can be changed any more.
    told_of_stop: AtomicBool,
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
    /// Reads the metadata log below `data_dir`. Blocks on the disk.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, MetadataError> {
        let opened = plimsoll_quorum::open(&data_dir.join(METADATA_DIR), Limits::default())?;
        if opened.recovery.cut_bytes > 0 {
            let bytes = opened.recovery.cut_bytes;
            tracing::info!(event = "metadata_torn_tail_cut", bytes);
        }
        let mut image = match &opened.snapshot {
            None => Image::default(),
            Some(Snapshot { index, bytes }) => {
                codec::decode_snapshot(bytes).map_err(|source| MetadataError::Entry {
                    index: *index,
                    source,
                })?
            }
        };
        for Entry { index, bytes } in opened.entries {
            let records =
                codec::decode(&bytes).map_err(|source| MetadataError::Entry { index, source })?;
            for record in &records {
                image
                    .apply(record)
                    .map_err(|source| MetadataError::Misfit { index, source })?;
            }
        }
        Ok(Self {
            image: ArcSwap::from_pointee(image),
            quorum: opened.quorum,
            committed: Mutex::new(opened.committed),
            told_of_stop: AtomicBool::new(false),
        })
    }

    /// Why nothing can be changed any more, if so. Waits for no change.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.quorum.stopped()
    }

    /// The newest image.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Makes the records of `rule` durable, publishes the next image and calls `follow` with it
    /// before anybody else's change. Blocks on the disk.
    pub(crate) fn change<T, R>(
        &self,
        rule: impl FnOnce(&Image) -> Result<(Vec<Record>, T), R>,
        follow: impl FnOnce(&Image, &Changes),
    ) -> Result<T, ChangeError<R>> {
        let committed = self.committed.lock();
        let before = self.image.load_full();
        let (records, outcome) = rule(&before).map_err(ChangeError::Refused)?;
        if records.is_empty() {
            return Ok(outcome);
        }
        let storage = |error: &dyn std::error::Error| ChangeError::Storage {
            why: describe(error).into(),
        };
        // Applied to a copy first: a rule's mistake must not reach the log.
        let mut after = Image::clone(&before);
        for record in &records {
            after.apply(record).map_err(|error| storage(&error))?;
        }
        self.commit(&committed, &records)
            .map_err(|error| storage(&*error))?;
        let changes = after.changes_since(&before);
        let after = Arc::new(after);
        self.image.store(Arc::clone(&after));
        follow(&after, &changes);
        self.snapshot_if_worth_it(&after);
        Ok(outcome)
    }
}

impl Metadata {
    /// Does `work` with the newest image while nobody changes it.
    pub(crate) fn hold<R>(&self, work: impl FnOnce(&Image) -> R) -> R {
        let _unchanged = self.committed.lock();
        work(&self.image.load())
    }

    fn commit(
        &self,
        committed: &Committed,
        records: &[Record],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let entry = codec::encode(records);
        let proposal = self.quorum.propose_within(room_for(records), entry);
        let index = proposal
            .map_err(Box::<dyn std::error::Error>::from)
            .and_then(|proposal| Ok(proposal.wait()?))
            .inspect_err(|_| self.tell_of_stop())?;
        // With one voter what comes off the stream is what was just proposed.
        let committed = committed.next()?;
        assert_eq!(
            committed.index, index,
            "nobody else proposes to a quorum of one"
        );
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
    fn snapshot_if_worth_it(&self, image: &Image) {
        if !self.quorum.wants_snapshot() {
            return;
        }
        let index = self.quorum.committed_index();
        let snapshot = Snapshot {
            index,
            bytes: codec::encode_snapshot(image),
        };
        if let Err(error) = self.quorum.install_snapshot(&snapshot) {
            tracing::warn!(event = "metadata_snapshot_failed", error = %describe(&error));
        }
    }
}

/// Deletions and configs make room on a full disk, and a start needs its registration; whatever
/// makes something new waits for room.
fn room_for(records: &[Record]) -> Room {
    let may_use_reserve = records.iter().all(|record| match record {
        Record::TopicDeleted { .. }
        | Record::ConfigSet { .. }
        | Record::ConfigUnset { .. }
        | Record::LeaderChanged { .. }
        | Record::NodeRegistered { .. } => true,
        Record::TopicCreated { .. }
        | Record::PartitionsAdded { .. }
        | Record::ProducerIdsReserved { .. } => false,
    });
    if may_use_reserve {
        Room::Reserved
    } else {
        Room::Free
    }
}
