//! The traffic between leader and followers: batches as they are, and how far each has come.
//!
//! A follower takes whole batches only, with the checksum they were written with, each where the
//! one before ends. What it reports is where its log ends then, never what a header announced. So
//! a batch that was cut or changed on the way is refused and asked for again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use plimsoll_record_batch::BatchHeader;
use plimsoll_segment_log::{AppendError as LogAppendError, ToAppend};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::Position;

use crate::Partition;
use crate::append::Writer;
use crate::role::Role;
use crate::shared::describe;

/// Why a leader's batches were not appended. What the log holds is as it was, but for
/// whole batches before one that begins an epoch; the log end tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicateError {
    /// The replica does not follow in that epoch.
    #[error("the replica is {role}, not a follower in epoch {got}")]
    NotFollower {
        /// What it is.
        role: Role,
        /// The epoch of the batches' sender.
        got: LeaderEpoch,
    },
    /// The batches do not begin where the log ends, or not each where the one before ends.
    #[error("the log continues at offset {expected}, not at {got}")]
    Gap {
        /// Where the log ends.
        expected: Offset,
        /// Where the batch begins.
        got: Offset,
    },
    /// A batch is not whole, or its checksum does not hold.
    #[error("the batch at offset {at} is not as it was written: {why}")]
    Corrupt {
        /// Where the log ends, and the batch should begin.
        at: Offset,
        /// What is wrong.
        why: Arc<str>,
    },
    /// A batch has an epoch below the log's or above its sender's.
    #[error("a batch has leader epoch {got:?} in a log at {latest:?}")]
    Epoch {
        /// The log's latest.
        latest: Option<LeaderEpoch>,
        /// The batch's.
        got: Option<LeaderEpoch>,
    },
    /// The disk is full. The log takes the batches once there is room.
    #[error("{why}")]
    NoSpace {
        /// What the system said.
        why: Arc<str>,
    },
    /// The process is out of descriptors or memory. The log takes the batches once there are.
    #[error("{why}")]
    Exhausted {
        /// What the system said.
        why: Arc<str>,
    },
    /// The replica is offline after a storage error.
    #[error("the replica is offline: {why}")]
    Offline {
        /// The error that took it offline.
        why: Arc<str>,
    },
}

impl Partition {
    /// Appends whole batches as the leader of `leader_epoch` wrote them, the first at `from`, which
    /// is where the log ends; returns the new log end. Every batch is checked: whole, its
    /// CRC-32C, its place, its epoch. Blocks for the writes.
    ///
    /// # Errors
    /// See [`ReplicateError`].
    pub fn append_replicated(
        &self,
        leader_epoch: LeaderEpoch,
        from: Offset,
        bytes: &Bytes,
    ) -> Result<Offset, ReplicateError> {
        self.with_writer(|writer| {
            let shared = Arc::clone(&writer.shared);
            if let Some(why) = shared.offline() {
                return Err(ReplicateError::Offline { why });
            }
            let role = **shared.role.load();
            match role {
                Role::Follower {
                    leader_epoch: own, ..
                } if own == leader_epoch => {}
                Role::Follower { .. } | Role::Leader { .. } | Role::Idle => {
                    return Err(ReplicateError::NotFollower {
                        role,
                        got: leader_epoch,
                    });
                }
            }
            append_as_is(writer, leader_epoch, from, bytes)
        })
    }

    /// What the leader of `leader_epoch` says of itself. Moves this follower's high watermark as far
    /// as its own log reaches; its log start follows with the next upkeep. Takes no lock.
    pub fn learned(&self, leader_epoch: LeaderEpoch, high_watermark: Offset, log_start: Offset) {
        let shared = self.shared();
        let following = shared.following.load();
        let Some(following) = following.as_deref() else {
            return;
        };
        if following.leader_epoch != leader_epoch {
            return;
        }
        let before = shared.watermarks.high_watermark();
        // On the handle of this role's course: were it over by now, this counted for nothing (W6).
        shared
            .watermarks
            .publish_follower_on(&following.position, high_watermark, high_watermark);
        shared
            .leader_log_start
            .fetch_max(log_start.get(), Ordering::AcqRel);
        if shared.watermarks.high_watermark() > before {
            shared.taps.ring();
        }
    }

