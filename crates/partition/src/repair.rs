//! Making a replica's log fit its leader's, and coming back after a storage error.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_segment_log::{
    self as segment_log, AdoptError, Damage, EpochEntry, LogReader, Minimum, ReadError,
    TruncateError,
};
use plimsoll_types::{LeaderEpoch, Offset};

use crate::Partition;
use crate::append::Writer;
use crate::role::Role;
use crate::shared::{Parts, describe};

/// Read at once while everything is read again.
const READ_BYTES: usize = 1 << 20;

/// Why a replica's log was not changed, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The replica does not follow in that epoch.
    #[error("the replica is {role}, not a follower in epoch {got}")]
    NotFollower {
        /// What it is.
        role: Role,
        /// The epoch of whoever asks.
        got: LeaderEpoch,
    },
    /// What would go was committed, as far as is known here: somewhere committed records are lost.
    #[error("a cut at {to} would remove records below the high watermark {high_watermark}")]
    BelowHighWatermark {
        /// Where the log was to end.
        to: Offset,
        /// What is known to be committed.
        high_watermark: Offset,
    },
    /// The log starts later.
    #[error("the log starts at {log_start}, it cannot be cut to {to}")]
    BelowStart {
        /// Where the log was to end.
        to: Offset,
        /// Where it starts.
        log_start: Offset,
    },
    /// The leader's epochs cannot be taken over.
    #[error(transparent)]
    Epochs(#[from] AdoptError),
    /// The machine could not do it this time. The log is as it was.
    #[error("{why}")]
    Refused {
        /// What is short.
        why: Arc<str>,
    },
    /// A file could not be written or removed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else has the log's files just now; later it works.
    #[error("a compaction is under way")]
    Busy,
    /// The log did not open again.
    #[error(transparent)]
    Open(#[from] segment_log::OpenError),
    /// Its files could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The replica is offline after a storage error.
    #[error("the replica is offline: {why}")]
    Offline {
        /// The error that took it offline.
        why: Arc<str>,
    },
    /// The partition is closed.
    #[error("the partition is closed")]
    Closed,
}

/// What opening a replica again found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reopened {
    /// It was not offline, and nothing was done.
    pub was_online: bool,
    /// Where the log ends now.
    pub log_end: Offset,
    /// Offsets that were written and not durable, and could not be verified: they were given up.
    pub given_up: u64,
    /// What cannot be read.
    pub damage: Vec<Damage>,
}

impl Partition {
    /// Cuts the log of this follower to `to`, durably, and takes over the leader's `epochs`, all
    /// that begin up to there. Returns where the log ends now: `to`, or the base of the batch that
    /// `to` lies in. Blocks on the disk.
    ///
    /// # Errors
    /// [`RepairError::BelowHighWatermark`] unless `allow_below_hw`, which the leader's answer allows
    /// after an unclean election only; else see [`RepairError`].
    pub fn truncate_to(
        &self,
        leader_epoch: LeaderEpoch,
        to: Offset,
        epochs: &[(LeaderEpoch, Offset)],
        allow_below_hw: bool,
    ) -> Result<Offset, RepairError> {
        let shared = self.shared();
        self.with_writer(|writer| {
            following(writer, leader_epoch)?;
            let high_watermark = shared.watermarks.high_watermark();
            let log = writer.log.as_mut().ok_or(RepairError::Closed)?;
            if to < high_watermark && !allow_below_hw {
                return Err(RepairError::BelowHighWatermark { to, high_watermark });
            }
            if to < log.log_end() {
                // Ends the course first: nobody is served what goes (P2), and no sync that is
                // under way counts for what comes in its place.
                shared.begin_course(None, to, || ());
                let cut = log.truncate_to(to);
                let end = log.log_end();
                shared.begin_course(None, end, || ());
                shared.follow(**shared.role.load());
                cut.map_err(|error| truncated(writer, error))?;
            }
            let log = writer.log.as_mut().ok_or(RepairError::Closed)?;
            log.adopt_epochs(&entries(epochs))
                .map_err(|error| adopted(shared, error))?;
            Ok(log.log_end())
        })
    }

    /// Takes over the leader's epochs as far as this follower's log reaches, durably: also when
    /// nothing is cut, as it may have led for a term without a record. Blocks on the disk.
    ///
    /// # Errors
    /// See [`RepairError`].
    pub fn adopt_epochs(
        &self,
        leader_epoch: LeaderEpoch,
        epochs: &[(LeaderEpoch, Offset)],
    ) -> Result<(), RepairError> {
        let shared = self.shared();
        self.with_writer(|writer| {
            following(writer, leader_epoch)?;
            let log = writer.log.as_mut().ok_or(RepairError::Closed)?;
            log.adopt_epochs(&entries(epochs))
                .map_err(|error| adopted(shared, error))
        })
    }

    /// Copies what is at and above `from` into a file beside the log, durably, before it is cut.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// See [`RepairError`].
    pub fn quarantine(&self, from: Offset) -> Result<PathBuf, RepairError> {
        self.with_writer(|writer| {
            let log = writer.log.as_ref().ok_or(RepairError::Closed)?;
            Ok(log.quarantine(from)?)
        })
    }

