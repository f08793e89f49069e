//! Invariant ids: each is defined once and asserted in the code.
//!
//! An id is a letter and a number: W watermark, L log, P partition, G groups, C controller,
//! R replication, X API. It is defined where a row or a list item begins with it (`| W1 |`,
//! `- **W1**`, `- W1:`), in docs/, in a README or in a crate's own documentation (`//!`). The code
//! names one in a comment (`Invariant W1`, `(W1)`) or asserts one in a message that begins with it
//! (`"W1"`, `"W1: ..."`).

use std::collections::BTreeMap;

use super::Finding;
use super::source::Source;

/// The letters that begin an id.
const LETTERS: &str = "WLPGCRX";

/// A place: file and line.
type Place = (String, usize);

/// Checks that the docs and the code know the same ids.
pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let (mut defined, mut asserted, mut named) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut findings = Vec::new();
    for source in tree {
        for (number, line, _) in source.lines() {
            let place: Place = (source.path.clone(), number);
            if source.path.ends_with(".md") || line.trim_start().starts_with("//!") {
                if let Some(id) = definition(line)
                    && let Some((path, at)) = defined.insert(id.to_owned(), place)
                {
                    let what = format!("{id} is defined at {path}:{at} too");
                    findings.push(Finding::new(&source.path, number, what));
                }
            } else if source.is_product() {
                for id in ids_after(line, "\"") {
                    asserted.entry(id.to_owned()).or_insert(place.clone());
                }
                for id in ids_after(line, "Invariant ").chain(ids_after(line, "(")) {
                    named.entry(id.to_owned()).or_insert(place.clone());
                }
            }
        }
    }
    for (id, (path, line)) in &defined {
        if !asserted.contains_key(id) && !named.contains_key(id) {
            let what = format!("{id} is defined here and no code names or asserts it");
            findings.push(Finding::new(path, *line, what));
        }
    }
    for (id, (path, line)) in asserted.iter().chain(&named) {
        if !defined.contains_key(id) {
            findings.push(Finding::new(
                path,
                *line,
                format!("{id} is defined nowhere"),
            ));
        }
    }
    findings
}

/// The id that a row or a list item defines.
fn definition(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("//!");
    let item = line.trim_start_matches(['|', '-', '*', ' ']);
    // What is no row, item or bold text is a sentence, which defines nothing.
    if !line.trim_start().starts_with(['|', '-', '*']) {
        return None;
    }
    let id = leading_id(item)?;
    ["**", ":", " |"]
        .iter()
        .any(|end| item[id.len()..].starts_with(end))
        .then_some(id)
}

/// Ids that directly follow a text.
fn ids_after<'a>(line: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(before).filter_map(|(at, _)| {
        let rest = &line[at + before.len()..];
        let id = leading_id(rest)?;
        rest[id.len()..]
            .starts_with(['"', ':', ' ', ',', ';', '.', ')'])
            .then_some(id)
    })
}

/// A letter of ours and one or two digits at the start of a text.
fn leading_id(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(|c| LETTERS.contains(c))?;
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    (1..=2).contains(&count).then(|| &text[..=count])
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::{check, definition, ids_after};

    #[test]
    fn an_id_at_the_start_of_a_row_or_an_item_is_a_definition() {
        assert_eq!(definition("- **W1** A reader sees ..."), Some("W1"));
        assert_eq!(definition("| **L12** | the log"), Some("L12"));
        assert_eq!(definition("//! | W1 | every reader"), Some("W1"));
        assert_eq!(definition("//! - X1: an answer"), Some("X1"));
        assert_eq!(definition("W1 is the rule"), None);
        assert_eq!(definition("- **R001** follower-disk-full"), None);
    }

    #[test]
    fn ids_are_read_from_messages_and_comments() {
        let line = r#"assert!(a <= b, "W1"); x.expect("L2: never empty") // Invariant W3: (P4)"#;
        assert_eq!(ids_after(line, "\"").collect::<Vec<_>>(), ["W1", "L2"]);
        assert_eq!(ids_after(line, "Invariant ").collect::<Vec<_>>(), ["W3"]);
        assert_eq!(ids_after(line, "(").collect::<Vec<_>>(), ["P4"]);
    }

    #[test]
    fn docs_and_code_must_know_the_same_ids() {
        let docs = Source::new("docs/architecture.md", "- **W1** so\n- **W2** and so\n");
        let code = Source::new(
            "crates/a/src/b.rs",
            "assert!(x, \"W1\");\nassert!(y, \"W3\");\n",
        );
        let findings = check(&[docs, code]);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
