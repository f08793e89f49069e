//! `cargo xtask bench`: the criterion benches, by wall time or by counted instructions.
//!
//! Wall time on a shared machine is noise; `--counts` runs each bench once under callgrind and
//! prints how many instructions it took, which is the same today and tomorrow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::run::{answers, output, run, run_logged};
use crate::workspace::{cargo, target_dir};

/// Which benches, and what to measure.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Only benches whose name contains this
    filter: Option<String>,
    /// Count instructions under callgrind instead of measuring time
    #[arg(long)]
    counts: bool,
}

/// `cargo xtask bench`.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if args.counts {
        return counts(args.filter.as_deref());
    }
    let mut command = cargo(["bench", "-p", "plimsoll-benches", "--benches", "--"]);
    run(command.args(&args.filter))
}

/// One line of cargo's JSON build messages; the other lines lack these fields.
#[derive(Deserialize)]
struct BuildMessage {
    executable: Option<PathBuf>,
    target: Option<BuiltTarget>,
}

/// The built target of a message.
#[derive(Deserialize)]
struct BuiltTarget {
    kind: Vec<String>,
}

fn counts(filter: Option<&str>) -> Result<()> {
    if !answers("valgrind", &["--version"]) {
        bail!("valgrind is missing; --counts needs it");
    }
    let dir = target_dir().join("counts");
    fs::create_dir_all(&dir)?;
    println!("{:<64} {:>16}", "bench", "instructions");
    for executable in executables()? {
        for name in names(&executable, filter)? {
            // One iteration of the body, set-up included: compare a bench with itself only.
            let counted = dir.join("callgrind.out");
            let mut command = Command::new("valgrind");
            command
                .args(["--tool=callgrind", "--error-exitcode=1"])
                .arg(format!("--callgrind-out-file={}", counted.display()))
                .arg(&executable)
                .args(["--test", "--exact", &name]);
            run_logged(&mut command, &dir.join("callgrind.log"))?;
            println!("{name:<64} {:>16}", total(&counted)?);
        }
    }
    Ok(())
}

/// Builds the benches and tells their executables.
fn executables() -> Result<Vec<PathBuf>> {
    let mut build = cargo(["bench", "-p", "plimsoll-benches", "--benches", "--no-run"]);
    let messages = output(build.arg("--message-format=json"))?;
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<BuildMessage>(line).ok());
    Ok(built
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|target| target.kind.iter().any(|k| k == "bench"))
        })
        .filter_map(|message| message.executable)
        .collect())
}

/// The benches of an executable, as criterion lists them (`name: benchmark`).
fn names(executable: &Path, filter: Option<&str>) -> Result<Vec<String>> {
    let listed = output(Command::new(executable).arg("--list"))?;
    Ok(listed
        .lines()
        .filter_map(|line| line.strip_suffix(": benchmark"))
        .filter(|name| filter.is_none_or(|part| name.contains(part)))
        .map(str::to_owned)
        .collect())
}

/// The total of a callgrind file: its `summary:` or `totals:` line.
fn total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("summary: ")
                .or_else(|| line.strip_prefix("totals: "))
        })
        .and_then(|count| count.trim().parse().ok())
        .with_context(|| format!("{} holds no total", file.display()))
}
