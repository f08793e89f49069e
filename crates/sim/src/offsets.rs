//! What a consumer group committed and was given, judged as it happens.
//!
//! The rules, by name:
//! - *shared*: in one generation a partition has one owner;
//! - *forgotten*: a committed offset that is fetched is one that was committed, and none that was
//!   overwritten before the question was asked by a commit that was acknowledged;
//! - *skipped*: what is delivered to the group begins at most where what was delivered before it
//!   ended: at least once, with no gap.
//!
//! In the end the group must have read and committed everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::history::History;

/// A moment in the order of what was seen; finer than time.
pub(crate) type Tick = u64;

struct Commit {
    partition: i32,
    offset: i64,
    sent: Tick,
    /// When it was acknowledged.
    acked: Option<Tick>,
}

#[derive(Default)]
struct State {
    tick: Tick,
    commits: BTreeMap<u64, Commit>,
    next: u64,
    owners: BTreeMap<(i32, i32), String>,
    /// By partition, up to where everything was delivered to somebody.
    covered: BTreeMap<i32, i64>,
    /// By partition, what a member was last told to be committed.
    told: BTreeMap<i32, i64>,
    /// The newest generation that was told.
    generation: i32,
    rebalances: u64,
}

impl State {
    fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Whether `commit` was overwritten before `tick` by one that was acknowledged.
    fn is_overwritten(&self, acked: Tick, partition: i32, tick: Tick) -> bool {
        self.commits.values().any(|later| {
            later.partition == partition
                && later.sent > acked
                && later.acked.is_some_and(|acked| acked < tick)
        })
    }
}

/// See the module.
pub(crate) struct Offsets {
    history: Arc<History>,
    state: Mutex<State>,
}

