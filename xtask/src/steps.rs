//! A run of named steps: a heading each, the time each took, and a summary nobody can miss.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All it checks holds.
    Passed,
    /// Something it checks does not hold.
    Failed,
    /// It did not run in full; the text names what is missing.
    Skipped(String),
}

/// A step that came to an end without an error.
pub(crate) enum Done {
    /// It ran in full.
    Fully,
    /// It left out what the text names.
    Without(String),
}

/// The steps of one command, in the order they ran.
pub(crate) struct Steps {
    endings: Vec<(String, Ending, Duration)>,
    keep_going: bool,
    nothing_skipped: bool,
    started: Instant,
}

impl Steps {
    /// `keep_going`: later steps run after a failure. `nothing_skipped`: a skip is a failure.
    pub(crate) fn new(keep_going: bool, nothing_skipped: bool) -> Self {
        Self {
            endings: Vec::new(),
            keep_going,
            nothing_skipped,
            started: Instant::now(),
        }
    }

    /// Runs one step, unless an earlier one failed and that ends the run.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Done>) {
        if self.failed() && !self.keep_going {
            return;
        }
        println!("\n==== {name} ====");
        let started = Instant::now();
        let ending = match step() {
            Ok(Done::Fully) => Ending::Passed,
            Ok(Done::Without(what)) if self.nothing_skipped => {
                println!("error: nothing may be skipped here, but {what}");
                Ending::Failed
            }
            Ok(Done::Without(what)) => Ending::Skipped(what),
            Err(error) => {
                println!("error: {error:#}");
                Ending::Failed
            }
        };
        let took = started.elapsed();
        println!(
            "---- {name}: {} in {:.1} s",
            word(&ending),
            took.as_secs_f64()
        );
        self.endings.push((name.to_owned(), ending, took));
    }

    /// Prints the summary; an error if a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n==== summary ====");
        for (name, ending, took) in &self.endings {
            let note = match ending {
                Ending::Skipped(what) => format!("  !! NOT CHECKED: {what}"),
                Ending::Passed | Ending::Failed => String::new(),
            };
            println!(
                "{:<8} {name:<10} {:>7.1} s{note}",
                word(ending),
                took.as_secs_f64()
            );
        }
        let count = |wanted: &str| {
            self.endings
                .iter()
                .filter(|(_, e, _)| word(e) == wanted)
                .count()
        };
        println!(
            "{} steps passed, {} failed, {} skipped in {:.0} s",
            count("passed"),
            count("FAILED"),
            count("SKIPPED"),
            self.started.elapsed().as_secs_f64()
        );
        if self.failed() {
            bail!("not everything passed");
        }
        Ok(())
    }

    fn failed(&self) -> bool {
        self.endings
            .iter()
            .any(|(_, ending, _)| *ending == Ending::Failed)
    }
}

fn word(ending: &Ending) -> &'static str {
    match ending {
        Ending::Passed => "passed",
        Ending::Failed => "FAILED",
        Ending::Skipped(_) => "SKIPPED",
    }
}

#[cfg(test)]
mod tests {
    use super::{Done, Steps};

    #[test]
    fn a_failed_step_ends_the_run() {
        let mut steps = Steps::new(false, false);
        steps.run("first", || anyhow::bail!("no"));
        let mut ran = false;
        steps.run("second", || {
            ran = true;
            Ok(Done::Fully)
        });
        assert!(!ran);
        assert!(steps.finish().is_err());
    }

    #[test]
    fn a_skipped_step_fails_only_where_nothing_may_be_skipped() {
        for strict in [false, true] {
            let mut steps = Steps::new(true, strict);
            steps.run("clients", || {
                Ok(Done::Without("node is missing".to_owned()))
            });
            assert_eq!(steps.finish().is_err(), strict);
        }
    }
}
