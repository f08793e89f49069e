//! Upkeep of one partition, off the request path: retention, checkpoints, DeleteRecords, closing.
//!
//! The writer is held only while work is staged; files are synced, written and removed after.

use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_segment_log::{LogWriter, Retention, TrimError, Upkeep, UpkeepError};
use plimsoll_types::{Monotonic, Offset, Timestamp};

use crate::Partition;
use crate::config::{Durability, PartitionConfig};
use crate::role::Role;
use crate::shared::Shared;

/// A start after a crash reads what was written since the last checkpoint; this bounds it.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// And this bounds it in time, for partitions that are written slowly.
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);

/// What one round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Retention moved the log start.
    pub log_start_moved: bool,
    /// A checkpoint was written.
    pub checkpointed: bool,
}

/// Why upkeep stopped short.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaintainError {
    /// The front of the log could not be taken off.
    #[error(transparent)]
    Trim(#[from] TrimError),
    /// Staged work was not carried out.
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    /// DeleteRecords asked for an offset that is not in the log.
    #[error("offset {asked} is above the high watermark {high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// The end of what may be deleted.
        high_watermark: Offset,
    },
    /// Only the leader deletes records; the others do as it does.
    #[error("the replica is {role}")]
    NotLeader {
        /// What it is.
        role: Role,
    },
    /// The partition is closed.
    #[error("the partition is closed")]
    Closed,
}

impl Partition {
    /// One round of upkeep: background sync where durability is `os`, retention where the topic
    /// deletes, and a checkpoint if enough has gathered for one. Blocks on the disk.
    ///
    /// # Errors
    /// See [`MaintainError`].
    pub fn maintain(&self, now: Monotonic, wall: Timestamp) -> Result<Maintained, MaintainError> {
        let shared = self.shared();
        if shared.offline().is_some() {
            return Ok(Maintained::default());
        }
        let config = shared.config.load();
        let marks = shared.watermarks.snapshot();
        if config.durability == Durability::Os && marks.durable_end < marks.log_end {
            shared.request_flush();
        }
        let retention = Retention {
            bytes: config.retention_bytes,
            age: config.retention_age,
        };
        let retains =
            config.cleanup.delete && (retention.bytes.is_some() || retention.age.is_some());
        let role = **shared.role.load();
        let retains = retains && matches!(role, Role::Leader { .. });
        let mut done = Maintained::default();
        let upkeep = self.with_writer(|writer| {
            let Some(log) = &mut writer.log else {
                return Err(MaintainError::Closed);
            };
            let mut upkeep = None;
            if retains {
                upkeep = log.retain(&retention, wall, marks.high_watermark)?;
                done.log_start_moved = log.log_start() > marks.log_start;
                shared.watermarks.publish_log_start(log.log_start());
            }
            if matches!(role, Role::Follower { .. }) {
                upkeep = follow_log_start(shared, log)?.or(upkeep);
                done.log_start_moved |= log.log_start() > marks.log_start;
            }
            let written = log.bytes_since_checkpoint();
            let old = now.since(writer.checkpointed) >= CHECKPOINT_AGE;
            if written >= CHECKPOINT_BYTES || (written > 0 && old) {
                upkeep = Some(log.checkpoint(marks.high_watermark));
                writer.checkpointed = now;
                done.checkpointed = true;
            }
            Ok(upkeep)
        })?;
        self.carry_out(upkeep)?;
        Ok(done)
    }

    /// Moves the log start to `before`, or to the high watermark (`None`); durable once this
    /// returns. Blocks on the disk.
    ///
    /// # Errors
    /// See [`MaintainError`].
    pub fn delete_records(&self, before: Option<Offset>) -> Result<Offset, MaintainError> {
        let shared = self.shared();
        let (log_start, upkeep) = self.with_writer(|writer| {
            let Some(log) = &mut writer.log else {
                return Err(MaintainError::Closed);
            };
            let role = **shared.role.load();
            if !matches!(role, Role::Leader { .. }) {
                return Err(MaintainError::NotLeader { role });
            }
            let high_watermark = shared.watermarks.high_watermark();
            let asked = before.unwrap_or(high_watermark);
            if asked > high_watermark {
                return Err(MaintainError::OutOfRange {
                    asked,
                    high_watermark,
                });
            }
            let upkeep = log.delete_before(asked)?;
            shared.watermarks.publish_log_start(log.log_start());
            Ok((log.log_start(), upkeep))
        })?;
        // Followers are told by whoever listens.
        shared.taps.ring();
        self.carry_out(Some(upkeep))?;
        Ok(log_start)
    }

    /// Ends the partition cleanly: everything synced and checkpointed, nothing to scan at the next
    /// start. It takes no appends from here on. Blocks on the disk.
    ///
    /// # Errors
    /// See [`MaintainError`]; the next start then recovers as after a crash.
    pub fn close(&self) -> Result<(), MaintainError> {
        let shared = self.shared();
        let (log, high_watermark) =
            self.with_writer(|writer| (writer.log.take(), shared.watermarks.high_watermark()));
        match log {
            Some(log) => Ok(log.close(high_watermark)?),
            None => Ok(()),
        }
    }

    /// Carries out what the writer staged, without holding it.
    pub(crate) fn carry_out(&self, upkeep: Option<Upkeep>) -> Result<(), MaintainError> {
        let Some(upkeep) = upkeep else { return Ok(()) };
        upkeep.run().map_err(|error| {
            if let UpkeepError::Poisoned(poisoned) = &error {
                self.shared().fail(poisoned);
            }
            MaintainError::from(error)
        })
    }

    /// Takes another configuration; what is under way ends under the old one.
    pub fn set_config(&self, config: PartitionConfig) {
        let shared = self.shared();
        self.with_writer(|writer| {
            if let Some(log) = &mut writer.log {
                log.set_config(config.log);
            }
        });
        let counts_change = config.durability != shared.config.load().durability;
        shared.config.store(config.into());
        if counts_change {
            // What is acknowledged stays so: the high watermark never goes back.
            shared.watermarks.begin(|sealed| shared.tenure(sealed));
            shared.request_flush();
        }
    }
}

/// Moves a follower's log start to where its leader's is, as far as it knows that to be committed.
fn follow_log_start(shared: &Shared, log: &mut LogWriter) -> Result<Option<Upkeep>, MaintainError> {
    let wanted = Offset::new(shared.leader_log_start.load(Ordering::Acquire));
    let wanted = wanted.min(shared.watermarks.high_watermark());
    if wanted <= log.log_start() {
        return Ok(None);
    }
    let upkeep = log.delete_before(wanted)?;
    shared.watermarks.publish_log_start(log.log_start());
    Ok(Some(upkeep))
}