    /// Drops this follower's log, which cannot be continued, and begins it anew at `start`, the base
    /// of the leader's batch that holds `log_start`. The old files are kept until
    /// [`Partition::discard_aside`]. The high watermark goes back to `start`. Blocks on the disk.
    ///
    /// # Errors
    /// See [`RepairError`].
    pub fn reset(
        &self,
        leader_epoch: LeaderEpoch,
        start: Offset,
        log_start: Offset,
        epochs: &[(LeaderEpoch, Offset)],
    ) -> Result<(), RepairError> {
        let shared = self.shared();
        self.with_writer(|writer| {
            following(writer, leader_epoch)?;
            let log = writer.log.as_mut().ok_or(RepairError::Closed)?;
            if log.reader().is_compacting() {
                return Err(RepairError::Busy);
            }
            shared.begin_course(None, Offset::ZERO, || ());
            let reset = log.reset_keeping(start);
            shared
                .leader_log_start
                .store(log_start.get(), Ordering::Release);
            shared.begin_course(None, Offset::MAX, || ());
            shared.follow(**shared.role.load());
            reset.map_err(|error| truncated(writer, error))?;
            let log = writer.log.as_mut().ok_or(RepairError::Closed)?;
            log.adopt_epochs(&entries(epochs))
                .map_err(|error| adopted(shared, error))
        })
    }

    /// Removes what [`Partition::reset`] kept; how many files that were. Blocks on the disk.
    ///
    /// # Errors
    /// See [`RepairError`].
    pub fn discard_aside(&self) -> Result<usize, RepairError> {
        self.with_writer(|writer| {
            let log = writer.log.as_ref().ok_or(RepairError::Closed)?;
            Ok(log.discard_aside()?)
        })
    }

    /// Brings the replica back after a storage error (P3): opens its log anew, reads all of it, and
    /// only then serves. A failed sync is not tried again: what was not durable is not believed.
    /// What of it can be verified is written anew and synced, as others may have lost it meanwhile;
    /// the rest is given up. Who led with others does not lead any more, as its epoch is over,
    /// unless it is `alone` in having what it has and gave up nothing of it. Blocks on the disk for as
    /// long as reading everything takes.
    ///
    /// # Errors
    /// See [`RepairError`]; the replica stays offline.
    pub fn reopen(&self, alone: bool) -> Result<Reopened, RepairError> {
        let shared = self.shared();
        self.with_writer(|writer| {
            if shared.offline().is_none() {
                return Ok(Reopened {
                    was_online: true,
                    log_end: shared.parts.load().reader.log_end(),
                    ..Reopened::default()
                });
            }
            let old = writer.log.as_ref().ok_or(RepairError::Closed)?;
            if old.reader().is_compacting() {
                return Err(RepairError::Busy);
            }
            if old.is_poisoned() {
                old.settle();
            }
            let written_to = old.log_end();
            let identity = shared.parts.load().reader.identity();
            let config = shared.config.load().log;
            let opened = segment_log::open(&shared.dir, identity, config, &shared.host)?;
            let mut reopened = Reopened {
                damage: read_everything(&opened.reader)?,
                ..Reopened::default()
            };
            reopened.log_end = opened.reader.log_end();
            reopened.given_up = written_to.max(reopened.log_end).since(reopened.log_end);
            let parts = Parts {
                reader: opened.reader,
                sync: opened.sync,
            };
            parts.sync.sync().map_err(|error| RepairError::Refused {
                why: describe(&error).into(),
            })?;
            writer.log = Some(opened.writer);
            shared.parts.store(Arc::new(parts));
            shared.offline.store(None);
            let role = **shared.role.load();
            let leads = matches!(role, Role::Leader { .. });
            // Followers may have what was given up: other records must not take those offsets in
            // the same epoch.
            let has_others = leads && !shared.rule.load().followers.is_empty();
            let over = has_others && (reopened.given_up > 0 || !alone);
            let role = if over { Role::Idle } else { role };
            shared.begin_course(None, Offset::MAX, || shared.role.store(Arc::new(role)));
            shared.follow(role);
            Ok(reopened)
        })
    }
}

/// That the replica may be changed on behalf of the leader of `epoch`.
fn following(writer: &Writer, epoch: LeaderEpoch) -> Result<(), RepairError> {
    if let Some(why) = writer.shared.offline() {
        return Err(RepairError::Offline { why });
    }
    match **writer.shared.role.load() {
        Role::Follower { leader_epoch, .. } if leader_epoch == epoch => Ok(()),
        role => Err(RepairError::NotFollower { role, got: epoch }),
    }
}

fn entries(epochs: &[(LeaderEpoch, Offset)]) -> Vec<EpochEntry> {
    let entry = |&(epoch, start)| EpochEntry { epoch, start };
    epochs.iter().map(entry).collect()
}

fn truncated(writer: &Writer, error: TruncateError) -> RepairError {
    match error {
        TruncateError::BelowStart { to, log_start } => RepairError::BelowStart { to, log_start },
        TruncateError::Poisoned(poisoned) => RepairError::Offline {
            why: writer.shared.fail(&poisoned),
        },
        other => {
            if let Some(poisoned) = writer.log.as_ref().and_then(|log| log.poisoned()) {
                writer.shared.fail(&poisoned);
            }
            RepairError::Refused {
                why: describe(&other).into(),
            }
        }
    }
}

fn adopted(shared: &crate::shared::Shared, error: AdoptError) -> RepairError {
    if let AdoptError::Write(segment_log::AppendError::Poisoned(poisoned)) = &error {
        return RepairError::Offline {
            why: shared.fail(poisoned),
        };
    }
    error.into()
}

/// Reads all of a log that was just opened, so that every byte is verified; what is damaged.
fn read_everything(reader: &LogReader) -> Result<Vec<Damage>, RepairError> {
    let (mut at, end) = (reader.log_start(), reader.log_end());
    while at < end {
        at = match reader.read(at, end, READ_BYTES, Minimum::OneBatch) {
            Ok(slices) if slices.next <= at => break,
            Ok(slices) => slices.next,
            Err(ReadError::Damaged(damage)) => damage.until.max(at + 1),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(reader.damage())
}
