//! What clients did and saw, judged as it happens and once more at the end.
//!
//! Every record carries a number of its own. The rules, by name:
//! - *lost*: an acknowledged record is in the log, at the offset that was acknowledged;
//! - *twice*: no record of an idempotent producer is at two offsets;
//! - *order*: one producer's records stand in the order in which it sent them;
//! - *changed*: an offset below the high watermark holds the same record for everybody, for ever;
//! - *gap*: a consumer sees every offset;
//! - *invented*: what is read was sent, to that partition;
//! - *trimmed*: a log begins no earlier than what was deleted, and no later than what somebody
//!   asked to have deleted; only what lies before that may be missing;
//! - *back*: no client sees a partition's high watermark go back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

/// One record's number.
pub(crate) type Number = u64;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// What happened, in words.
    pub(crate) what: String,
    pub(crate) at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} s: {}: {}",
            self.at.as_secs_f64(),
            self.rule,
            self.what
        )
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody knows.
    Unknown,
    /// It is in the log for good, here.
    Acked(i64),
    /// It is not in the log.
    Refused,
}

struct Sent {
    partition: i32,
    producer: u32,
    outcome: Outcome,
    /// Where it was read.
    found: Option<i64>,
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    /// By partition and offset, what stood there when it was first read.
    read: BTreeMap<(i32, i64), Number>,
    /// By partition, up to where somebody asked for deletion, and up to where it was done.
    trims: BTreeMap<i32, (i64, i64)>,
    violations: Vec<Violation>,
    acked: u64,
    reads: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct History(Mutex<State>);

/// Violations kept; the first ones tell the most.
const MAX_VIOLATIONS: usize = 20;

impl State {
    fn broke(&mut self, at: Duration, rule: &'static str, what: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { rule, what, at });
        }
    }
}

impl History {
    /// Numbers for records that `producer` is about to send.
    pub(crate) fn begin(&self, partition: i32, producer: u32, count: u32) -> Vec<Number> {
        let mut state = self.0.lock();
        let first = state.sent.len() as Number;
        for _ in 0..count {
            state.sent.push(Sent {
                partition,
                producer,
                outcome: Outcome::Unknown,
                found: None,
            });
        }
        (first..first + Number::from(count)).collect()
    }

    /// The batch of these records was acknowledged at `base`.
    pub(crate) fn acked(&self, numbers: &[Number], base: i64) {
        let mut state = self.0.lock();
        for (number, offset) in numbers.iter().zip(base..) {
            if let Some(sent) = sent_mut(&mut state, *number) {
                sent.outcome = Outcome::Acked(offset);
            }
        }
        state.acked += numbers.len() as u64;
    }

    /// The batch of these records was refused for good.
    pub(crate) fn refused(&self, numbers: &[Number]) {
        let mut state = self.0.lock();
        for number in numbers {
            if let Some(sent) = sent_mut(&mut state, *number) {
                sent.outcome = Outcome::Refused;
            }
        }
    }

    pub(crate) fn broke(&self, at: Duration, rule: &'static str, what: String) {
        self.0.lock().broke(at, rule, what);
    }

    /// Somebody read this record there. `who` is for the story.
    pub(crate) fn read(
        &self,
        at: Duration,
        who: &str,
        partition: i32,
        offset: i64,
        number: Number,
    ) {
        let mut state = self.0.lock();
        state.reads += 1;
        let before = *state.read.entry((partition, offset)).or_insert(number);
        if before != number {
            let what = format!(
                "{who} read record {number} at {partition}/{offset}, where record {before} was read before"
            );
            state.broke(at, "changed", what);
        }
        let Some(sent) = sent_mut(&mut state, number) else {
            let what =
                format!("{who} read record {number} at {partition}/{offset}, which nobody sent");
            state.broke(at, "invented", what);
            return;
        };
        let (meant, outcome) = (sent.partition, sent.outcome);
        let found = *sent.found.get_or_insert(offset);
        if meant != partition {
            let what = format!(
                "{who} read record {number} in partition {partition}, it was sent to {meant}"
            );
            state.broke(at, "invented", what);
        }
        if found != offset {
            let what =
                format!("{who} read record {number} at {partition}/{offset}, it is at {found} too");
            state.broke(at, "twice", what);
        }
        match outcome {
            Outcome::Acked(acked) if acked != offset => {
                let what = format!(
                    "{who} read record {number} at {partition}/{offset}, it was acknowledged at {acked}"
                );
                state.broke(at, "changed", what);
            }
            Outcome::Refused => {
                let what = format!(
                    "{who} read record {number} at {partition}/{offset}, which was refused"
                );
                state.broke(at, "invented", what);
            }
            Outcome::Acked(_) | Outcome::Unknown => {}
        }
    }

