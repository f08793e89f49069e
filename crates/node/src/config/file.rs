//! The configuration file: TOML, flattened to dotted names.
//!
//! `log.retention.ms = 1` and `[log.retention]` with `ms = 1` are the same. Knows no keys: it
//! tells what is in the file and on which line.

use toml::de::{DeTable, DeValue};

/// One value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The dotted name.
    pub(super) name: String,
    /// The value as text.
    pub(super) value: String,
    /// Where, from 1.
    pub(super) line: usize,
}

/// What is wrong with the file, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) what: String,
}

/// Every value of the file, in its order.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Mistake> {
    let table = DeTable::parse(text).map_err(|error| Mistake {
        line: error.span().map_or(1, |span| line(text, span.start)),
        what: error.message().replace('\n', "; "),
    })?;
    let mut entries = Vec::new();
    flatten(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn flatten(
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), Mistake> {
    for (key, value) in table {
        let name = match prefix {
            "" => key.get_ref().to_string(),
            prefix => format!("{prefix}.{}", key.get_ref()),
        };
        let line = line(text, key.span().start);
        let value = match value.get_ref() {
            DeValue::Table(table) => {
                flatten(text, &name, table, entries)?;
                continue;
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => {
                integer(number.as_str(), number.radix()).ok_or_else(|| Mistake {
                    line,
                    what: format!("{name} is too large a number"),
                })?
            }
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Array(items) => {
                list(items.iter().map(toml::Spanned::get_ref)).ok_or_else(|| Mistake {
                    line,
                    what: format!("{name} is not a list of words"),
                })?
            }
            DeValue::Datetime(_) => {
                return Err(Mistake {
                    line,
                    what: format!("{name} cannot be a date"),
                });
            }
        };
        entries.push(Entry { name, value, line });
    }
    Ok(())
}

/// A number in plain decimal digits.
fn integer(digits: &str, radix: u32) -> Option<String> {
    let digits = digits.replace('_', "");
    i64::from_str_radix(&digits, radix)
        .ok()
        .map(|number| number.to_string())
}

/// A list of words as Kafka writes it: separated by commas.
fn list<'a>(items: impl Iterator<Item = &'a DeValue<'a>>) -> Option<String> {
    let words: Option<Vec<&str>> = items.map(DeValue::as_str).collect();
    Some(words?.join(","))
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let entries = entries(text).expect("legal");
        entries
            .into_iter()
            .map(|e| (e.name, e.value, e.line))
            .collect()
    }

    #[test]
    fn tables_and_dotted_keys_are_the_same() {
        let text = "node.id = 7\n\n[log]\nretention.ms = 1_000\n[log.cleaner]\nbackoff.ms = 0x10\n";
        let expected = [
            ("node.id", "7", 1),
            ("log.retention.ms", "1000", 4),
            ("log.cleaner.backoff.ms", "16", 6),
        ];
        assert_eq!(
            pairs(text),
            expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line))
        );
    }

    #[test]
    fn values_of_all_types_become_text() {
        let text = "a = \"x\"\nb = true\nc = 0.5\nd = [\"compact\", \"delete\"]";
        let values: Vec<_> = pairs(text).into_iter().map(|(_, value, _)| value).collect();
        assert_eq!(values, ["x", "true", "0.5", "compact,delete"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, at) in [
            ("a = 1\nb = \n", 2),
            ("a = 1\na = 2", 2),
            ("\n\nx = [1]", 3),
        ] {
            assert_eq!(entries(text).expect_err(text).line, at, "{text}");
        }
    }
}
