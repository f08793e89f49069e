//! The table of failure scenarios names tests; each of them is there.
//!
//! In `docs/testing.md` a word in backticks that is made of small letters, digits and underscores
//! and has two underscores or more is the name of a test, or of what else is a function of ours.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

const TABLE: &str = "docs/testing.md";

/// Finds names of tests that no file has.
pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let functions = tree
        .iter()
        .filter(|source| source.is_rust())
        .flat_map(|source| source.text.lines().filter_map(function))
        .collect::<BTreeSet<_>>();
    let Some(table) = tree.iter().find(|source| source.path == TABLE) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (number, line, _) in table.lines() {
        // Every second piece between backticks is what stands within them.
        for word in line.split('`').skip(1).step_by(2) {
            if is_test(word) && !functions.contains(word) {
                let what = format!("no test is called {word}");
                findings.push(Finding::new(TABLE, number, what));
            }
        }
    }
    findings
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(['(', '<']).next()
}

fn is_test(word: &str) -> bool {
    let letter = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
    word.bytes().all(letter) && word.matches('_').count() >= 2
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::source::Source;

    #[test]
    fn a_test_that_is_not_there_is_found() {
        let tree = [
            Source::new(
                "docs/testing.md",
                "| 1 | `what_is_there_holds`, `what_is_gone_holds` | `bad_batches` |",
            ),
            Source::new("crates/a/src/lib.rs", "    fn what_is_there_holds() {"),
        ];
        let findings = check(&tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].what.contains("what_is_gone_holds"));
    }
}
