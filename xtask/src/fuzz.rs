//! `cargo xtask fuzz <target>`: a coverage-guided fuzz target for a while.
//!
//! The targets live in `crates/*/fuzz`, each a package of its own outside the workspace. Their
//! committed corpora are replayed by the crates' ordinary tests; this command looks for more.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{answers, run};
use crate::workspace::{cargo, root};

/// Which target, and for how long.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// The target's name; without one, the list of targets
    target: Option<String>,
    /// How long to look
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    let targets = targets()?;
    let Some(wanted) = &args.target else {
        for (name, dir) in &targets {
            println!(
                "{name:<32} {}",
                dir.strip_prefix(root()).unwrap_or(dir).display()
            );
        }
        return Ok(());
    };
    let Some((name, dir)) = targets.iter().find(|(name, _)| name == wanted) else {
        let names: Vec<_> = targets.iter().map(|(name, _)| name.as_str()).collect();
        bail!("no fuzz target {wanted:?}; there are: {}", names.join(", "));
    };
    if !answers("cargo", &["fuzz", "--version"]) {
        bail!("cargo-fuzz is missing; run `cargo install cargo-fuzz`");
    }
    let mut command = cargo(["fuzz", "run"]);
    command
        .arg(name)
        .arg("--fuzz-dir")
        .arg(dir)
        .args([
            "--",
            &format!("-max_total_time={}", args.seconds),
            "-rss_limit_mb=2048",
        ])
        // cargo-fuzz wants unstable compiler flags; this lets the pinned compiler take them.
        .env("RUSTC_BOOTSTRAP", "1");
    run(&mut command)
}

/// Every fuzz target with the folder of its package, by name.
fn targets() -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let dir = entry?.path().join("fuzz");
        let Ok(files) = fs::read_dir(dir.join("fuzz_targets")) else {
            continue;
        };
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|ending| ending == "rs")
                && let Some(name) = path.file_stem()
            {
                found.push((name.to_string_lossy().into_owned(), dir.clone()));
            }
        }
    }
    found.sort();
    Ok(found)
}