    /// Judges the logs as they are in the end: the numbers of each partition, from its first
    /// offset on.
    pub(crate) fn judge(&self, at: Duration, logs: &BTreeMap<i32, BTreeMap<i64, Number>>) {
        for (partition, log) in logs {
            for (offset, number) in log {
                self.read(at, "the judge", *partition, *offset, *number);
            }
        }
        let mut state = self.0.lock();
        let mut lost = Vec::new();
        for (number, sent) in (0..).zip(&state.sent) {
            let Outcome::Acked(offset) = sent.outcome else {
                continue;
            };
            let trims = state.trims.get(&sent.partition);
            if trims.is_some_and(|(asked, _)| offset < *asked) {
                continue;
            }
            let there = logs.get(&sent.partition).and_then(|log| log.get(&offset));
            if there != Some(&number) {
                let partition = sent.partition;
                lost.push(match there {
                    Some(other) => format!("record {number} was acknowledged at {partition}/{offset}, where record {other} is"),
                    None => format!("record {number} was acknowledged at {partition}/{offset}, where nothing is"),
                });
            }
        }
        for what in lost {
            state.broke(at, "lost", what);
        }
        for (partition, log) in logs {
            let mut last: BTreeMap<u32, Number> = BTreeMap::new();
            let mut broken = Vec::new();
            for (offset, number) in log {
                let Some(sent) = usize::try_from(*number)
                    .ok()
                    .and_then(|at| state.sent.get(at))
                else {
                    continue;
                };
                let before = last.insert(sent.producer, *number);
                if before.is_some_and(|before| before >= *number) {
                    broken.push(format!(
                        "record {number} of producer {} stands at {partition}/{offset}, behind a later one",
                        sent.producer
                    ));
                }
            }
            for what in broken {
                state.broke(at, "order", what);
            }
        }
    }

    /// Somebody asks to have all below `offset` deleted.
    pub(crate) fn trims(&self, partition: i32, offset: i64) {
        let mut state = self.0.lock();
        let (asked, _) = state.trims.entry(partition).or_default();
        *asked = (*asked).max(offset);
    }

    /// It was told that this was done, and that the log begins at `first`.
    pub(crate) fn was_trimmed(&self, at: Duration, partition: i32, offset: i64, first: i64) {
        let mut state = self.0.lock();
        let (asked, done) = state.trims.entry(partition).or_default();
        *done = (*done).max(offset).max(first.min(*asked));
        if first < offset || first > *asked {
            let what = format!(
                "all below {partition}/{offset} was to be deleted, and the log begins at {first}"
            );
            state.broke(at, "trimmed", what);
        }
    }

    /// Up to where records may be gone.
    pub(crate) fn trims_up_to(&self, partition: i32) -> i64 {
        self.0
            .lock()
            .trims
            .get(&partition)
            .map_or(0, |(asked, _)| *asked)
    }

    /// Up to where records are gone for good.
    pub(crate) fn trimmed(&self, partition: i32) -> i64 {
        self.0
            .lock()
            .trims
            .get(&partition)
            .map_or(0, |(_, done)| *done)
    }

    /// The highest offset that anybody read.
    pub(crate) fn read_up_to(&self, partition: i32) -> i64 {
        let state = self.0.lock();
        let mut read = state.read.range((partition, 0)..(partition + 1, 0));
        read.next_back().map_or(0, |((_, offset), _)| *offset)
    }

