//! `cargo xtask tidy`: what rustc and clippy cannot see.
//!
//! Layers and purity as a table, the shape of files, wording, and the ties between invariant ids
//! and names of tests in the docs and in the code. It reads the tree and `cargo metadata`; it changes nothing.

mod files;
mod invariants;
mod layers;
mod scenarios;
mod source;
mod wording;

use std::fmt;

use anyhow::{Result, bail};

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// The file, from the repository's root, or the package.
    place: String,
    /// The line, where there is one.
    line: Option<usize>,
    /// What is wrong, and what would be right.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, line: impl Into<Option<usize>>, what: String) -> Self {
        Self {
            place: place.into(),
            line: line.into(),
            what,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

/// Checks the whole tree and lists every finding.
pub(crate) fn tidy() -> Result<()> {
    let tree = source::tree()?;
    let mut findings = layers::check(&layers::packages()?);
    findings.extend(tree.iter().flat_map(files::check));
    findings.extend(tree.iter().flat_map(wording::check));
    findings.extend(invariants::check(&tree));
    findings.extend(scenarios::check(&tree));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} untidy places", findings.len());
    }
    println!("{} files are tidy", tree.len());
    Ok(())
}
