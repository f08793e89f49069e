//! What a run did, turn by turn: to see where two runs of one plan part.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::kernel::Owner;

/// One poll of a task, or one thing done at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) at: Duration,
    pub(crate) owner: Owner,
    /// The task's number, or the alarm's.
    pub(crate) id: u64,
    /// How often chance was asked before.
    pub(crate) draws: u64,
    /// Who made the task.
    pub(crate) place: &'static Location<'static>,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            owner,
            id,
            draws,
            place,
        } = self;
        let (file, line) = (place.file(), place.line());
        let file = file.rsplit('/').next().unwrap_or(file);
        write!(
            f,
            "{:.6} s, node {} life {}: task {id} of {file}:{line}, after {draws} draws",
            at.as_secs_f64(),
            owner.node,
            owner.life
        )
    }
}

/// All turns of a run, as far as there is room for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Vec<Turn>);

/// Turns kept: some 250 MB of them.
const MAX_TURNS: usize = 4_000_000;
/// Turns told before the one in which two runs part.
const BEFORE: usize = 4;

impl Trace {
    pub(crate) fn push(&mut self, turn: Turn) {
        if self.0.len() < MAX_TURNS {
            self.0.push(turn);
        }
    }

    /// The first turn that is another one in `other`, with those before it; `None`: what was kept
    /// is the same.
    pub(crate) fn parting(&self, other: &Self) -> Option<String> {
        let most = self.0.len().max(other.0.len());
        let first = (0..most).find(|at| self.0.get(*at) != other.0.get(*at))?;
        let told = |trace: &Self| match trace.0.get(first) {
            Some(turn) => turn.to_string(),
            None => "it was over".to_owned(),
        };
        let before = self.0.get(first.saturating_sub(BEFORE)..first);
        let before: Vec<_> = before.unwrap_or_default().iter().collect();
        let mut text = format!("two runs part in turn {first}");
        for turn in before {
            text.push_str(&format!("\n    both:   {turn}"));
        }
        text.push_str(&format!("\n    first:  {}", told(self)));
        text.push_str(&format!("\n    second: {}", told(other)));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

    use super::*;

    fn turn(id: u64) -> Turn {
        Turn {
            at: Duration::from_millis(id),
            owner: Owner::WORLD,
            id,
            draws: 0,
            place: Location::caller(),
        }
    }

    #[test]
    fn two_runs_part_where_they_first_differ() {
        let (one, other) = ([1, 2, 3], [1, 2, 4]);
        let trace = |ids: &[u64]| Trace(ids.iter().map(|id| turn(*id)).collect());
        assert_eq!(trace(&one).parting(&trace(&one)), None);
        let told = trace(&one).parting(&trace(&other)).unwrap();
        assert!(told.starts_with("two runs part in turn 2"), "{told}");
        assert!(told.contains("first:  0.003000 s") && told.contains("second: 0.004000 s"));
        let shorter = trace(&one).parting(&trace(&one[..2])).unwrap();
        assert!(shorter.contains("second: it was over"), "{shorter}");
    }
}
