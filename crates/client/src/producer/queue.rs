//! The batches of one partition: growing, waiting, under way; and their sequence numbers.
//!
//! Pure but for telling whoever waits. What always holds: batches leave in the order they were
//! made; none leaves while an earlier one is to be sent again; with an identity, sequence numbers
//! are given without gaps, and a batch that may have been written is only ever sent again under
//! the number it had.

use std::collections::VecDeque;

use plimsoll_record_batch::Producer;
use plimsoll_types::{ProducerEpoch, ProducerId};
use plimsoll_wire::ErrorCode;
use tokio::time::{Duration, Instant};

use super::batch::{Batch, Landed};
use crate::ClientError;

/// A producer's identity, as the broker gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// One partition's batches.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The one that takes records.
    pub(super) open: Option<Batch>,
    /// Those that take no more, in order.
    waiting: VecDeque<Batch>,
    /// How many are under way.
    in_flight: usize,
    /// Whether one came back to be sent again: no other leaves until all under way are back.
    recovering: bool,
    /// Under what its next batch is sent; `None` if it needs a new one.
    identity: Option<Identity>,
    next_sequence: i32,
    /// After a failure: when to try again.
    not_before: Option<Instant>,
}

/// What to do with a batch that came back with an error.
enum Verdict {
    /// It had been written before.
    Landed,
    /// To be sent again.
    Again {
        unknown: bool,
    },
    /// To be sent again under a new identity.
    Anew,
    Failed,
}

impl Queue {
    /// An empty one that numbers its batches under `identity`, which no batch of this partition
    /// has been sent under.
    pub(super) fn new(identity: Option<Identity>) -> Self {
        Self {
            identity,
            ..Self::default()
        }
    }

    /// Closes the growing batch: its next place is in the line.
    pub(super) fn close(&mut self) {
        if let Some(batch) = self.open.take() {
            self.waiting.push_back(batch);
        }
    }

    /// Whether its next batch must wait for an identity, and none is under way to settle that.
    pub(super) fn wants_identity(&self) -> bool {
        self.identity.is_none() && self.in_flight == 0 && !self.waiting.is_empty()
    }

    /// When the next batch in line may leave; `None` if not before something comes back.
    pub(super) fn may_leave_at(&self, now: Instant, at_once: usize) -> Option<Instant> {
        let held = self.in_flight >= at_once || (self.recovering && self.in_flight > 0);
        if self.waiting.is_empty() || held {
            return None;
        }
        Some(self.not_before.map_or(now, |until| until.max(now)))
    }

    /// The next batch in line, numbered if `numbered`. It counts as under way.
    pub(super) fn leave(&mut self, numbered: bool) -> Option<Batch> {
        if numbered && self.identity.is_none() {
            return None;
        }
        let mut batch = self.waiting.pop_front()?;
        self.recovering &= self.in_flight > 0;
        self.in_flight += 1;
        self.not_before = None;
        if let Some(identity) = self
            .identity
            .filter(|_| numbered && batch.producer.is_none())
        {
            batch.identify(Producer {
                id: identity.id,
                epoch: identity.epoch,
                base_sequence: self.next_sequence,
            });
            self.next_sequence = after(self.next_sequence, batch.records);
        }
        Some(batch)
    }

    /// A batch could not be sent for now: it is the next in line again.
    pub(super) fn stay(&mut self, batch: Batch) {
        self.in_flight -= 1;
        self.put_back(batch);
    }

