//! Where things are: the repository's root and its build folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The repository's root, the folder that holds `xtask/`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the repository")
}

/// Cargo's build folder: `CARGO_TARGET_DIR` where set, else `target/`.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A cargo command run at the root, with the cargo that runs us.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    command
}

/// True where a skipped runtime is a failure.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Short id of the commit at hand, with a `+` when the tree differs from it.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .current_dir(root())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let id = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain"]).is_some_and(|lines| !lines.is_empty());
    if changed { format!("{id}+") } else { id }
}

/// The built product binary of a profile (`debug` or `release`).
pub(crate) fn binary(profile: &str) -> Result<PathBuf> {
    let path = target_dir().join(profile).join("plimsoll");
    path.is_file().then_some(path.clone()).with_context(|| {
        format!(
            "{} is not built; run `cargo build --release` first",
            path.display()
        )
    })
}

/// Builds the product's release binary and names it.
pub(crate) fn build_release() -> Result<PathBuf> {
    crate::run::run(&mut cargo([
        "build",
        "--release",
        "-p",
        "plimsoll",
        "--bin",
        "plimsoll",
    ]))?;
    binary("release")
}
