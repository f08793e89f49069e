//! A replica whose bell is broken, or whose disk is full.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_partition::{IsrRule, Lease, Partition, Tap};
use plimsoll_replicator::{ReplicateError, Store, StoreError};
use plimsoll_segment_log::{EpochEntry, LogReader};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Watermarks};

/// What a test does at one call of a store.
pub(crate) type RuleHook = Box<dyn FnMut(&IsrRule) + Send>;

/// What a test has one replica's store do.
#[derive(Clone, Default)]
pub(crate) struct Tricks {
    /// Before a rule comes into force.
    pub(crate) before_rule: Arc<Mutex<Option<RuleHook>>>,
    /// The log as it was when the next caller looked.
    pub(crate) earlier: Arc<Mutex<Option<LogReader>>>,
}

pub(crate) struct Ailing {
    pub(crate) partition: Arc<Partition>,
    pub(crate) deaf: bool,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) tricks: Tricks,
}

impl Ailing {
    fn inner(&self) -> &dyn Store {
        &*self.partition
    }
}

impl Store for Ailing {
    fn tap(&self, tap: &Arc<dyn Tap>) -> Box<dyn Any + Send + Sync> {
        match self.deaf {
            true => Box::new(()),
            false => self.inner().tap(tap),
        }
    }
    fn watermarks(&self) -> &Watermarks {
        self.inner().watermarks()
    }
    fn reader(&self) -> LogReader {
        let earlier = self.tricks.earlier.lock().take();
        earlier.unwrap_or_else(|| self.inner().reader())
    }
    fn counts(&self) -> Counts {
        self.inner().counts()
    }
    fn offline(&self) -> Option<Arc<str>> {
        self.inner().offline()
    }
    fn become_leader(&self, epoch: LeaderEpoch, rule: &IsrRule) -> Result<Offset, StoreError> {
        self.inner().become_leader(epoch, rule)
    }
    fn set_rule(&self, epoch: LeaderEpoch, rule: &IsrRule) {
        if let Some(before) = &mut *self.tricks.before_rule.lock() {
            before(rule);
        }
        self.inner().set_rule(epoch, rule);
    }
    fn become_follower(
        &self,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
    ) -> Result<(), StoreError> {
        self.inner().become_follower(epoch, leader)
    }
    fn become_idle(&self, epoch: LeaderEpoch) {
        self.inner().become_idle(epoch);
    }
    fn append_replicated(
        &self,
        epoch: LeaderEpoch,
        from: Offset,
        records: &Bytes,
    ) -> Result<Offset, ReplicateError> {
        match self.full.load(Relaxed) {
            true => Err(ReplicateError::DiskFull),
            false => self.inner().append_replicated(epoch, from, records),
        }
    }
    fn learned(&self, epoch: LeaderEpoch, high_watermark: Offset, log_start: Offset) {
        self.inner().learned(epoch, high_watermark, log_start);
    }
    fn truncate_to(
        &self,
        epoch: LeaderEpoch,
        to: Offset,
        epochs: &[EpochEntry],
        allow: bool,
    ) -> Result<Offset, StoreError> {
        self.inner().truncate_to(epoch, to, epochs, allow)
    }
    fn quarantine(&self, from: Offset) -> Result<(), StoreError> {
        self.inner().quarantine(from)
    }
    fn reset(
        &self,
        epoch: LeaderEpoch,
        start: Offset,
        log_start: Offset,
        epochs: &[EpochEntry],
    ) -> Result<(), StoreError> {
        self.inner().reset(epoch, start, log_start, epochs)
    }
    fn discard_aside(&self) {
        self.inner().discard_aside();
    }
    fn digest(&self, from: Offset, to: Offset) -> Option<u64> {
        self.inner().digest(from, to)
    }
    fn set_lease(&self, epoch: LeaderEpoch, lease: Lease) {
        self.inner().set_lease(epoch, lease);
    }
}
