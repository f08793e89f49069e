//! Words and paths that have no place in the repository.

use super::Finding;
use super::source::Source;
use crate::workspace::root;

/// Paths of one machine: a reader has another. So is the place of the tree itself.
const MACHINE_PATHS: [&str; 3] = ["/root/", "/home/", "/Users/"];

/// Marks of work left over: such work belongs in an issue. Written in halves, so that this
/// table does not find itself.
const MARKS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.path.ends_with("tidy/wording.rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line, _) in source.lines() {
        for path in MACHINE_PATHS.into_iter().chain(root().to_str()) {
            if contains_path(line, path) {
                let what = format!("`{path}` is a path of one machine");
                findings.push(Finding::new(&source.path, number, what));
            }
        }
        for mark in MARKS {
            if contains_word(line, mark) {
                let what = format!("`{mark}`: do it now, or write an issue");
                findings.push(Finding::new(&source.path, number, what));
            }
        }
    }
    findings
}

/// True when the path stands at the start of a word: `/home/x`, and not `docs/home/x`.
fn contains_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "._-/}".contains(c))
    })
}

/// True when the word stands alone.
fn contains_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(joins) && !line[at + word.len()..].starts_with(joins))
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::{MACHINE_PATHS, MARKS, check};

    #[test]
    fn paths_of_one_machine_and_marks_are_found() {
        for word in MACHINE_PATHS.iter().chain(&MARKS) {
            let line = format!("see {word} and {word}");
            assert!(
                !check(&Source::new("docs/a.md", &line)).is_empty(),
                "{word}"
            );
        }
    }

    #[test]
    fn a_folder_inside_a_path_is_no_machine_path() {
        assert!(check(&Source::new("docs/a.md", "docs/home/a.md")).is_empty());
    }

    #[test]
    fn a_mark_inside_a_word_is_none() {
        let line = format!("let a{}b = 1;", MARKS[2]);
        assert!(check(&Source::new("crates/a/src/b.rs", &line)).is_empty());
    }
}
