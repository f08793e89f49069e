//! What the replicator asks of one replica's log and watermarks.
//!
//! A seam and nothing more: the replica is somebody else's, behind its single writer. Calls marked
//! *blocks* wait for a disk and are made on threads that may.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_partition::{IsrRule, Lease, Tap};
use plimsoll_segment_log::{EpochEntry, LogReader};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Watermarks};

/// Why a replica did not do what it was told. It is as it was, or offline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A later term rules.
    #[error("leader epoch {leader_epoch} rules by now")]
    Superseded {
        /// The later term.
        leader_epoch: LeaderEpoch,
    },
    /// The cut would take what this replica knows to be committed.
    #[error("the cut lies below the high watermark {high_watermark}")]
    BelowHighWatermark {
        /// The replica's high watermark.
        high_watermark: Offset,
    },
    /// The disk, or what is on it.
    #[error("{0}")]
    Storage(Arc<str>),
}

/// Why a follower did not take a run of batches. Nothing of the offending batch is in its log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicateError {
    /// It does not continue the log.
    #[error("the log ends at {expected}")]
    Gap {
        /// The log end.
        expected: Offset,
    },
    /// A batch is not whole or failed its checksum.
    #[error("the batch for offset {at} is damaged")]
    Corrupt {
        /// Where it would have gone.
        at: Offset,
    },
    /// Its epochs go back.
    #[error("the leader epochs of the batches go back")]
    EpochRegression,
    /// The replica does not follow in this term.
    #[error("the replica does not follow in this term")]
    NotFollowing,
    /// No room.
    #[error("the disk is full")]
    DiskFull,
    /// The disk failed; the replica is offline.
    #[error("{0}")]
    Storage(Arc<str>),
}

/// One replica, as the replicator sees it.
pub trait Store: Send + Sync + 'static {
    /// Its offsets.
    fn watermarks(&self) -> &Watermarks;
    /// Its log, for reading.
    fn reader(&self) -> LogReader;
    /// By which end a replica counts.
    fn counts(&self) -> Counts;
    /// Why it is offline, if it is.
    fn offline(&self) -> Option<Arc<str>>;
    /// Leads in `leader_epoch`: the epoch entry is durable before anything is appended. Returns
    /// where the term begins. *Blocks.*
    ///
    /// # Errors
    /// See [`StoreError`].
    fn become_leader(
        &self,
        leader_epoch: LeaderEpoch,
        rule: &IsrRule,
    ) -> Result<Offset, StoreError>;
    /// Another rule in the same term; does nothing in another one.
    fn set_rule(&self, leader_epoch: LeaderEpoch, rule: &IsrRule);
    /// Follows in `leader_epoch`; cuts nothing. *Blocks.*
    ///
    /// # Errors
    /// See [`StoreError`].
    fn become_follower(
        &self,
        leader_epoch: LeaderEpoch,
        leader: Option<NodeId>,
    ) -> Result<(), StoreError>;
    /// Does neither; takes no appends. *Blocks.*
    fn become_idle(&self, leader_epoch: LeaderEpoch);
    /// Verifies and appends whole batches at the log end; returns the new one.
    ///
    /// # Errors
    /// See [`ReplicateError`].
    fn append_replicated(
        &self,
        leader_epoch: LeaderEpoch,
        from: Offset,
        records: &Bytes,
    ) -> Result<Offset, ReplicateError>;
    /// The leader's high watermark and log start, as of now.
    fn learned(&self, leader_epoch: LeaderEpoch, high_watermark: Offset, log_start: Offset);
    /// Cuts the log and takes over the leader's epochs, durably. At the log end it only takes over
    /// the epochs. *Blocks.*
    ///
    /// # Errors
    /// See [`StoreError`].
    fn truncate_to(
        &self,
        leader_epoch: LeaderEpoch,
        to: Offset,
        epochs: &[EpochEntry],
        allow_below_high_watermark: bool,
    ) -> Result<Offset, StoreError>;
    /// Keeps a copy of the log from `from` on beside it. *Blocks.*
    ///
    /// # Errors
    /// See [`StoreError`].
    fn quarantine(&self, from: Offset) -> Result<(), StoreError>;
    /// Begins the log anew at `start`; the old files are kept until [`Store::discard_aside`].
    /// *Blocks.*
    ///
    /// # Errors
    /// See [`StoreError`].
    fn reset(
        &self,
        leader_epoch: LeaderEpoch,
        start: Offset,
        log_start: Offset,
        epochs: &[EpochEntry],
    ) -> Result<(), StoreError>;
    /// Drops what a reset kept: the replica is in sync again. *Blocks.*
    fn discard_aside(&self);
    /// A digest of the batches from `from` to `to`, both borders of batches; `None` if they are not
    /// all there. *Blocks.*
    fn digest(&self, from: Offset, to: Offset) -> Option<u64>;
    /// Until when nobody else can lead, and by whom.
    fn set_lease(&self, leader_epoch: LeaderEpoch, lease: Lease);
    /// Rings `tap` after the log end, the durable end or the high watermark moved, until the guard
    /// is dropped.
    fn tap(&self, tap: &Arc<dyn Tap>) -> Box<dyn Any + Send + Sync>;
}