    /// A batch is back. Yields it with its outcome, if that is final.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        backoff: Duration,
        mut batch: Batch,
        outcome: Result<Landed, ClientError>,
    ) -> Option<(Batch, Result<Landed, ClientError>)> {
        self.in_flight -= 1;
        let error = match outcome {
            Ok(landed) => return Some((batch, Ok(landed))),
            Err(error) => error,
        };
        match self.judge(&batch, &error) {
            Verdict::Landed => {
                let (base, append_time) = (None, None);
                return Some((batch, Ok(Landed { base, append_time })));
            }
            Verdict::Failed => {
                // Its number stays unused, and the broker would take none after it.
                self.identity = self.identity.filter(|_| batch.producer.is_none());
                return Some((batch, Err(error)));
            }
            Verdict::Anew => self.identity = None,
            Verdict::Again { unknown } => batch.outcome_unknown |= unknown,
        }
        batch.last_error = Some(error);
        self.recovering = true;
        self.not_before = Some(now + backoff);
        self.put_back(batch);
        None
    }

    fn judge(&self, batch: &Batch, error: &ClientError) -> Verdict {
        match error.code() {
            // It had been written before, so long ago that the broker does not know where.
            Some(ErrorCode::DuplicateSequenceNumber) => Verdict::Landed,
            // One before it came back or failed: it was never its turn.
            Some(ErrorCode::OutOfOrderSequenceNumber)
                if self.recovering || self.identity.is_none() =>
            {
                Verdict::Again { unknown: false }
            }
            Some(ErrorCode::UnknownProducerId) if !batch.outcome_unknown => Verdict::Anew,
            Some(code) if code.is_retriable() => Verdict::Again {
                unknown: matches!(
                    code,
                    ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend
                ),
            },
            _ if error.is_transport() => Verdict::Again { unknown: true },
            _ => Verdict::Failed,
        }
    }

    fn put_back(&mut self, batch: Batch) {
        let at = self.waiting.partition_point(|other| other.id < batch.id);
        self.waiting.insert(at, batch);
    }

    /// Goes on under a new identity. Yields the batches that may have been written under the old
    /// one: sent again they might be there twice, so they have failed.
    pub(super) fn identify(&mut self, identity: Identity) -> Vec<Batch> {
        self.identity = Some(identity);
        self.next_sequence = 0;
        let (unknown, mut sure): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|batch| batch.producer.is_some() && batch.outcome_unknown);
        for batch in &mut sure {
            batch.producer = None;
        }
        self.waiting = sure;
        unknown.into()
    }

    /// Takes out the batches made before `oldest`, which have run out of time.
    pub(super) fn expire(&mut self, oldest: Instant) -> Vec<Batch> {
        let late = |batch: &Batch| batch.created < oldest;
        if self.open.as_ref().is_some_and(late) {
            self.close();
        }
        let count = self.waiting.iter().take_while(|batch| late(batch)).count();
        let expired: Vec<_> = self.waiting.drain(..count).collect();
        // A number that may never be used again leaves a gap.
        if expired.iter().any(|batch| batch.producer.is_some()) {
            self.identity = None;
        }
        expired
    }

    /// When its oldest batch that is not under way was made.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let first = self.waiting.front().or(self.open.as_ref());
        first.map(|batch| batch.created)
    }

    /// Takes out everything that is not under way.
    pub(super) fn drain(&mut self) -> Vec<Batch> {
        self.close();
        self.waiting.drain(..).collect()
    }
}

