//! `cargo xtask loom`: the exhaustive models of what is lock-free.
//!
//! Each model runs beside a weakened twin that must fail; both are ordinary tests under
//! `--cfg loom`, built into a folder of their own so that they do not undo other builds.

use anyhow::Result;
use clap::Args;

use crate::run::run;
use crate::workspace::{cargo, target_dir};

/// The crates that hold loom models.
const CRATES: [&str; 1] = ["plimsoll-watermark"];

/// Which models to run.
#[derive(Args)]
pub(crate) struct LoomArgs {
    /// Only the models whose name contains this
    filter: Option<String>,
}

/// `cargo xtask loom`.
pub(crate) fn loom(args: &LoomArgs) -> Result<()> {
    models(args.filter.as_deref())
}

/// Runs the models of every crate that has some.
pub(crate) fn models(filter: Option<&str>) -> Result<()> {
    for name in CRATES {
        let mut test = cargo(["test", "--release", "--lib", "-p", name]);
        test.env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", target_dir().join("loom"))
            .args(filter);
        run(&mut test)?;
    }
    Ok(())
}
