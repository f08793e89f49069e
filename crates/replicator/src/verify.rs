//! Comparing what should be equal, in the background and slowly.
//!
//! A follower in the ISR compares its settled ranges with its leader's by digest. Who answers
//! checks the checksum of every batch first, so a digest that differs means that the follower's
//! bytes are not the leader's: it asks to leave the ISR, and once it is out it begins anew.

use std::sync::Arc;

use plimsoll_replication::FollowerState;
use plimsoll_segment_log::{LogReader, Minimum, ReadError};
use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};

use crate::counters::count;
use crate::lead::first_base;
use crate::replica::{Replica, Role, State};
use crate::replicas::Replicas;
use crate::send::verify;
use crate::status::{Cause, Report};

/// A range to ask the leader about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whom to ask.
    pub leader: NodeId,
    /// The partition.
    pub key: PartitionKey,
    /// The term in which it is asked.
    pub leader_epoch: LeaderEpoch,
    /// Where the range begins: the base of a batch.
    pub from: Offset,
    /// Where it ends, exclusive.
    pub to: Offset,
}

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

impl Replicas {
    /// The digest of a range of a partition that this node leads in that term; `None` if it does
    /// not, has not all of it, or would answer with bytes that fail their checksum. Blocks.
    #[must_use]
    pub fn digest(
        &self,
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
        from: Offset,
        to: Offset,
        now: Monotonic,
    ) -> Option<u64> {
        let replica = self.replica(key)?;
        let leads = match &replica.state.lock().role {
            Role::Leader(leading) => leading.machine.leader_epoch() == leader_epoch,
            Role::Idle | Role::Follower(_) => false,
        };
        if !leads {
            return None;
        }
        self.intact(&replica, from, to, now)?;
        replica.store.digest(from, to)
    }

    /// The next range to ask a leader about, if it is time for one. Ask it, and tell
    /// [`Replicas::checked`]. Blocks.
    #[must_use]
    pub fn next_check(&self, now: Monotonic) -> Option<Check> {
        let last = self.last_check.get();
        if last.is_some_and(|last| now.since(last) < self.config().check_interval) {
            return None;
        }
        self.last_check.set(now);
        let mut due: Vec<(Option<Monotonic>, Arc<Replica>)> = Vec::new();
        for replica in self.all() {
            let at = replica.state.lock().verified.at;
            due.push((at, replica));
        }
        due.sort_by_key(|(at, _)| *at);
        due.iter()
            .find_map(|(_, replica)| self.check_of(replica, now))
    }

    fn check_of(&self, replica: &Arc<Replica>, now: Monotonic) -> Option<Check> {
        let high_watermark = replica.store.watermarks().high_watermark();
        let (leader, leader_epoch, verified) = {
            let mut state = replica.state.lock();
            let verified = state.verified;
            let Role::Follower(following) = &state.role else {
                return None;
            };
            let machine = &following.machine;
            if !matches!(machine.state(), FollowerState::Streaming { .. }) {
                return None;
            }
            let (leader, leader_epoch) = (machine.leader()?, machine.leader_epoch());
            let all = verified.end.is_some_and(|end| end >= high_watermark);
            let rests = verified
                .at
                .is_some_and(|at| now.since(at) < self.config().check_pass);
            if all && rests {
                return None;
            }
            if all {
                state.verified.end = None;
            }
            state.verified.at = Some(now);
            let end = if all { None } else { verified.end };
            (leader, leader_epoch, end)
        };
        let reader = replica.store.reader();
        let range = range(&reader, verified, high_watermark, self.config().check_bytes);
        match range {
            Ok(Some((from, to))) => Some(Check {
                leader,
                key: replica.key,
                leader_epoch,
                from,
                to,
            }),
            Ok(None) => None,
            Err(from) => {
                self.found_damage(replica, from, now);
                None
            }
        }
    }

