//! A [`Partition`] as the replicator's store.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_partition::{
    self as partition, Durability, IsrRule, LeaderTerm, Lease, Partition, RepairError, Role,
    RoleError, Tap, describe,
};
use plimsoll_segment_log::{EpochEntry, LogReader};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Watermarks};

use crate::store::{ReplicateError, Store, StoreError};

impl Store for Partition {
    fn watermarks(&self) -> &Watermarks {
        Partition::watermarks(self)
    }

    fn reader(&self) -> LogReader {
        Partition::reader(self)
    }

    fn counts(&self) -> Counts {
        match self.config().durability {
            Durability::Fsync => Counts::Durable,
            Durability::Os => Counts::Written,
        }
    }

    fn offline(&self) -> Option<Arc<str>> {
        Partition::offline(self)
    }

    fn become_leader(
        &self,
        leader_epoch: LeaderEpoch,
        rule: &IsrRule,
    ) -> Result<Offset, StoreError> {
        let rule = rule.clone();
        let term = LeaderTerm { leader_epoch, rule };
        Partition::become_leader(self, term).map_err(role_error)
    }

    fn set_rule(&self, leader_epoch: LeaderEpoch, rule: &IsrRule) {
        if self.leads_in(leader_epoch) {
            // A term that ended meanwhile has no rule.
            let _ = Partition::set_rule(self, rule.clone());
        }
    }

    fn become_follower(
        &self,
        leader_epoch: LeaderEpoch,
        leader: Option<NodeId>,
    ) -> Result<(), StoreError> {
        Partition::become_follower(self, leader_epoch, leader).map_err(role_error)
    }

    fn become_idle(&self, leader_epoch: LeaderEpoch) {
        // Refused when it is offline or closed: idle enough.
        let _ = Partition::become_idle(self, leader_epoch);
    }

    fn append_replicated(
        &self,
        leader_epoch: LeaderEpoch,
        from: Offset,
        records: &Bytes,
    ) -> Result<Offset, ReplicateError> {
        use partition::ReplicateError as Theirs;
        let appended = Partition::append_replicated(self, leader_epoch, from, records);
        appended.map_err(|error| match error {
            Theirs::NotFollower { .. } => ReplicateError::NotFollowing,
            Theirs::Gap { expected, .. } => ReplicateError::Gap { expected },
            Theirs::Corrupt { at, .. } => ReplicateError::Corrupt { at },
            Theirs::Epoch { .. } => ReplicateError::EpochRegression,
            Theirs::NoSpace { .. } | Theirs::Exhausted { .. } => ReplicateError::DiskFull,
            error => ReplicateError::Storage(describe(&error).into()),
        })
    }

    fn learned(&self, leader_epoch: LeaderEpoch, high_watermark: Offset, log_start: Offset) {
        Partition::learned(self, leader_epoch, high_watermark, log_start);
    }

    fn truncate_to(
        &self,
        leader_epoch: LeaderEpoch,
        to: Offset,
        epochs: &[EpochEntry],
        allow_below_high_watermark: bool,
    ) -> Result<Offset, StoreError> {
        let epochs = pairs(epochs);
        if to >= self.watermarks().log_end() {
            Partition::adopt_epochs(self, leader_epoch, &epochs).map_err(|e| repair_error(&e))?;
            return Ok(self.watermarks().log_end());
        }
        let allow = allow_below_high_watermark;
        Partition::truncate_to(self, leader_epoch, to, &epochs, allow).map_err(|e| repair_error(&e))
    }

    fn quarantine(&self, from: Offset) -> Result<(), StoreError> {
        let kept = Partition::quarantine(self, from);
        kept.map(drop).map_err(|error| repair_error(&error))
    }

    fn reset(
        &self,
        leader_epoch: LeaderEpoch,
        start: Offset,
        log_start: Offset,
        epochs: &[EpochEntry],
    ) -> Result<(), StoreError> {
        Partition::reset(self, leader_epoch, start, log_start, &pairs(epochs))
            .map_err(|error| repair_error(&error))
    }

    fn discard_aside(&self) {
        // What could not be removed is found again at the next start.
        let _ = Partition::discard_aside(self);
    }

    fn digest(&self, from: Offset, to: Offset) -> Option<u64> {
        let digest = Partition::digest(self, from, to).ok().flatten();
        digest.map(|digest| digest.digest)
    }

    fn set_lease(&self, leader_epoch: LeaderEpoch, lease: Lease) {
        if self.leads_in(leader_epoch) {
            Partition::set_lease(self, lease);
        }
    }

    fn tap(&self, tap: &Arc<dyn Tap>) -> Box<dyn Any + Send + Sync> {
        Box::new(Partition::tap(self, tap))
    }
}

trait Leads {
    fn leads_in(&self, epoch: LeaderEpoch) -> bool;
}

impl Leads for Partition {
    fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        match *self.role() {
            Role::Leader { leader_epoch, .. } => leader_epoch == epoch,
            Role::Idle | Role::Follower { .. } => false,
        }
    }
}

fn pairs(entries: &[EpochEntry]) -> Vec<(LeaderEpoch, Offset)> {
    entries
        .iter()
        .map(|entry| (entry.epoch, entry.start))
        .collect()
}

fn role_error(error: RoleError) -> StoreError {
    match error {
        RoleError::StaleEpoch { current, .. } => StoreError::Superseded {
            leader_epoch: current,
        },
        error => StoreError::Storage(describe(&error).into()),
    }
}

fn repair_error(error: &RepairError) -> StoreError {
    match error {
        RepairError::BelowHighWatermark { high_watermark, .. } => StoreError::BelowHighWatermark {
            high_watermark: *high_watermark,
        },
        error => StoreError::Storage(describe(error).into()),
    }
}
