//! Claims with their figures: printed, and kept as JSON lines where asked for.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use crate::suites::Claims;

/// What is told of a run.
pub(super) struct Report {
    claims: Claims,
    file: Option<File>,
    seed: u64,
    scenario: String,
    skipped: Vec<String>,
    /// Whether figures are held to what a quiet machine gives.
    strict: bool,
}

impl Report {
    /// A report that is kept in `file`, too, if there is one.
    pub(super) fn new(seed: u64, strict: bool, file: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        Ok(Self {
            claims: Claims::default(),
            file: file.map(open).transpose()?,
            seed,
            scenario: String::new(),
            skipped: Vec::new(),
            strict,
        })
    }

    /// What follows belongs to this scenario.
    pub(super) fn scenario(&mut self, name: &str) {
        name.clone_into(&mut self.scenario);
    }

    /// Notes the outcome of a claim.
    pub(super) fn claim(&mut self, name: &str, outcome: Result<String>) {
        self.note(name, outcome, &[]);
    }

    /// Notes whether the longest of some times is within a bound, with their distribution. The
    /// bound is what a quiet machine must keep; another one has `slack` times as long.
    pub(super) fn times(&mut self, name: &str, times: Vec<Duration>, bound: Duration, slack: u32) {
        let bound = if self.strict { bound } else { bound * slack };
        let Some(spread) = Spread::of(times) else {
            self.note(name, Err(anyhow!("there are no figures")), &[]);
            return;
        };
        let text = spread.text();
        let outcome = match spread.at(100) <= bound {
            true => Ok(text),
            false => Err(anyhow!("{text}; above {bound:?}")),
        };
        self.note(name, outcome, &spread.0);
    }

    /// The same for the median alone.
    pub(super) fn median(&mut self, name: &str, times: Vec<Duration>, bound: Duration, slack: u32) {
        let bound = if self.strict { bound } else { bound * slack };
        let Some(spread) = Spread::of(times) else {
            return;
        };
        let text = spread.text();
        let outcome = match spread.at(50) <= bound {
            true => Ok(text),
            false => Err(anyhow!("{text}; the median is above {bound:?}")),
        };
        self.note(name, outcome, &spread.0);
    }

    /// Something that this machine cannot do.
    pub(super) fn skip(&mut self, what: &str) {
        println!("SKIP {}: {what}", self.scenario);
        self.skipped.push(format!("{}: {what}", self.scenario));
    }

    fn note(&mut self, name: &str, outcome: Result<String>, times: &[Duration]) {
        let millis = times.iter().map(Duration::as_millis).collect::<Vec<_>>();
        let (holds, text) = match &outcome {
            Ok(text) => (true, text.clone()),
            Err(error) => (false, format!("{error:#}")),
        };
        let row = json!({
            "seed": self.seed, "scenario": self.scenario, "claim": name,
            "holds": holds, "text": text, "millis": millis,
        });
        if let Some(file) = &mut self.file {
            // The claims are on the screen; a full disk must not hide them.
            let _ = writeln!(file, "{row}");
        }
        let name = format!("{}: {name}", self.scenario);
        self.claims.claim(&name, outcome);
    }

    /// Prints the sum; an error unless all held. What was left out, if anything.
    pub(super) fn finish(self) -> Result<Vec<String>> {
        self.claims.finish("cluster")?;
        Ok(self.skipped)
    }
}

/// Times in order of length, at least one.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort();
        (!times.is_empty()).then_some(Self(times))
    }

    /// The time that so many of a hundred do not exceed.
    fn at(&self, percent: usize) -> Duration {
        self.0[percentile(self.0.len(), percent)]
    }

    fn text(&self) -> String {
        let millis = |time: Duration| time.as_millis();
        let [median, p95, max] = [50, 95, 100].map(|percent| millis(self.at(percent)));
        let (min, count) = (millis(self.0[0]), self.0.len());
        match count {
            1 => format!("{min} ms"),
            _ => format!("min {min}, median {median}, p95 {p95}, max {max} ms of {count}"),
        }
    }
}

/// The place of a percentile among so many in order: the nearest rank.
pub(super) fn percentile(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).max(1) - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Spread, percentile};

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(1, 50), 0);
        assert_eq!(percentile(50, 50), 24);
        assert_eq!(percentile(50, 95), 47);
        assert_eq!(percentile(50, 100), 49);
    }

    #[test]
    fn a_spread_names_its_ends() {
        let times = [30, 10, 20].map(Duration::from_millis).to_vec();
        let spread = Spread::of(times).map(|spread| spread.text());
        let wanted = "min 10, median 20, p95 30, max 30 ms of 3";
        assert_eq!(spread.as_deref(), Some(wanted));
        assert!(Spread::of(Vec::new()).is_none());
    }
}
