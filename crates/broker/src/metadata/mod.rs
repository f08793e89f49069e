//! The cluster metadata as this node knows it, and the one way to change it.
//!
//! Always: a record is durable before its image is published; images are published in order; a
//! rule sees the newest image and nobody else's records come between the rule and its own.

mod codec;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_controller::{Changes, Image, Misfit, Record};
use plimsoll_partition::describe;
use plimsoll_quorum::{Committed, Entry, Limits, Quorum, Snapshot};

pub use codec::CodecError;

/// Where the metadata log lives in a data directory.
pub(crate) const METADATA_DIR: &str = "metadata";

/// The newest image, and the log behind it.
pub(crate) struct Metadata {
    image: ArcSwap<Image>,
    /// Held from the reading of the image to its successor's publication and what follows from it.
    log: Mutex<Log>,
}

struct Log {
    quorum: Quorum,
    committed: Committed,
}

/// A change of the metadata that did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError<R> {
    /// A rule refuses it.
    #[error("{0}")]
    Refused(R),
    /// The metadata log could not be written. Whether a later start finds the change is open.
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
        let log = Log {
            quorum: opened.quorum,
            committed: opened.committed,
        };
        Ok(Self {
            image: ArcSwap::from_pointee(image),
            log: Mutex::new(log),
        })
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
        let log = self.log.lock();
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
        log.commit(codec::encode(&records))
            .map_err(|error| storage(&*error))?;
        let changes = after.changes_since(&before);
        let after = Arc::new(after);
        self.image.store(Arc::clone(&after));
        follow(&after, &changes);
        log.snapshot_if_worth_it(&after);
        Ok(outcome)
    }
}

impl Metadata {
    /// Does `work` with the newest image while nobody changes it.
    pub(crate) fn hold<R>(&self, work: impl FnOnce(&Image) -> R) -> R {
        let _log = self.log.lock();
        work(&self.image.load())
    }
}

impl Log {
    fn commit(&self, entry: bytes::Bytes) -> Result<(), Box<dyn std::error::Error>> {
        let index = self.quorum.propose(entry)?.wait()?;
        // With one voter what comes off the stream is what was just proposed.
        let committed = self.committed.next()?;
        assert_eq!(
            committed.index, index,
            "nobody else proposes to a quorum of one"
        );
        Ok(())
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
