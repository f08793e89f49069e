//! What a follower does with the records that come: put together, check, append, acknowledge.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use plimsoll_replication::{AppendHead, LocalFault, Nack, Verdict};
use plimsoll_types::{Monotonic, Offset};

use crate::counters::count;
use crate::follow::FollowLink;
use crate::frame::{Ack, Append, seal};
use crate::lead::LinkError;
use crate::replica::{Replica, Role};
use crate::session::{Intake, OnLink};
use crate::status::Report;
use crate::store::ReplicateError;

/// The largest batch that the format can hold. A run that comes in pieces is one batch, so no
/// limit that anybody sets can refuse what a leader once took.
const MAX_RUN_BYTES: u32 = i32::MAX as u32 + 12;

/// A run that comes in pieces. Nothing of it is believed before it is whole.
pub(crate) struct Partial {
    head: Append,
    bytes: BytesMut,
}

impl FollowLink {
    pub(crate) fn append(&mut self, append: &Append, now: Monotonic) -> Result<(), LinkError> {
        self.seen = self.seen.max(append.seq);
        let got = append.records.len();
        if append.is_whole() {
            // A slice of one frame: not copied.
            let run = append.records.to_bytes();
            self.take_run(append, &run, now);
            return Ok(());
        }
        if append.total > MAX_RUN_BYTES {
            return Err(LinkError::RunTooLarge {
                bytes: append.total,
            });
        }
        if append.at == 0 {
            // A run before it that was not finished is void: its session has ended.
            self.partial = Some(Partial {
                head: append.clone(),
                bytes: BytesMut::new(),
            });
        }
        let Some(partial) = &mut self.partial else {
            return Ok(());
        };
        let head = &partial.head;
        let of_run = (append.session, append.from, append.total, append.seal)
            == (head.session, head.from, head.total, head.seal);
        let whole = head.total as usize;
        let next = partial.bytes.len() == append.at as usize;
        if !of_run || !next || partial.bytes.len() + got > whole {
            self.partial = None;
            return Ok(());
        }
        for piece in append.records.chunks() {
            partial.bytes.extend_from_slice(piece);
        }
        if partial.bytes.len() < whole {
            self.receiving(append.session, now);
        } else if let Some(run) = self.partial.take() {
            self.take_run(append, &run.bytes.freeze(), now);
        }
        Ok(())
    }

    /// The session, unless it is over.
    fn intake(&mut self, session: u64) -> Option<Arc<Intake>> {
        let intake = self.sessions.get(&session)?;
        if intake.is_closed() {
            self.sessions.remove(&session);
            return None;
        }
        Some(Arc::clone(intake))
    }

    fn receiving(&mut self, session: u64, now: Monotonic) {
        if let Some(intake) = self.intake(session)
            && let Role::Follower(following) = &mut intake.replica.state.lock().role
        {
            following.machine.receiving(session, now);
        }
    }

    fn take_run(&mut self, append: &Append, run: &Bytes, now: Monotonic) {
        let Some(intake) = self.intake(append.session) else {
            return;
        };
        intake.leader_end.set(append.log_end);
        let replica = &intake.replica;
        let head = AppendHead {
            session: append.session,
            from: Some(append.from),
            high_watermark: append.high_watermark,
            log_start: append.log_start,
            log_end: append.log_end,
        };
        match self.verdict(replica, &head, now) {
            Verdict::Accept => {}
            Verdict::Drop => return,
            Verdict::Refuse => return count(&self.replicas.counters().bad_runs),
        }
        // The batches' own checksums leave out how they begin; the seal covers that.
        let sealed = seal(std::slice::from_ref(run)) == Some(append.seal);
        let result = match sealed {
            true => replica
                .store
                .append_replicated(intake.leader_epoch, append.from, run)
                .map_err(|error| self.fault(replica, error)),
            false => Err(LocalFault::Refused(Nack::Corrupt { at: append.from })),
        };
        if result.is_err() {
            count(&self.replicas.counters().bad_runs);
        }
        self.appended(replica, &head, result, now);
    }

    fn verdict(&mut self, replica: &Arc<Replica>, head: &AppendHead, now: Monotonic) -> Verdict {
        let log_end = replica.store.watermarks().log_end();
        let mut state = replica.state.lock();
        let Role::Follower(following) = &mut state.role else {
            return Verdict::Drop;
        };
        let machine = &mut following.machine;
        let verdict = machine.append(head, log_end, now, &mut self.actions);
        if !self.actions.is_empty() {
            let via = Some(&self.shared);
            self.replicas
                .follow_on(replica, &mut state, &mut self.actions, via, now);
        }
        verdict
    }

    fn appended(
        &mut self,
        replica: &Arc<Replica>,
        head: &AppendHead,
        result: Result<Offset, LocalFault>,
        now: Monotonic,
    ) {
        let mut state = replica.state.lock();
        if let Role::Follower(following) = &mut state.role {
            let machine = &mut following.machine;
            machine.appended(head, result, now, &mut self.actions);
            let via = Some(&self.shared);
            self.replicas
                .follow_on(replica, &mut state, &mut self.actions, via, now);
        }
    }

    fn fault(&self, replica: &Replica, error: ReplicateError) -> LocalFault {
        match error {
            ReplicateError::Corrupt { at } => LocalFault::Refused(Nack::Corrupt { at }),
            ReplicateError::Gap { expected } => LocalFault::Refused(Nack::Gap { expected }),
            ReplicateError::EpochRegression => LocalFault::Refused(Nack::EpochRegression),
            ReplicateError::DiskFull => LocalFault::DiskFull,
            ReplicateError::Storage(why) => {
                self.replicas.report(Report::Offline {
                    key: replica.key,
                    why: why.to_string(),
                });
                LocalFault::IoError
            }
            // Its role is changing: whatever comes of this is not heard by the machine.
            ReplicateError::NotFollowing => LocalFault::Refused(Nack::Gap {
                expected: replica.store.watermarks().log_end(),
            }),
        }
    }

    /// The positions that moved since they were last told.
    pub(crate) fn acks(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        while let Some(intake) = self.shared.end.take_due() {
            if intake.is_closed() {
                // A session that began afresh has another intake under the same number.
                let known = self.sessions.get(&intake.session);
                if known.is_some_and(|known| Arc::ptr_eq(known, &intake)) {
                    self.sessions.remove(&intake.session);
                }
                continue;
            }
            if !intake.is_ready() {
                continue;
            }
            let marks = intake.replica.store.watermarks().snapshot();
            if marks.leader_epoch != intake.leader_epoch {
                continue;
            }
            intake.told_end.set(marks.log_end);
            intake.told_durable.set(marks.durable_end);
            acks.push(Ack {
                session: intake.session,
                log_end: marks.log_end,
                durable_end: marks.durable_end,
                log_start: marks.log_start,
            });
        }
        acks
    }
}
