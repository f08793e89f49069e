//! What waits for a disk: cutting a log, beginning it anew, taking up a role again.
//!
//! Links and ticks only note what is to be done; a thread that may block takes it and runs it. For
//! each replica there is at most one piece of each kind that its follower's machine waits for, and
//! the others are rare and short, so the queue is bounded by the number of replicas.

use std::sync::Arc;

use plimsoll_replication::{EpochStart, LocalFault, Nack};
use plimsoll_segment_log::{Minimum, ReadError};
use plimsoll_types::{LeaderEpoch, Monotonic, Offset};

use crate::counters::count;
use crate::frame::to_log;
use crate::replica::{Replica, Role, Verified};
use crate::replicas::Replicas;
use crate::send::verify;
use crate::store::StoreError;

/// A piece of work that blocks.
pub struct Work {
    pub(crate) replica: Arc<Replica>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// The machine waits for it under this number.
    pub(crate) ticket: Option<u64>,
    pub(crate) kind: WorkKind,
}

pub(crate) enum WorkKind {
    /// Cut the log, or only take over the leader's epochs.
    Align {
        to: Offset,
        epochs: Vec<EpochStart>,
        allowed: bool,
    },
    /// Put the log aside and begin another.
    Reset {
        start: Offset,
        log_start: Offset,
        epochs: Vec<EpochStart>,
    },
    /// Copy what this replica alone has.
    Quarantine(Offset),
    /// Look at this node's own batch.
    Scrub(Offset),
    /// The role could not be taken up before.
    Role,
    /// The files that a reset kept are not needed any more.
    Discard,
}

impl Work {
    /// Runs it. Blocks on the disk.
    pub fn run(self, replicas: &Arc<Replicas>, now: Monotonic) {
        let Self {
            replica,
            leader_epoch,
            ticket,
            kind,
        } = self;
        let structure = replica.structure.lock();
        if ticket.is_some_and(|ticket| !is_due(&replica, leader_epoch, ticket)) {
            return;
        }
        let result = match kind {
            WorkKind::Align {
                to,
                epochs,
                allowed,
            } => align(
                replicas,
                &replica,
                leader_epoch,
                (to, &epochs, allowed),
                now,
            ),
            WorkKind::Reset {
                start,
                log_start,
                epochs,
            } => {
                let to = (start, log_start, &epochs[..]);
                begin_anew(replicas, &replica, leader_epoch, to, now)
            }
            WorkKind::Quarantine(from) => {
                let kept = match replica.store.quarantine(from) {
                    Ok(()) => "copied aside".to_owned(),
                    Err(error) => format!("not copied: {error}"),
                };
                replica.note(now, format!("what differs from {from} on is {kept}"));
                return;
            }
            WorkKind::Scrub(at) => {
                scrub(replicas, &replica, at, now);
                return;
            }
            WorkKind::Role => {
                let view = replica.state.lock().view.clone();
                replicas.take_role(&replica, &view, now);
                return;
            }
            WorkKind::Discard => {
                replica.store.discard_aside();
                return;
            }
        };
        drop(structure);
        if let Some(ticket) = ticket {
            replicas.worked(&replica, ticket, result, now);
        }
    }
}

/// Whether the replica still follows in that term and waits for that work.
fn is_due(replica: &Replica, leader_epoch: LeaderEpoch, ticket: u64) -> bool {
    match &replica.state.lock().role {
        Role::Follower(following) => {
            following.machine.leader_epoch() == leader_epoch && following.work == Some(ticket)
        }
        Role::Idle | Role::Leader(_) => false,
    }
}

fn align(
    replicas: &Replicas,
    replica: &Arc<Replica>,
    leader_epoch: LeaderEpoch,
    (to, epochs, allowed): (Offset, &[EpochStart], bool),
    now: Monotonic,
) -> Result<Offset, LocalFault> {
    let before = replica.store.watermarks().log_end();
    let done = replica
        .store
        .truncate_to(leader_epoch, to, &to_log(epochs), allowed);
    let end = done.map_err(|error| fault(replica, &error, now))?;
    if end < before {
        replica.state.lock().verified = Verified::default();
        count(&replicas.counters().truncations);
        replica.note(now, format!("cut to {end} from {before}"));
    }
    Ok(end)
}

fn begin_anew(
    replicas: &Replicas,
    replica: &Arc<Replica>,
    leader_epoch: LeaderEpoch,
    (start, log_start, epochs): (Offset, Offset, &[EpochStart]),
    now: Monotonic,
) -> Result<Offset, LocalFault> {
    let done = replica
        .store
        .reset(leader_epoch, start, log_start, &to_log(epochs));
    done.map_err(|error| fault(replica, &error, now))?;
    count(&replicas.counters().resets);
    replica.note(now, format!("begun anew at {start}"));
    let mut state = replica.state.lock();
    state.aside = true;
    state.verified = Verified::default();
    Ok(start)
}

fn fault(replica: &Replica, error: &StoreError, now: Monotonic) -> LocalFault {
    replica.note(now, format!("could not be aligned: {error}"));
    match error {
        StoreError::Storage(_) => LocalFault::IoError,
        // The log is not what it was when that was agreed on: agree again.
        StoreError::Superseded { .. } | StoreError::BelowHighWatermark { .. } => {
            LocalFault::Refused(Nack::Gap {
                expected: replica.store.watermarks().log_end(),
            })
        }
    }
}

/// A follower refused this batch twice: is it damaged here?
fn scrub(replicas: &Replicas, replica: &Arc<Replica>, at: Offset, now: Monotonic) {
    let reader = replica.store.reader();
    let from = at.max(reader.log_start());
    let bad = match reader.read(from, reader.log_end(), 1, Minimum::OneBatch) {
        Ok(slices) => verify(&slices).err(),
        Err(ReadError::Damaged(damage)) => Some(damage.from),
        Err(_) => None,
    };
    if let Some(bad) = bad {
        replicas.found_damage(replica, bad, now);
    }
}