    /// What the leader answered; `None` if it had no digest to give. Blocks.
    pub fn checked(&self, check: &Check, theirs: Option<u64>, now: Monotonic) {
        let Some(replica) = self.replica(check.key) else {
            return;
        };
        let Some(theirs) = theirs else {
            return;
        };
        if self.intact(&replica, check.from, check.to, now).is_none() {
            return;
        }
        let ours = replica.store.digest(check.from, check.to);
        let mut state = replica.state.lock();
        let same_term = match &state.role {
            Role::Follower(following) => following.machine.leader_epoch() == check.leader_epoch,
            Role::Idle | Role::Leader(_) => false,
        };
        // Retention may have taken the front meanwhile: nothing is known then.
        let (true, Some(ours)) = (same_term, ours) else {
            return;
        };
        count(&self.counters().checks);
        if ours == theirs {
            state.verified.end = Some(check.to);
            return;
        }
        count(&self.counters().mismatches);
        drop(state);
        self.found_damage(&replica, check.from, now);
    }

    /// Whether every batch of a range passes its checksum; if not, that is reported.
    fn intact(
        &self,
        replica: &Arc<Replica>,
        from: Offset,
        to: Offset,
        now: Monotonic,
    ) -> Option<()> {
        let reader = replica.store.reader();
        let mut at = from;
        while at < to {
            let read = reader.read(at, to, READ_BYTES, Minimum::OneBatch);
            let bad = match read {
                Ok(slices) if slices.next > at => {
                    let bad = verify(&slices).err();
                    at = slices.next;
                    bad
                }
                Err(ReadError::Damaged(damage)) => Some(damage.from),
                Ok(_) | Err(_) => return None,
            };
            if let Some(bad) = bad {
                self.found_damage(replica, bad, now);
                return None;
            }
        }
        Some(())
    }

    /// This node's own log is not to be believed: says so, and begins anew once it may.
    pub(crate) fn found_damage(&self, replica: &Arc<Replica>, from: Offset, now: Monotonic) {
        count(&self.counters().own_damage);
        self.mark_damaged(replica, &mut replica.state.lock(), from, now);
    }

    pub(crate) fn mark_damaged(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        from: Offset,
        now: Monotonic,
    ) {
        let known = std::mem::replace(&mut state.damaged, true);
        state.cause = Some(Cause::Damaged(from));
        if !known {
            let end = replica.store.watermarks().log_end();
            let out = !state.view.isr.contains(&self.me());
            self.losses.changed(replica.key, from, end.max(from), out);
            replica.note(now, format!("not to be believed from {from} on"));
        }
        // Again each time it is met, until it is known there.
        self.report(Report::Corrupt {
            key: replica.key,
            from,
            leading: matches!(state.role, Role::Leader(_)),
        });
        self.follow_with(replica, state, now, |machine, out| {
            machine.damaged(now, out)
        });
    }
}

/// The next range of whole batches below the high watermark; the damaged offset if one is met.
fn range(
    reader: &LogReader,
    verified: Option<Offset>,
    below: Offset,
    max_bytes: usize,
) -> Result<Option<(Offset, Offset)>, Offset> {
    let log_start = reader.log_start();
    let from = match verified.filter(|end| *end >= log_start) {
        Some(end) => end,
        None => {
            // The log may start inside a batch; ranges begin at borders.
            let Some(first) = read(reader, log_start, below, 1)? else {
                return Ok(None);
            };
            if first.0 == log_start {
                log_start
            } else {
                first.1
            }
        }
    };
    let next = read(reader, from, below, max_bytes)?;
    Ok(next.filter(|next| next.1 > from).map(|next| (from, next.1)))
}

/// The base of the batch at `from`, and the end of as many as fit.
fn read(
    reader: &LogReader,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Option<(Offset, Offset)>, Offset> {
    match reader.read(from, below, max_bytes, Minimum::OneBatch) {
        Ok(slices) => {
            let base = slices.chunks.first().and_then(|chunk| first_base(chunk));
            Ok(base.map(|base| (base, slices.next)))
        }
        Err(ReadError::Damaged(damage)) => Err(damage.from),
        Err(_) => Ok(None),
    }
}