impl Offsets {
    pub(crate) fn new(history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            history: Arc::clone(history),
            state: Mutex::default(),
        })
    }

    /// A member was told that it owns a partition.
    pub(crate) fn owns(&self, at: Duration, generation: i32, partition: i32, member: &str) {
        let mut state = self.state.lock();
        if generation > state.generation {
            state.generation = generation;
            state.rebalances += 1;
        }
        let owner = state
            .owners
            .entry((generation, partition))
            .or_insert_with(|| member.to_owned());
        if owner != member {
            let what = format!(
                "in generation {generation} partition {partition} is {member}'s, and was {owner}'s"
            );
            self.history.broke(at, "shared", what);
        }
    }

    /// A commit is sent; its number.
    pub(crate) fn commits(&self, partition: i32, offset: i64) -> u64 {
        let mut state = self.state.lock();
        let sent = state.tick();
        state.next += 1;
        let number = state.next;
        let commit = Commit {
            partition,
            offset,
            sent,
            acked: None,
        };
        state.commits.insert(number, commit);
        number
    }

    /// It was acknowledged.
    pub(crate) fn committed(&self, number: u64) {
        let mut state = self.state.lock();
        let tick = state.tick();
        if let Some(commit) = state.commits.get_mut(&number) {
            commit.acked = Some(tick);
        }
    }

    /// It was refused for good.
    pub(crate) fn refused(&self, number: u64) {
        self.state.lock().commits.remove(&number);
    }

    /// Somebody is about to ask for committed offsets.
    pub(crate) fn asks(&self) -> Tick {
        self.state.lock().tick()
    }

    /// This is the answer to who asked then; -1 for none.
    pub(crate) fn fetched(&self, at: Duration, who: &str, partition: i32, value: i64, asked: Tick) {
        let mut state = self.state.lock();
        state.told.insert(partition, value);
        let state = state;
        let never = (value == -1).then_some(Some(0));
        let matching = state.commits.values();
        let matching = matching
            .filter(|commit| (commit.partition, commit.offset) == (partition, value))
            .map(|commit| commit.acked);
        let possible = matching.chain(never).any(|acked| match acked {
            Some(acked) => !state.is_overwritten(acked, partition, asked),
            None => true,
        });
        if !possible {
            let newest = state.commits.values().filter(|commit| {
                commit.partition == partition && commit.acked.is_some_and(|acked| acked < asked)
            });
            let newest = newest.max_by_key(|commit| commit.acked);
            let what = format!(
                "{who} was told that {value} is committed of partition {partition}; {:?} was \
                 acknowledged last",
                newest.map(|commit| commit.offset)
            );
            drop(state);
            self.history.broke(at, "forgotten", what);
        }
    }

    /// The group was given the records from `from` up to `to`.
    pub(crate) fn delivered(&self, at: Duration, who: &str, partition: i32, from: i64, to: i64) {
        let mut state = self.state.lock();
        let covered = state.covered.entry(partition).or_insert(0);
        // What was deleted is not there to be given.
        let gone = self.history.trims_up_to(partition);
        if from > (*covered).max(gone) {
            let what = format!(
                "{who} was given partition {partition} from {from} on, and nobody what lies \
                 between {covered} and that"
            );
            self.history.broke(at, "skipped", what);
        }
        *covered = (*covered).max(to);
    }

    /// What the group has not read or not committed, while the logs end there.
    pub(crate) fn behind(&self, ends: &BTreeMap<i32, i64>) -> Option<String> {
        let state = self.state.lock();
        for (partition, end) in ends {
            let read = state.covered.get(partition).copied().unwrap_or(0);
            let acked = state.commits.values().filter(|commit| {
                commit.partition == *partition && commit.acked.is_some() && commit.offset == read
            });
            let known = acked.count() > 0 || state.told.get(partition) == Some(&read);
            if read < *end || (read > 0 && !known) {
                let told = state.told.get(partition);
                let acked = state
                    .commits
                    .values()
                    .filter(|commit| commit.partition == *partition && commit.acked.is_some());
                let acked = acked.map(|commit| commit.offset).max();
                return Some(format!(
                    "the group has read partition {partition} up to {read} of {end}, and not \
                     committed all of it: {acked:?} was acknowledged, {told:?} told"
                ));
            }
        }
        None
    }

    /// How often the members were assigned anew.
    pub(crate) fn rebalances(&self) -> u64 {
        self.state.lock().rebalances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::ZERO;

    fn group() -> (Arc<History>, Arc<Offsets>) {
        let history = Arc::default();
        let offsets = Offsets::new(&history);
        (history, offsets)
    }

    fn commit(offsets: &Offsets, offset: i64) {
        let number = offsets.commits(0, offset);
        offsets.committed(number);
    }

    fn rules(history: &History) -> Vec<&'static str> {
        let broken = history.violations();
        broken.iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn good_group_breaks_no_rule() {
        let (history, offsets) = group();
        offsets.owns(AT, 1, 0, "a");
        offsets.fetched(AT, "a", 0, -1, offsets.asks());
        offsets.delivered(AT, "a", 0, 0, 5);
        let asked = offsets.asks();
        commit(&offsets, 5);
        // Which of the two it sees is open while the commit is on its way.
        offsets.fetched(AT, "a", 0, -1, asked);
        offsets.fetched(AT, "a", 0, 5, asked);
        let unknown = offsets.commits(0, 7);
        offsets.owns(AT, 2, 0, "b");
        offsets.delivered(AT, "b", 0, 5, 7);
        assert!(offsets.behind(&BTreeMap::from([(0, 7)])).is_some());
        offsets.fetched(AT, "b", 0, 7, offsets.asks());
        assert_eq!(rules(&history), [""; 0]);
        assert_eq!(offsets.behind(&BTreeMap::from([(0, 7)])), None, "as told");
        offsets.committed(unknown);
        assert_eq!(offsets.behind(&BTreeMap::from([(0, 7)])), None);
        assert!(offsets.behind(&BTreeMap::from([(0, 8)])).is_some());
    }

    #[test]
    fn committed_offset_that_is_gone_is_forgotten() {
        let (history, offsets) = group();
        commit(&offsets, 5);
        commit(&offsets, 9);
        offsets.fetched(AT, "a", 0, 5, offsets.asks());
        offsets.fetched(AT, "a", 0, -1, offsets.asks());
        offsets.fetched(AT, "a", 0, 7, offsets.asks());
        let refused = offsets.commits(0, 20);
        offsets.refused(refused);
        offsets.fetched(AT, "a", 0, 20, offsets.asks());
        assert_eq!(rules(&history), ["forgotten"; 4]);
    }

    #[test]
    fn two_owners_of_a_generation_share() {
        let (history, offsets) = group();
        offsets.owns(AT, 1, 0, "a");
        offsets.owns(AT, 1, 0, "b");
        assert_eq!(rules(&history), ["shared"]);
    }

    #[test]
    fn records_that_nobody_was_given_are_skipped() {
        let (history, offsets) = group();
        offsets.delivered(AT, "a", 0, 0, 5);
        offsets.delivered(AT, "b", 0, 6, 9);
        assert_eq!(rules(&history), ["skipped"]);
    }
}
