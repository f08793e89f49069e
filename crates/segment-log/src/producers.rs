//! What a log knows of its idempotent producers: epoch and last batches of each.
//!
//! A function of the batches in the log and of their timestamps alone, so that every replica and
//! every restart comes to the same verdicts. Not here: transactions, files, clocks, who may produce.
//!
//! Always holds (L6): a producer's remembered batches follow each other in sequence; there are at
//! most [`WINDOW`] of them, as clients may have that many in flight.

use std::collections::HashMap;
use std::time::Duration;

use plimsoll_record_batch::{BatchHeader, Producer};
use plimsoll_types::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// Batches remembered of each producer.
pub const WINDOW: usize = 5;

/// What to do with a producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Append it. Also for batches without a producer.
    Append,
    /// It is in the log already: answer as the first time.
    Duplicate {
        /// Base offset it has there.
        base: Offset,
        /// Its last offset.
        last: Offset,
        /// Its greatest timestamp (its append time, for topics that stamp that).
        timestamp: Timestamp,
    },
    /// A batch before it is missing, or it is older than the batches remembered.
    OutOfOrder {
        /// The sequence number that would be right.
        expected: i32,
        /// Its own.
        got: i32,
    },
    /// A producer of the same id with a higher epoch took over.
    Fenced {
        /// That epoch.
        current: ProducerEpoch,
    },
    /// Nothing is known of the producer and it does not begin at 0: the log forgot it. Kafka
    /// appends it (KIP-360).
    UnknownProducer,
}

/// A batch that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base: Offset,
    pub(crate) last: Offset,
    pub(crate) timestamp: Timestamp,
}

/// One producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) epoch: ProducerEpoch,
    /// The log's time when it was last heard of.
    pub(crate) heard: Timestamp,
    batches: [Option<Remembered>; WINDOW],
}

/// The idempotent producers of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerStates {
    expiry: Duration,
    /// The greatest timestamp the log has seen: what time it is, as far as expiry goes.
    pub(crate) log_time: Timestamp,
    pub(crate) producers: HashMap<ProducerId, ProducerState>,
}

/// What one producer looks like to outsiders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Sequence number of its last record; `None` if none is remembered.
    pub last_sequence: Option<i32>,
    /// Last offset of its last batch.
    pub last_offset: Option<Offset>,
    /// The log's time when it was last heard of.
    pub last_timestamp: Timestamp,
}

impl ProducerState {
    pub(crate) fn new(epoch: ProducerEpoch, heard: Timestamp) -> Self {
        Self {
            epoch,
            heard,
            batches: [None; WINDOW],
        }
    }

    /// Remembered batches, oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Remembered> {
        self.batches.iter().flatten()
    }

    pub(crate) fn last(&self) -> Option<&Remembered> {
        self.batches().last()
    }

    /// Remembers one more batch, forgetting the oldest.
    pub(crate) fn remember(&mut self, batch: Remembered) {
        match self.batches.iter_mut().find(|slot| slot.is_none()) {
            Some(free) => *free = Some(batch),
            None => {
                self.batches.rotate_left(1);
                if let Some(newest) = self.batches.last_mut() {
                    *newest = Some(batch);
                }
            }
        }
    }

    fn check(&self, producer: &Producer, last_sequence: i32) -> Verdict {
        let got = producer.base_sequence;
        if producer.epoch < self.epoch {
            let current = self.epoch;
            return Verdict::Fenced { current };
        }
        if producer.epoch > self.epoch {
            return in_order(0, got);
        }
        let same = |known: &&Remembered| {
            known.first_sequence == got && known.last_sequence == last_sequence
        };
        if let Some(known) = self.batches().find(same) {
            return Verdict::Duplicate {
                base: known.base,
                last: known.last,
                timestamp: known.timestamp,
            };
        }
        match self.last() {
            Some(last) => in_order(after(last.last_sequence), got),
            None => in_order(0, got),
        }
    }

    /// Takes in a batch that was appended.
    fn apply(&mut self, producer: &Producer, header: &BatchHeader) {
        if producer.epoch != self.epoch {
            *self = Self::new(producer.epoch, self.heard);
        }
        if header.attributes.is_control() || producer.base_sequence < 0 {
            return;
        }
        let newer = self.last().is_none_or(|last| last.last < header.base);
        debug_assert!(newer, "L6: remembered in the order of the log");
        self.remember(Remembered {
            first_sequence: producer.base_sequence,
            last_sequence: last_sequence(producer, header),
            base: header.base,
            last: header.last_offset(),
            timestamp: header.max_timestamp,
        });
    }
}

