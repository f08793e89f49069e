//! What a follower does with the records that come: put together, append, acknowledge or refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use bytes::{Bytes, BytesMut};
use plimsoll_types::Monotonic;

use crate::counters::count;
use crate::follow::FollowLink;
use crate::frame::{Ack, Append, Nack, NackReason, StreamFrame};
use crate::lead::LinkError;
use crate::replica::Role;
use crate::session::Intake;
use crate::status::{Cause, Report};
use crate::store::ReplicateError;

/// A run that comes in pieces. Nothing of it is believed before it is whole.
pub(crate) struct Partial {
    head: Append,
    bytes: BytesMut,
}

impl FollowLink {
    pub(crate) fn append(&mut self, append: &Append, now: Monotonic) -> Result<(), LinkError> {
        self.seen = self.seen.max(append.seq);
        let got = append.records.len();
        let total = append.total as usize;
        if append.at == 0 && got == total {
            // A slice of one frame: not copied.
            let run = append.records.to_bytes();
            self.take_run(append, &run, now);
            return Ok(());
        }
        if append.total > self.replicas.config().max_run_bytes {
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
        let continues = partial.head.session == append.session
            && partial.head.from == append.from
            && partial.bytes.len() == append.at as usize
            && partial.bytes.len() + got <= partial.head.total as usize;
        if !continues {
            self.partial = None;
            return Ok(());
        }
        for piece in append.records.chunks() {
            partial.bytes.extend_from_slice(piece);
        }
        if partial.bytes.len() == partial.head.total as usize
            && let Some(whole) = self.partial.take()
        {
            let run = whole.bytes.freeze();
            self.take_run(append, &run, now);
        }
        Ok(())
    }

    fn take_run(&mut self, append: &Append, run: &Bytes, now: Monotonic) {
        let Some(intake) = self.sessions.get(&append.session).map(Arc::clone) else {
            return;
        };
        if intake.is_closed() {
            self.sessions.remove(&append.session);
            return;
        }
        intake.heard.set(now);
        intake.leader_end.set(append.log_end);
        let store = &intake.replica.store;
        match store.append_replicated(intake.leader_epoch, append.from, run) {
            Ok(_) => {
                store.learned(intake.leader_epoch, append.high_watermark, append.log_start);
                intake.ring();
            }
            Err(error) => self.nack(&intake, &error, now),
        }
    }

    fn nack(&mut self, intake: &Arc<Intake>, error: &ReplicateError, now: Monotonic) {
        count(&self.replicas.counters().bad_runs);
        let (reason, cause) = match error {
            ReplicateError::Corrupt { at } => (NackReason::Corrupt { at: *at }, Cause::Corrupt),
            ReplicateError::Gap { expected } => {
                let expected = *expected;
                (NackReason::Gap { expected }, Cause::Stalled)
            }
            ReplicateError::EpochRegression => (NackReason::EpochRegression, Cause::Stalled),
            ReplicateError::DiskFull => (NackReason::DiskFull, Cause::DiskFull),
            ReplicateError::Storage(why) => {
                self.replicas.report(Report::Offline {
                    key: intake.key,
                    why: why.to_string(),
                });
                (NackReason::IoError, Cause::IoError)
            }
            ReplicateError::NotFollowing => {
                let session = intake.session;
                self.replies.push(StreamFrame::Detach { session });
                self.end(intake, Cause::MetadataLag, now);
                return;
            }
        };
        let session = intake.session;
        self.replies
            .push(StreamFrame::Nack(Nack { session, reason }));
        intake.replica.note(now, format!("refused a run: {error}"));
        self.end(intake, cause, now);
    }

    fn end(&mut self, intake: &Arc<Intake>, cause: Cause, now: Monotonic) {
        self.sessions.remove(&intake.session);
        let mut state = intake.replica.state.lock();
        if let Role::Follower(following) = &mut state.role
            && following
                .intake
                .as_ref()
                .is_some_and(|current| current.session == intake.session)
        {
            let pause = match cause {
                Cause::DiskFull | Cause::IoError => self.replicas.config().backoff_max,
                _ => self.replicas.config().backoff(following.tries),
            };
            following.tries = following.tries.saturating_add(1);
            following.detach(now + pause);
        }
        state.cause = Some(cause);
        intake.replica.listen(&state);
    }

    /// The positions that moved since they were last told.
    pub(crate) fn acks(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        while let Some(intake) = self.shared.dirty.pop() {
            // AcqRel: pairs with the swap in `Intake::ring`, before the look at the log.
            intake.dirty.swap(false, AcqRel);
            if intake.is_closed() {
                self.sessions.remove(&intake.session);
                continue;
            }
            // Acquire: pairs with the Release in `work`, after the log was aligned.
            if !intake.ready.load(Acquire) {
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
