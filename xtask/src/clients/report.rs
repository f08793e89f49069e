//! One line a check and a sum at the end.

use super::driver::{Outcome, Stop};

/// The results of one client.
pub(crate) struct Report {
    client: String,
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(client: &str) -> Self {
        Self {
            client: client.to_owned(),
            passed: 0,
            failed: Vec::new(),
            skipped: 0,
        }
    }

    /// Runs a check and prints its line.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Outcome<()>) {
        let client = &self.client;
        match check() {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {client} {name}");
            }
            Err(Stop::Skip(why)) => {
                self.skipped += 1;
                println!("skip {client} {name}: {why}");
            }
            Err(stop) => {
                println!("FAIL {client} {name}: {stop}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Adds the results of another report on the same client.
    pub(crate) fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped += other.skipped;
    }

    /// The client's name.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// The number of checks that failed.
    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Prints the sum.
    pub(crate) fn print(&self) {
        println!(
            "{:<18} {:>3} passed, {} failed, {} skipped{}{}",
            self.client,
            self.passed,
            self.failed.len(),
            self.skipped,
            if self.failed.is_empty() { "" } else { ": " },
            self.failed.join(", "),
        );
    }
}