fn in_order(expected: i32, got: i32) -> Verdict {
    if expected == got {
        Verdict::Append
    } else {
        Verdict::OutOfOrder { expected, got }
    }
}

/// The sequence number after this one: they begin again at 0.
fn after(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

fn last_sequence(producer: &Producer, header: &BatchHeader) -> i32 {
    let delta = i64::from(header.last_offset_delta);
    let sum = i64::from(producer.base_sequence) + delta;
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

impl ProducerStates {
    pub(crate) fn new(expiry: Duration) -> Self {
        Self {
            expiry,
            log_time: Timestamp::NONE,
            producers: HashMap::new(),
        }
    }

    pub(crate) fn set_expiry(&mut self, expiry: Duration) {
        self.expiry = expiry;
    }

    /// What to do with a batch that would be appended now. Control batches are always appended.
    pub fn check(&self, header: &BatchHeader) -> Verdict {
        let Some(producer) = &header.producer else {
            return Verdict::Append;
        };
        if header.attributes.is_control() {
            return Verdict::Append;
        }
        match self.known(producer.id) {
            Some(state) => state.check(producer, last_sequence(producer, header)),
            None if producer.base_sequence == 0 => Verdict::Append,
            None => Verdict::UnknownProducer,
        }
    }

    /// Checks for several batches that are to be appended one after another from `log_end` on.
    #[must_use]
    pub fn admission(&self, log_end: Offset) -> Admission<'_> {
        Admission {
            states: self,
            next: log_end,
            ahead: HashMap::new(),
        }
    }

    /// All producers that are not forgotten, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ProducerView> {
        self.producers
            .iter()
            .filter(|(_, state)| !self.is_expired(state))
            .map(|(id, state)| {
                let last = state.last();
                ProducerView {
                    id: *id,
                    epoch: state.epoch,
                    last_sequence: last.map(|batch| batch.last_sequence),
                    last_offset: last.map(|batch| batch.last),
                    last_timestamp: state.heard,
                }
            })
    }

    /// Takes in a batch that was appended, at its final offset.
    pub(crate) fn apply(&mut self, header: &BatchHeader) {
        self.log_time = self.log_time.max(header.max_timestamp);
        let Some(producer) = &header.producer else {
            return;
        };
        let known = self
            .producers
            .get(&producer.id)
            .filter(|state| !self.is_expired(state));
        let mut state = known
            .copied()
            .unwrap_or_else(|| ProducerState::new(producer.epoch, self.log_time));
        state.apply(producer, header);
        state.heard = self.log_time;
        self.producers.insert(producer.id, state);
    }

    /// Drops whom the log has not heard of for too long.
    pub(crate) fn expire(&mut self) {
        let (log_time, expiry) = (self.log_time, self.expiry);
        self.producers
            .retain(|_, state| log_time.since(state.heard) <= expiry);
    }

    fn known(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers
            .get(&id)
            .filter(|state| !self.is_expired(state))
    }

    fn is_expired(&self, state: &ProducerState) -> bool {
        self.log_time.since(state.heard) > self.expiry
    }
}

/// Checks batches of one append against the log and against each other: a producer with several
/// batches in flight may have more than one of them in the same append.
#[derive(Debug)]
pub struct Admission<'a> {
    states: &'a ProducerStates,
    /// Where the next batch goes.
    next: Offset,
    /// Producers as they will be after the batches admitted so far.
    ahead: HashMap<ProducerId, ProducerState>,
}

impl Admission<'_> {
    /// What to do with the next batch. After [`Verdict::Append`] it is taken to be appended, with
    /// the offset after those before it; call [`Admission::append_anyway`] to append one that the
    /// verdict does not admit.
    pub fn check(&mut self, header: &BatchHeader) -> Verdict {
        let verdict = match header
            .producer
            .as_ref()
            .and_then(|p| self.ahead.get(&p.id).zip(Some(p)))
        {
            Some((state, producer)) if !header.attributes.is_control() => {
                state.check(producer, last_sequence(producer, header))
            }
            _ => self.states.check(header),
        };
        if verdict == Verdict::Append {
            self.append_anyway(header);
        }
        verdict
    }

    /// Takes the next batch to be appended whatever its verdict was.
    pub fn append_anyway(&mut self, header: &BatchHeader) {
        let placed = BatchHeader {
            base: self.next,
            ..*header
        };
        self.next = placed.end();
        let Some(producer) = &header.producer else {
            return;
        };
        let known = self
            .ahead
            .get(&producer.id)
            .or_else(|| self.states.known(producer.id));
        let mut state = known
            .copied()
            .unwrap_or_else(|| ProducerState::new(producer.epoch, self.states.log_time));
        state.apply(producer, &placed);
        self.ahead.insert(producer.id, state);
    }
}
