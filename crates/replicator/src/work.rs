//! What waits for a disk: cutting a log, beginning it anew, taking up a role again.
//!
//! Links only note what is to be done; a thread that may block takes it and runs it. There is at
//! most one piece of work a replica, so the queue is bounded by the number of replicas.

use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use plimsoll_types::{LeaderEpoch, Monotonic, Offset};

use crate::counters::count;
use crate::frame::{Attached, Reset, to_log};
use crate::replica::{Phase, Replica, Role, Verified};
use crate::replicas::Replicas;
use crate::status::{Cause, Report};
use crate::store::StoreError;

/// A piece of work that blocks.
pub struct Work {
    pub(crate) replica: Arc<Replica>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) kind: WorkKind,
}

pub(crate) enum WorkKind {
    /// Cut the log, or only take over the leader's epochs.
    Align(Attached),
    Reset(Reset),
    /// Begin anew: what is here is damaged or differs.
    Rebuild,
    /// The role could not be taken up before.
    Role,
    /// The files that a reset kept are not needed any more.
    Discard,
}

/// How long a replica that must not be cut waits before it asks again.
const DIVERGED_PAUSE: std::time::Duration = std::time::Duration::from_secs(30);

impl Work {
    /// Runs it. Blocks on the disk.
    pub fn run(self, replicas: &Arc<Replicas>, now: Monotonic) {
        let Self {
            replica,
            leader_epoch,
            kind,
        } = self;
        let structure = replica.structure.lock();
        match kind {
            WorkKind::Role => {
                let view = replica.state.lock().view.clone();
                replicas.take_role(&replica, &view, now);
            }
            WorkKind::Discard => replica.store.discard_aside(),
            WorkKind::Rebuild => {
                if is_due(&replica, leader_epoch) {
                    rebuild(replicas, &replica, leader_epoch, now);
                }
            }
            WorkKind::Align(attached) => {
                if is_due(&replica, leader_epoch) {
                    align(replicas, &replica, &attached, now);
                }
            }
            WorkKind::Reset(reset) => {
                if is_due(&replica, leader_epoch) {
                    begin_anew(replicas, &replica, &reset, now);
                }
            }
        }
        drop(structure);
        replicas.kick(&replica, now);
    }
}

/// Whether the replica still follows in that term and waits for its work.
fn is_due(replica: &Replica, leader_epoch: LeaderEpoch) -> bool {
    let state = replica.state.lock();
    match &state.role {
        Role::Follower(following) => {
            following.leader_epoch == leader_epoch && following.phase == Phase::Working
        }
        Role::Idle | Role::Leader(_) => false,
    }
}

fn align(replicas: &Replicas, replica: &Arc<Replica>, attached: &Attached, now: Monotonic) {
    let before = replica.store.watermarks().snapshot();
    let to = attached.truncate_to.unwrap_or(before.log_end);
    let last = replica.store.reader().epochs().latest();
    // Only an unclean election after the follower's last epoch can have voided what it holds.
    let allowed = attached
        .unclean_epoch
        .is_some_and(|unclean| last.is_none_or(|last| unclean > last));
    let done = replica.store.truncate_to(
        attached.leader_epoch,
        to,
        &to_log(&attached.epochs),
        allowed,
    );
    match done {
        Ok(end) => {
            if end < before.log_end {
                replica.state.lock().verified = Verified::default();
                count(&replicas.counters().truncations);
                replica.note(now, format!("cut to {end} from {}", before.log_end));
            }
            finish(replica, attached.truncate_to.is_none(), None, now);
        }
        Err(StoreError::BelowHighWatermark { high_watermark }) => {
            diverged(replicas, replica, to, high_watermark, now);
        }
        Err(error) => failed(replicas, replica, &error, now),
    }
}

/// The leader lacks what this replica knows to be committed. Nothing is cut; the suffix is copied
/// aside once, a person is told, and the position is compared again later.
fn diverged(
    replicas: &Replicas,
    replica: &Arc<Replica>,
    at: Offset,
    high_watermark: Offset,
    now: Monotonic,
) {
    count(&replicas.counters().divergences);
    let first = {
        let mut state = replica.state.lock();
        let Role::Follower(following) = &mut state.role else {
            return;
        };
        !std::mem::replace(&mut following.quarantined, true)
    };
    if first {
        let kept = replica.store.quarantine(at);
        let kept = if kept.is_ok() {
            "copied aside"
        } else {
            "not copied"
        };
        replica.note(
            now,
            format!("diverged at {at} below {high_watermark}; {kept}"),
        );
        replicas.report(Report::Diverged {
            key: replica.key,
            at,
            high_watermark,
        });
    }
    let mut state = replica.state.lock();
    state.cause = Some(Cause::Diverged(at));
    if let Role::Follower(following) = &mut state.role {
        following.detach(now + DIVERGED_PAUSE);
    }
    replica.listen(&state);
}

/// Empties the log; the leader says at the next attach where it begins.
fn rebuild(replicas: &Replicas, replica: &Arc<Replica>, epoch: LeaderEpoch, now: Monotonic) {
    let done = replica.store.reset(epoch, Offset::ZERO, Offset::ZERO, &[]);
    match done {
        Ok(()) => {
            count(&replicas.counters().resets);
            replica.note(
                now,
                "begun anew: what was here is not to be believed".into(),
            );
            let mut state = replica.state.lock();
            state.aside = true;
            state.verified = Verified::default();
            drop(state);
            finish(replica, false, Some(Cause::Damaged(Offset::ZERO)), now);
        }
        Err(error) => {
            replica.state.lock().rebuild = true;
            failed(replicas, replica, &error, now);
        }
    }
}

fn begin_anew(replicas: &Replicas, replica: &Arc<Replica>, reset: &Reset, now: Monotonic) {
    let epochs = to_log(&reset.epochs);
    let done = replica
        .store
        .reset(reset.leader_epoch, reset.start, reset.log_start, &epochs);
    match done {
        Ok(()) => {
            count(&replicas.counters().resets);
            replica.note(now, format!("begun anew at {}", reset.start));
            let mut state = replica.state.lock();
            state.aside = true;
            state.verified = Verified::default();
            drop(state);
            finish(replica, false, Some(Cause::BehindLogStart), now);
        }
        Err(error) => failed(replicas, replica, &error, now),
    }
}

/// The log is as the leader wants it: confirm the position, or attach again to have it proven.
fn finish(replica: &Arc<Replica>, confirm: bool, cause: Option<Cause>, now: Monotonic) {
    let mut state = replica.state.lock();
    state.cause = cause;
    let Role::Follower(following) = &mut state.role else {
        return;
    };
    let intake = following
        .intake
        .clone()
        .filter(|intake| !intake.is_closed());
    match intake {
        Some(intake) if confirm => {
            following.phase = Phase::Following { since: now };
            // Release: the link that sees it ready sees the log as it is now.
            intake.ready.store(true, Release);
            intake.ring();
        }
        Some(_) | None => following.detach(now),
    }
    replica.listen(&state);
}

fn failed(replicas: &Replicas, replica: &Arc<Replica>, error: &StoreError, now: Monotonic) {
    replica.note(now, format!("could not be aligned: {error}"));
    let mut state = replica.state.lock();
    if matches!(error, StoreError::Storage(_)) {
        state.cause = Some(Cause::IoError);
    }
    if let Role::Follower(following) = &mut state.role {
        following.tries += 1;
        let pause = replicas.config().backoff(following.tries);
        following.detach(now + pause);
    }
    replica.listen(&state);
}
