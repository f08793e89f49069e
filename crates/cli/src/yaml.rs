//! JSON values as YAML, for `-o yaml`: block style, and quotes wherever a word could be taken for
//! something else.

use std::fmt::Write as _;

use serde_json::Value;

/// The document, ending in a line break.
pub(crate) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(all) if !all.is_empty() => items(&mut text, all, 0),
        Value::Object(fields) if !fields.is_empty() => entries(&mut text, fields.iter(), 0, false),
        other => {
            text += &scalar(other);
            text.push('\n');
        }
    }
    text
}

fn items(text: &mut String, all: &[Value], depth: usize) {
    for item in all {
        indent(text, depth);
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                entries(text, fields.iter(), depth + 1, true);
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                items(text, inner, depth + 1);
            }
            other => {
                text.push_str(&scalar(other));
                text.push('\n');
            }
        }
    }
}

/// `begun`: the first one goes where the line is.
fn entries<'a>(
    text: &mut String,
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
    depth: usize,
    mut begun: bool,
) {
    for (name, value) in fields {
        if !std::mem::take(&mut begun) {
            indent(text, depth);
        }
        text.push_str(&word(name));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                entries(text, inner.iter(), depth + 1, false);
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                items(text, inner, depth);
            }
            other => {
                // Writing to a String cannot fail.
                let _ = writeln!(text, " {}", scalar(other));
            }
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    text.push_str(&"  ".repeat(depth));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// As it is, if nobody could take it for anything else; else as JSON has it, which YAML reads alike.
fn word(text: &str) -> String {
    const MEANT: [&str; 10] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan",
    ];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
        && !MEANT.contains(&text.to_ascii_lowercase().as_str());
    match plain {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::yaml;

    #[test]
    fn documents_are_indented_and_lists_dashed() {
        let document = json!({
            "schema": 1,
            "nodes": [{"id": 1, "racks": ["a", "b"]}, {"id": 2, "racks": []}],
            "sums": {"replicas": 6, "cost": null},
            "deep": [[1, 2], []],
        });
        // Fields in the order in which this build of the library keeps them.
        let lines: Vec<String> = yaml(&document).lines().map(str::to_owned).collect();
        let text = lines.join("\n");
        for part in [
            "schema: 1",
            "nodes:\n- id: 1\n  racks:\n  - a\n  - b\n- id: 2\n  racks: []",
            "sums:\n  ",
            "  cost: null",
            "deep:\n- \n  - 1\n  - 2\n- []",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn words_that_mean_something_are_quoted() {
        for (text, written) in [
            ("hello/0", "hello/0\n"),
            ("no", "\"no\"\n"),
            ("12", "\"12\"\n"),
            ("", "\"\"\n"),
            ("a: b", "\"a: b\"\n"),
            ("- x", "\"- x\"\n"),
            ("two\nlines", "\"two\\nlines\"\n"),
            ("2026-01-31", "\"2026-01-31\"\n"),
        ] {
            assert_eq!(yaml(&json!(text)), written, "{text}");
        }
        assert_eq!(yaml(&json!([])), "[]\n");
        assert_eq!(yaml(&json!(1.5)), "1.5\n");
    }
}
