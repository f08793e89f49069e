//! The shape of Rust files: a heading, a bounded length, tests named as sentences, reasons.

use super::Finding;
use super::source::Source;

/// The most lines a Rust file may have.
const MAX_LINES: usize = 500;

/// Checks one file; files that are not Rust pass.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut find = |line: Option<usize>, what: String| {
        findings.push(Finding::new(&source.path, line, what));
    };
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        find(
            None,
            format!("{lines} lines; cut it into files of at most {MAX_LINES}"),
        );
    }
    let opening = source
        .text
        .lines()
        .find(|line| !line.starts_with("#![") && !line.is_empty());
    if !opening.is_some_and(|line| line.starts_with("//!")) {
        find(
            Some(1),
            "open the file with `//!`: what it is, is not, and always holds".to_owned(),
        );
    }
    for (number, line, in_tests) in source.lines() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if code.contains(concat!("fn ", "test_")) {
            find(
                Some(number),
                "name the test as a sentence, without `test_`".to_owned(),
            );
        }
        if in_tests && source.is_product() && code.contains(concat!("sleep", "(")) {
            find(
                Some(number),
                "a test waits for an event, it does not sleep".to_owned(),
            );
        }
        if !in_tests
            && let Some(message) = expect_message(code)
            && !message.trim().contains(' ')
        {
            find(
                Some(number),
                format!("`expect({message:?})` must say why it holds"),
            );
        }
    }
    findings
}

/// The literal message of an `expect` on this line.
fn expect_message(code: &str) -> Option<&str> {
    let (_, rest) = code.split_once(concat!(".expect", "(\""))?;
    rest.split_once('"').map(|(message, _)| message)
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::check;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_without_a_heading_is_found() {
        assert_eq!(findings("crates/a/src/b.rs", "use std::fs;\n").len(), 1);
        assert!(findings("crates/a/src/b.rs", "#![no_main]\n//! Fuzzes b.\n").is_empty());
    }

    #[test]
    fn a_file_of_more_than_500_lines_is_found() {
        let text = format!("//! Long.\n{}", "\n".repeat(500));
        assert!(findings("xtask/src/b.rs", &text)[0].contains("501 lines"));
    }

    #[test]
    fn a_test_that_sleeps_or_is_called_test_is_found() {
        let text = concat!("//! B.\n#[cfg(test)]\nfn test", "_it() { sleep", "(1) }\n");
        assert_eq!(findings("crates/a/src/b.rs", text).len(), 2);
    }

    #[test]
    fn an_expect_of_one_word_is_found_outside_tests() {
        let line = concat!("let a = b.expect", "(\"checked\");\n");
        assert_eq!(
            findings("crates/a/src/b.rs", &format!("//! B.\n{line}")).len(),
            1
        );
        assert!(findings("crates/a/tests/b.rs", &format!("//! B.\n{line}")).is_empty());
    }
}
