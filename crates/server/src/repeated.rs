//! Log lines that a peer can cause at will: one in ten seconds, with a count of the rest.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

const QUIET: Duration = Duration::from_secs(10);

/// Decides which of many equal events are logged.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Repeated {
    /// Whether to log this occurrence, and if so how many were not logged before it.
    pub(crate) fn should_log(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .last
            .is_some_and(|last| now.duration_since(last) < QUIET)
        {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_and_told_with_the_next_line() {
        let repeated = Repeated::default();
        let start = Instant::now();
        assert_eq!(repeated.should_log(start), Some(0));
        assert_eq!(repeated.should_log(start + QUIET / 2), None);
        assert_eq!(repeated.should_log(start + QUIET / 2), None);
        assert_eq!(repeated.should_log(start + QUIET), Some(2));
        assert_eq!(repeated.should_log(start + QUIET * 2), Some(0));
    }
}