    /// A node's replica begins there in the end.
    pub(crate) fn begins(&self, at: Duration, node: u32, partition: i32, first: i64) {
        let mut state = self.0.lock();
        let (asked, done) = state.trims.get(&partition).copied().unwrap_or_default();
        if first < done || first > asked {
            let what = format!(
                "node {node}'s replica of partition {partition} begins at {first}; {done} is                  what was deleted, and {asked} was asked for at most"
            );
            state.broke(at, "trimmed", what);
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.0.lock().violations.clone()
    }

    /// Records sent, acknowledged and read.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let state = self.0.lock();
        (state.sent.len() as u64, state.acked, state.reads)
    }
}

fn sent_mut(state: &mut State, number: Number) -> Option<&mut Sent> {
    state.sent.get_mut(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::ZERO;

    /// A history of two producers with three acknowledged records each, and its true log.
    fn good() -> (History, BTreeMap<i32, BTreeMap<i64, Number>>) {
        let history = History::default();
        let mut log = BTreeMap::new();
        for turn in 0..3 {
            for producer in 0..2 {
                let numbers = history.begin(0, producer, 1);
                let offset = turn * 2 + i64::from(producer);
                history.acked(&numbers, offset);
                log.insert(offset, numbers[0]);
            }
        }
        (history, BTreeMap::from([(0, log)]))
    }

    fn rules(history: &History) -> Vec<&'static str> {
        history
            .violations()
            .iter()
            .map(|violation| violation.rule)
            .collect()
    }

    #[test]
    fn good_history_breaks_no_rule() {
        let (history, logs) = good();
        history.read(AT, "a consumer", 0, 0, 0);
        history.judge(AT, &logs);
        assert_eq!(rules(&history), [""; 0]);
    }

    #[test]
    fn acknowledged_record_that_is_missing_is_lost() {
        let (history, mut logs) = good();
        logs.get_mut(&0).unwrap().remove(&5);
        history.judge(AT, &logs);
        assert_eq!(rules(&history), ["lost"]);
    }

    #[test]
    fn what_was_deleted_is_not_lost_and_nothing_else_may_go() {
        let (history, mut logs) = good();
        history.trims(0, 3);
        history.was_trimmed(AT, 0, 3, 3);
        let log = logs.get_mut(&0).unwrap();
        *log = log.split_off(&3);
        history.judge(AT, &logs);
        history.begins(AT, 1, 0, 3);
        assert_eq!(rules(&history), [""; 0]);
        assert_eq!((history.trimmed(0), history.trims_up_to(0)), (3, 3));
        history.begins(AT, 1, 0, 2);
        history.begins(AT, 1, 0, 4);
        history.was_trimmed(AT, 0, 3, 2);
        assert_eq!(rules(&history), ["trimmed"; 3]);
        logs.get_mut(&0).unwrap().remove(&3);
        history.judge(AT, &logs);
        assert!(rules(&history).contains(&"lost"));
    }

    #[test]
    fn record_that_is_there_again_is_twice() {
        let (history, mut logs) = good();
        logs.get_mut(&0).unwrap().insert(6, 3);
        history.judge(AT, &logs);
        assert!(rules(&history).contains(&"twice"));
    }

    #[test]
    fn records_of_one_producer_that_changed_places_are_out_of_order() {
        let (history, mut logs) = good();
        let log = logs.get_mut(&0).unwrap();
        let (a, b) = (log[&2], log[&4]);
        log.insert(2, b);
        log.insert(4, a);
        history.judge(AT, &logs);
        assert!(rules(&history).contains(&"order"));
    }

    #[test]
    fn offset_that_held_another_record_before_has_changed() {
        let (history, logs) = good();
        let unacked = history.begin(0, 7, 1);
        history.read(AT, "a consumer", 0, 4, unacked[0]);
        history.judge(AT, &logs);
        assert!(rules(&history).contains(&"changed"));
    }

    #[test]
    fn record_that_nobody_sent_or_that_was_refused_is_invented() {
        let (history, _) = good();
        history.read(AT, "a consumer", 0, 9, 99);
        let refused = history.begin(0, 0, 1);
        history.refused(&refused);
        history.read(AT, "a consumer", 0, 10, refused[0]);
        assert_eq!(rules(&history), ["invented", "invented"]);
    }
}
