//! `plimsoll config explain`: what a key is, what it is set to, and who set it.

use std::fmt::Write as _;

use plimsoll_cli::{Code, Columns, Failure, Output};
use serde::Serialize;

use super::keys::{self, Key, Kind};
use super::layers::{Layers, advice};

#[derive(Serialize)]
struct Explained {
    key: &'static str,
    value: String,
    origin: String,
    default: &'static str,
    legal: String,
    meaning: &'static str,
}

fn explained(key: Key, layers: &Layers) -> Explained {
    let setting = layers.get(key.name);
    Explained {
        key: key.name,
        value: setting.value,
        origin: setting.origin.to_string(),
        default: key.default,
        legal: legal(key.kind),
        meaning: key.meaning,
    }
}

fn legal(kind: Kind) -> String {
    match kind {
        Kind::Number { min, max: i64::MAX } => format!("a whole number from {min}"),
        Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Flag => "true or false".to_owned(),
        Kind::Address => "HOST:PORT".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Text => "text".to_owned(),
        Kind::TopicDefault => "as the topic config of the same meaning".to_owned(),
    }
}

/// Prints one key.
///
/// # Errors
/// When there is no such key, or standard output is gone.
pub fn explain(name: &str, layers: &Layers, output: Output) -> Result<(), Failure> {
    let key = keys::find(name).ok_or_else(|| {
        let todo = advice(name).unwrap_or_else(|| "See plimsoll config explain".to_owned());
        Failure::new(
            Code::UnknownKey,
            format!("there is no configuration key {name:?}. {todo}"),
        )
    })?;
    let explained = explained(key, layers);
    output.one("key", explained.key, &explained, || {
        let mut text = String::new();
        let rows = [
            ("key", explained.key),
            ("value", shown(&explained.value)),
            ("set by", &explained.origin),
            ("default", shown(explained.default)),
            ("takes", &explained.legal),
            ("meaning", explained.meaning),
        ];
        for (name, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<8} {value}");
        }
        text
    })
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(not set)" } else { value }
}

/// Prints every key.
///
/// # Errors
/// When standard output is gone.
pub fn explain_all(layers: &Layers, output: Output) -> Result<(), Failure> {
    let all: Vec<Explained> = keys::all().map(|key| explained(key, layers)).collect();
    output.list(
        "keys",
        &all,
        &Columns {
            headings: &["KEY", "VALUE", "SET BY"],
            more: &["MEANING"],
            cells: |row| {
                let cells = [row.key, shown(&row.value), &row.origin, row.meaning];
                cells.map(str::to_owned).to_vec()
            },
        },
    )
}
