//! Suites that hurt a real node: crashes, damage, hostile bytes, bad configurations.

pub(crate) mod cluster;
mod damage;
mod follow;
pub(crate) mod hostile;
pub(crate) mod kill;
mod load;
mod probe;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::clients::programs::Program;
use crate::random::seed_or_now;
use crate::workspace;

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

/// What every suite begins with: its seed, printed, and the binary that it hurts. `Err`: what of
/// the machine is missing for the clients that it uses.
fn prepare(seed: Option<u64>, binary: Option<&Path>) -> Result<Result<(u64, PathBuf), String>> {
    let client = Program::named("confluent-kafka").expect("confluent-kafka is one of our clients");
    if let Some(missing) = client.missing_runtime() {
        return Ok(Err(format!("its client needs {missing}, which is missing")));
    }
    let seed = seed_or_now(seed);
    println!("seed {seed}");
    let binary = match binary {
        Some(binary) => binary.to_owned(),
        None => workspace::binary("release")?,
    };
    Ok(Ok((seed, binary)))
}
