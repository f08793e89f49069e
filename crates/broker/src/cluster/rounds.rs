//! Who ticks the replicas: one, and another where that one hangs.
//!
//! A tick may wait for a log's writer, and that one for a disk, without end. So there are several
//! who could: each does a round only while all before it hang in theirs. A round passes over the
//! replicas in which another hangs. That everybody hangs is told by the heartbeat.

use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_types::Monotonic;

/// How many there are.
pub(super) const TICKERS: usize = 3;
/// A round that takes this long hangs.
const HANGS: Duration = Duration::from_millis(500);
/// From here on the node is no good leader.
const ILL: Duration = Duration::from_secs(1);

/// The rounds that are under way.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<[Option<Monotonic>; TICKERS]>);

impl Rounds {
    /// Whether the ticker of this number is to do a round now; then it says when it is over.
    pub(super) fn begin(&self, ticker: usize, now: Monotonic) -> bool {
        let mut rounds = self.0.lock();
        let hangs = |round: &Option<Monotonic>| round.is_some_and(|at| now.since(at) >= HANGS);
        let Some((own, before)) = rounds.get_mut(..=ticker).and_then(|r| r.split_last_mut()) else {
            return false;
        };
        if !before.iter().all(hangs) {
            return false;
        }
        *own = Some(now);
        true
    }

    /// The round is over.
    pub(super) fn end(&self, ticker: usize) {
        if let Some(round) = self.0.lock().get_mut(ticker) {
            *round = None;
        }
    }

    /// For how long a round has hung that says that this node's disk does not answer.
    pub(super) fn ill_for(&self, now: Monotonic) -> Option<Duration> {
        let rounds = self.0.lock();
        let longest = rounds.iter().flatten().map(|at| now.since(*at)).max();
        longest.filter(|longest| *longest >= ILL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn another_ticks_while_one_hangs_and_the_node_says_so() {
        let rounds = Rounds::default();
        assert!(!rounds.begin(1, at(0)), "the first one does");
        assert!(rounds.begin(0, at(0)));
        assert!(!rounds.begin(1, at(499)));
        assert!(rounds.begin(1, at(500)));
        assert!(!rounds.begin(2, at(600)), "the second one does");
        rounds.end(1);
        assert_eq!(rounds.ill_for(at(999)), None);
        assert_eq!(rounds.ill_for(at(1200)), Some(Duration::from_millis(1200)));
        assert!(rounds.begin(1, at(1200)));
        assert!(rounds.begin(2, at(1700)), "both hang");
        rounds.end(0);
        assert!(!rounds.begin(1, at(1800)) && rounds.begin(0, at(1800)));
        rounds.end(1);
        rounds.end(2);
        assert_eq!(rounds.ill_for(at(1900)), None);
    }
}
