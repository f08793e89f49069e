//! `cargo xtask sim`: `plimsoll sim` of a release build.

use anyhow::Result;
use clap::Args;

use crate::run::run;
use crate::workspace::cargo;

/// What the simulation is told; `cargo xtask sim -- --help` lists it.
#[derive(Args)]
pub(crate) struct SimArgs {
    /// Passed on, such as --seed 7 --runs 100
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// `cargo xtask sim`.
pub(crate) fn sim(args: &SimArgs) -> Result<()> {
    let mut build = cargo(["run", "--quiet", "--release", "-p", "plimsoll", "--", "sim"]);
    run(build.args(&args.arguments))
}
