//! Suites that hurt a real node: crashes, damage, hostile bytes, bad configurations.

pub(crate) mod cluster;
mod damage;
pub(crate) mod hostile;
pub(crate) mod kill;
mod load;

use anyhow::{Result, bail};

/// The claims of a suite: a line each, and how many did not hold.
#[derive(Default)]
struct Claims {
    passed: u32,
    failed: u32,
}

impl Claims {
    /// Notes the outcome of one claim.
    fn claim(&mut self, name: &str, outcome: Result<String>) {
        match outcome {
            Ok(detail) => {
                self.passed += 1;
                println!("ok   {name}: {detail}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }

    /// Prints the sum; an error unless all held.
    fn finish(self, suite: &str) -> Result<()> {
        println!("{suite}: {} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            bail!("{} claims of {suite} do not hold", self.failed);
        }
        Ok(())
    }
}
