//! The text files of the tree, as git knows them.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::run::output;
use crate::workspace::root;

/// Endings of the files whose text is ours.
const TEXTS: [&str; 13] = [
    "rs", "md", "toml", "py", "mjs", "js", "java", "go", "xml", "json", "sh", "txt", "html",
];

/// One text file.
#[derive(Debug)]
pub(super) struct Source {
    /// The path from the repository's root.
    pub(super) path: String,
    /// The whole text.
    pub(super) text: String,
}

impl Source {
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// True for Rust that we wrote.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// True for Rust of the product, its benches excluded.
    pub(super) fn is_product(&self) -> bool {
        self.is_rust() && self.path.starts_with("crates/")
    }

    /// Lines with their numbers, and whether each belongs to tests: a file under `tests/`, named
    /// `tests.rs` or `*_tests.rs`, or what follows the first `#[cfg(test)]` of a file.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let mut in_tests = ["/tests/", "/tests.rs", "_tests.rs", "/benches/", "/fuzz/"]
            .iter()
            .any(|part| self.path.contains(part));
        self.text.lines().enumerate().map(move |(index, line)| {
            in_tests |= line.trim_start().starts_with("#[cfg(test)]")
                || line.trim_start().starts_with("#[cfg(all(test");
            (index + 1, line, in_tests)
        })
    }
}

/// Every text file that git tracks or would track.
pub(super) fn tree() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root());
    let mut tree = Vec::new();
    for path in output(&mut git)?.lines() {
        let is_text = path
            .rsplit_once('.')
            .is_some_and(|(_, ending)| TEXTS.contains(&ending))
            || path.starts_with(".ci/");
        // Files in git's list may be gone from the tree, and a corpus may hold any bytes.
        if is_text && let Ok(text) = fs::read_to_string(root().join(path)) {
            tree.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(tree)
}