    /// Where this leader's follower `node` is to publish its acks: taken when its session begins,
    /// after the rule that counts it from zero ([`IsrRule::fresh`](crate::IsrRule::fresh)).
    #[must_use]
    pub fn follower_position(&self, node: NodeId) -> Option<Position> {
        self.shared().watermarks.position(node).ok()
    }

    /// The follower with that position has come so far. Takes no lock; whether the high watermark
    /// moved.
    pub fn acked(&self, position: &Position, log_end: Offset, durable_end: Offset) -> bool {
        let shared = self.shared();
        let before = shared.watermarks.high_watermark();
        let durable_end = durable_end.min(log_end);
        shared
            .watermarks
            .publish_follower_on(position, log_end, durable_end);
        let moved = shared.watermarks.high_watermark() > before;
        if moved {
            shared.taps.ring();
        }
        moved
    }
}

fn append_as_is(
    writer: &mut Writer,
    leader_epoch: LeaderEpoch,
    from: Offset,
    bytes: &Bytes,
) -> Result<Offset, ReplicateError> {
    let shared = Arc::clone(&writer.shared);
    let Some(log) = &mut writer.log else {
        return Err(ReplicateError::Offline {
            why: "the partition is closed".into(),
        });
    };
    let before = log.log_end();
    if from != before {
        return Err(ReplicateError::Gap {
            expected: before,
            got: from,
        });
    }
    let batches = cut(bytes, before)?;
    let foreign = batches
        .iter()
        .map(|batch| batch.header.leader_epoch)
        .find(|epoch| epoch.is_none_or(|epoch| epoch > leader_epoch));
    if let Some(got) = foreign {
        let latest = log.epochs().latest();
        return Err(ReplicateError::Epoch { latest, got });
    }
    let appended = log.append_as_is(&batches);
    let (log_end, latest) = (log.log_end(), log.epochs().latest());
    if log_end > before {
        shared.written(log_end);
    }
    let Err(error) = appended else {
        return Ok(log_end);
    };
    let words = || describe(&error).into();
    Err(match &error {
        LogAppendError::Poisoned(poisoned) => ReplicateError::Offline {
            why: shared.fail(poisoned),
        },
        LogAppendError::NotContiguous { expected, got } => ReplicateError::Gap {
            expected: *expected,
            got: *got,
        },
        LogAppendError::StaleEpoch { got, .. } => ReplicateError::Epoch {
            latest,
            got: Some(*got),
        },
        LogAppendError::NoEpoch { .. } => ReplicateError::Epoch { latest, got: None },
        LogAppendError::NoSpace { .. } => ReplicateError::NoSpace { why: words() },
        LogAppendError::Exhausted { .. } => ReplicateError::Exhausted { why: words() },
        _ => ReplicateError::Corrupt {
            at: log_end,
            why: words(),
        },
    })
}

/// Cuts a run into its batches. What is cut is checked by the log.
pub(crate) fn cut(bytes: &Bytes, at: Offset) -> Result<Vec<ToAppend>, ReplicateError> {
    let mut batches = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let rest = bytes.slice(position..);
        let header = BatchHeader::decode(&rest).map_err(|error| ReplicateError::Corrupt {
            at: batches
                .last()
                .map_or(at, |batch: &ToAppend| batch.header.end()),
            why: describe(&error).into(),
        })?;
        let length = header.batch_bytes as usize;
        if length > rest.len() {
            return Err(ReplicateError::Corrupt {
                at: header.base,
                why: format!("{} of {length} bytes came", rest.len()).into(),
            });
        }
        batches.push(ToAppend {
            header,
            bytes: rest.slice(..length),
        });
        position += length;
    }
    Ok(batches)
}