/// The sequence number `records` after `sequence`; after the greatest comes 0.
fn after(sequence: i32, records: u32) -> i32 {
    let sum = u64::from(sequence.cast_unsigned()) + u64::from(records);
    i32::try_from(sum % (1 << 31)).expect("less than 2^31")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plimsoll_record_batch::{BatchBuilder, Compression, RecordToWrite};
    use plimsoll_types::Timestamp;
    use plimsoll_wire::ApiKey;
    use tokio::sync::{Semaphore, watch};

    use super::super::batch::{Body, News};
    use super::*;

    const BACKOFF: Duration = Duration::from_millis(10);

    struct Line {
        queue: Queue,
        next: u64,
        now: Instant,
    }

    impl Line {
        fn new(batches: u64) -> Self {
            let mut line = Self {
                queue: Queue::default(),
                next: 0,
                now: Instant::now(),
            };
            line.queue.identify(identity(1));
            for _ in 0..batches {
                line.add();
            }
            line
        }

        fn add(&mut self) -> watch::Receiver<News> {
            let mut builder = BatchBuilder::new(Compression::None);
            builder
                .push(&RecordToWrite {
                    timestamp: Timestamp::from_millis(0),
                    key: None,
                    value: None,
                    headers: &[],
                })
                .expect("small");
            let (news, told) = watch::channel(None);
            let permits = Arc::new(Semaphore::new(1));
            self.queue.open = Some(Batch {
                id: self.next,
                body: Body::Growing(Box::new(builder)),
                records: 1,
                created: self.now,
                producer: None,
                outcome_unknown: false,
                last_error: None,
                news,
                room: permits.try_acquire_owned().expect("one"),
            });
            self.next += 1;
            self.queue.close();
            told
        }

        fn leave(&mut self) -> Batch {
            self.now += BACKOFF;
            assert!(self.queue.may_leave_at(self.now, 5).is_some(), "may leave");
            self.queue.leave(true).expect("in line")
        }

        fn settle(
            &mut self,
            batch: Batch,
            outcome: Result<Landed, ClientError>,
        ) -> Option<Result<Landed, ClientError>> {
            let settled = self.queue.settle(self.now, BACKOFF, batch, outcome);
            settled.map(|(_, outcome)| outcome)
        }
    }

    fn identity(id: u64) -> Identity {
        Identity {
            id: ProducerId::new(id).expect("fits"),
            epoch: ProducerEpoch(0),
        }
    }

    fn refused(code: ErrorCode) -> Result<Landed, ClientError> {
        Err(ClientError::Broker {
            api: ApiKey::Produce,
            subject: "t/0".to_owned(),
            code,
            message: None,
        })
    }

    fn lost() -> Result<Landed, ClientError> {
        Err(ClientError::Disconnected {
            address: "a:1".into(),
            cause: None,
        })
    }

    fn number(batch: &Batch) -> (u64, i32) {
        let producer = batch.producer.expect("numbered");
        (producer.id.get(), producer.base_sequence)
    }

    #[test]
    fn batches_are_numbered_as_they_leave() {
        let mut line = Line::new(3);
        let numbers: Vec<_> = (0..3).map(|_| number(&line.leave())).collect();
        assert_eq!(numbers, [(1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn no_batch_passes_one_that_came_back() {
        let mut line = Line::new(3);
        let (first, second) = (line.leave(), line.leave());
        assert!(line.settle(first, lost()).is_none());
        assert_eq!(line.queue.may_leave_at(line.now, 5), None, "second is out");
        let out_of_order = refused(ErrorCode::OutOfOrderSequenceNumber);
        assert!(line.settle(second, out_of_order).is_none());
        let again: Vec<_> = (0..3).map(|_| number(&line.leave())).collect();
        assert_eq!(again, [(1, 0), (1, 1), (1, 2)], "numbers stay");
    }

    #[test]
    fn the_next_attempt_waits_for_the_backoff() {
        let mut line = Line::new(1);
        let first = line.leave();
        line.settle(first, refused(ErrorCode::NotLeaderOrFollower));
        assert_eq!(
            line.queue.may_leave_at(line.now, 5),
            Some(line.now + BACKOFF)
        );
    }

    #[test]
    fn a_duplicate_has_landed() {
        let mut line = Line::new(1);
        let first = line.leave();
        let outcome = line.settle(first, refused(ErrorCode::DuplicateSequenceNumber));
        assert!(matches!(outcome, Some(Ok(Landed { base: None, .. }))));
    }

    #[test]
    fn after_a_batch_that_failed_the_next_gets_a_new_identity() {
        let mut line = Line::new(2);
        let (first, second) = (line.leave(), line.leave());
        let outcome = line.settle(first, refused(ErrorCode::MessageTooLarge));
        assert!(matches!(outcome, Some(Err(_))));
        // Its predecessor's number was never used.
        let outcome = line.settle(second, refused(ErrorCode::OutOfOrderSequenceNumber));
        assert!(outcome.is_none(), "sent again under a new identity");
        assert!(line.queue.wants_identity());
        assert!(line.queue.identify(identity(2)).is_empty());
        assert_eq!(number(&line.leave()), (2, 0));
    }

    #[test]
    fn a_batch_that_may_have_been_written_never_changes_its_identity() {
        let mut line = Line::new(2);
        let (first, second) = (line.leave(), line.leave());
        line.settle(first, refused(ErrorCode::MessageTooLarge));
        assert!(line.settle(second, lost()).is_none());
        let failed = line.queue.identify(identity(2));
        assert_eq!(failed.len(), 1, "it might be there twice");
    }

    #[test]
    fn expired_batches_leave_a_gap_that_needs_a_new_identity() {
        let mut line = Line::new(2);
        let first = line.leave();
        line.settle(first, lost());
        let expired = line.queue.expire(line.now + BACKOFF);
        assert_eq!(expired.len(), 2);
        line.add();
        assert!(line.queue.wants_identity());
    }

    #[test]
    fn batches_that_were_never_sent_expire_without_a_gap() {
        let mut line = Line::new(1);
        assert_eq!(line.queue.expire(line.now + BACKOFF).len(), 1);
        line.add();
        assert_eq!(number(&line.leave()), (1, 0));
    }

    #[test]
    fn a_restamped_batch_carries_its_new_identity() {
        let mut line = Line::new(1);
        let mut first = line.leave();
        first.build().expect("small");
        line.settle(first, refused(ErrorCode::UnknownProducerId));
        line.queue.identify(identity(9));
        let mut again = line.leave();
        let bytes = again.build().expect("built");
        let parsed = plimsoll_record_batch::Batch::parse(&bytes).expect("checksum taken anew");
        assert_eq!(parsed.header().producer.map(|p| p.id.get()), Some(9));
    }

    #[test]
    fn sequence_numbers_begin_again_after_the_greatest() {
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 1, 5), 3);
        assert_eq!(after(0, 5), 5);
    }
}
